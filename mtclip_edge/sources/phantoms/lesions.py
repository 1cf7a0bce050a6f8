"""Findings: each is drawn into the air maps, the vessels and the attenuation of a film, and says where it
is.
"""

import numpy as np

from .findings import Finding
from .shapes import SIGN, Array, Body, Frame, Lung, blob, heart_at, noise, sigmoid

ZONE_V = {"upper": -0.42, "middle": -0.06, "lower": 0.27}


def apply(
    finding: Finding,
    random: np.random.Generator,
    frame: Frame,
    body: Body,
    u: Array,
    v: Array,
    lungs: dict[str, Lung],
    clear: dict[str, Array],
    vessels: Array,
    added: Array,
) -> Array:
    """Draw one finding into the air maps, the vessels and the added attenuation; gives the mask of where
    it is.
    """
    if finding.kind == "cardiomegaly":
        return heart_at(u, v, body) > 0.2
    lung = lungs[finding.side]
    air = clear[finding.side]
    if finding.kind == "effusion":
        return _effusion(finding, random, lung, v, air, added)
    if finding.kind == "pneumothorax":
        return _pneumothorax(finding, random, lung, v, air, vessels, added)
    place_u = SIGN[finding.side] * body.chest * random.uniform(0.42, 0.72)
    place_v = ZONE_V[finding.zone] + random.uniform(-0.07, 0.07)
    du, dv = u - place_u, v - place_v
    if finding.kind == "consolidation":
        return _consolidation(finding, random, frame, du, dv, air, added)
    radius = {"small": 0.046, "moderate": 0.062, "large": 0.115}[finding.size] * random.uniform(0.92, 1.15)
    theta = np.arctan2(dv, du)
    lobes = (
        1 + 0.10 * np.sin(3 * theta + random.uniform(0, 6)) + 0.06 * np.sin(5 * theta + random.uniform(0, 6))
    )
    mask = sigmoid(
        (radius * lobes - np.hypot(du, dv)) / (0.008 if finding.kind == "nodule" else 0.014)
    ) * sigmoid(lung.field / 0.02)
    added += (0.34 if finding.kind == "nodule" else 0.42) * mask
    return mask > 0.5


def _effusion(
    finding: Finding, random: np.random.Generator, lung: Lung, v: Array, air: Array, added: Array
) -> Array:
    """Fluid with a meniscus, higher at the side than in the middle."""
    level = {"small": 0.44, "moderate": 0.26, "large": 0.02}[finding.size] + random.uniform(-0.05, 0.05)
    surface = level + 0.30 * (1 - np.clip(lung.x / 0.80, 0, 1) ** 2.2)
    fluid = sigmoid((v - surface) / 0.018) * air
    air *= 1 - 0.96 * fluid
    added += 0.10 * fluid
    return fluid > 0.5


def _pneumothorax(
    finding: Finding,
    random: np.random.Generator,
    lung: Lung,
    v: Array,
    air: Array,
    vessels: Array,
    added: Array,
) -> Array:
    """Air between chest wall and lung: no vessels, a thin pleural line, widest at the apex."""
    gap = {"small": 0.10, "moderate": 0.17, "large": 0.27}[finding.size] * random.uniform(0.9, 1.1)
    depth = lung.pleura - gap * np.clip(1.0 - 0.55 * (v + 0.75), 0.25, 1.1)
    outside = sigmoid(-depth / 0.006) * air
    vessels *= 1 - np.where(lung.x > 0, outside, 0)
    added += 0.26 * np.exp(-((depth / 0.008) ** 2)) * air - 0.09 * outside
    return outside > 0.5


def _consolidation(
    finding: Finding,
    random: np.random.Generator,
    frame: Frame,
    du: Array,
    dv: Array,
    air: Array,
    added: Array,
) -> Array:
    """Cloudy opacity of several soft patches with ragged edges."""
    size = {"small": 0.11, "moderate": 0.15, "large": 0.20}[finding.size]
    cloud = np.zeros_like(du)
    for _ in range(7):
        a, b = random.normal(0, 0.5 * size, 2)
        cloud += blob(du - a, dv - b, size * random.uniform(0.5, 0.8), size * random.uniform(0.5, 0.8))
    ragged = cloud * (1 + 0.45 * noise(random, frame, 6))
    mask = sigmoid((ragged - 0.9) / 0.28) * air
    added += 0.34 * mask
    return mask > 0.5
