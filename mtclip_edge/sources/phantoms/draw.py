"""Draw a frontal chest film from shapes: attenuations add up, then a tone curve, blur, noise and collimation
make a film of them.

Coordinates are those of shapes.py. Bright is dense, as films are shown.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .findings import Finding
from .lesions import apply
from .shapes import (
    SIGN,
    SUPERSAMPLING,
    Array,
    Body,
    Frame,
    blob,
    canvas,
    heart_at,
    line,
    lung_at,
    moved,
    noise,
    reduced,
    sigmoid,
)

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawn:
    """Grey film uint8 [height, width], and the box of each finding as shares of width and height: left,
    top, right, bottom.
    """

    grey: Array
    boxes: tuple[Box, ...]


def draw(random: np.random.Generator, findings: tuple[Finding, ...], side: int = 300) -> Drawn:
    """One film of about ``side`` pixels."""
    frame = _frame(random, side)
    body = _body(random, findings)
    u, v = frame.grids()
    lungs = {name: lung_at(u, v, name, body) for name in SIGN}
    clear = {name: sigmoid(lung.field / 0.012) for name, lung in lungs.items()}  # 1 where air is
    vessels = _vessels(random, frame, body)
    added = np.zeros_like(u)  # attenuation of findings
    boxes = []
    for finding in findings:
        mask = apply(finding, random, frame, body, u, v, lungs, clear, vessels, added)
        boxes.append(_box(mask))
    inside = _inside(u, v)
    heart = heart_at(u, v, body)
    shown = vessels * sum(clear.values()) * (1 - 1.7 * heart)  # behind the heart vessels hardly show
    attenuation = _tissue(random, frame, body, u, v, inside, heart, clear) + shown + added
    attenuation += inside * _bones(random, frame, body, u, v)
    return Drawn(_film(random, attenuation), tuple(boxes))


def _frame(random: np.random.Generator, side: int) -> Frame:
    width, height = (int(side * random.uniform(0.92, 1.05)) for _ in range(2))
    return Frame(
        width,
        height,
        angle=float(random.normal(0, 0.035)),
        scale=float(random.uniform(0.92, 1.08)),
        shift_u=float(random.normal(0, 0.035)),
        shift_v=float(random.normal(0.02, 0.04)),
    )


def _body(random: np.random.Generator, findings: tuple[Finding, ...]) -> Body:
    heart = random.uniform(0.36, 0.45)
    for finding in findings:
        if finding.kind == "cardiomegaly":
            heart = {"mild": 0.56, "moderate": 0.63, "marked": 0.71}[finding.size] + random.uniform(
                -0.02, 0.02
            )
    return Body(
        chest=float(random.uniform(0.76, 0.88)),
        apex=float(random.uniform(-0.86, -0.76)),
        dome=float(random.uniform(0.40, 0.56)),
        heart=float(heart),
        thickness=float(random.uniform(0.42, 0.62)),
        breasts=float(max(0.0, random.normal(0.0, 0.10))),
        ribs=float(random.uniform(0.6, 1.2)),
        vessels=float(random.uniform(0.7, 1.25)),
    )


def _half_width(v: Array) -> Array:
    """Neck, shoulders, trunk."""
    return np.where(v < -0.62, 0.24 + 0.86 * sigmoid((v + 0.80) / 0.05), 1.12)


def _inside(u: Array, v: Array) -> Array:
    """1 within the body, 0 in the air around it."""
    return sigmoid((_half_width(v) - np.abs(u)) / 0.012)


def _tissue(
    random: np.random.Generator,
    frame: Frame,
    body: Body,
    u: Array,
    v: Array,
    inside: Array,
    heart: Array,
    clear: dict[str, Array],
) -> Array:
    """Soft tissue, mediastinum, heart, abdomen and the air in trachea and stomach."""
    air = sum(clear.values())
    chord = np.sqrt(np.clip(1 - (u / (_half_width(v) + 0.1)) ** 2, 0.05, 1))
    tissue = inside * (0.30 + body.thickness * chord)
    lungs = tissue * (1 - 0.70 * air)
    abdomen = 0.30 * sigmoid((v - body.dome - 0.16) / 0.06) * (1 - air)
    central = 0.30 * np.exp(-((u / (0.15 + 0.02 * np.cos(5 * v))) ** 4)) * sigmoid((v + 1.0) / 0.05)
    middle = np.maximum(central, heart) + 0.2 * np.minimum(central, heart)
    knob = 0.20 * blob(u - 0.145, v + 0.38, 0.075, 0.085)
    trachea = -0.28 * np.exp(-(((u - 0.01) / 0.042) ** 4)) * sigmoid((-0.30 - v) / 0.02)
    stomach = -0.34 * random.uniform(0, 1) * blob(u - 0.42, v - body.dome - 0.26, 0.15, 0.085)
    breast = sum(body.breasts * blob(u - s * 0.46, v - 0.34, 0.36, 0.30) for s in (-1, 1))
    texture = 0.022 * noise(random, frame, 5) + 0.05 * noise(random, frame, 40)
    return lungs + abdomen + inside * (middle + knob + trachea + stomach + breast + texture)


def _vessels(random: np.random.Generator, frame: Frame, body: Body) -> Array:
    """Branching trees from both hila, tapering outwards."""
    sheet, pen = canvas(frame)
    for sign in (-1.0, 1.0):
        for start_angle in np.linspace(-1.25, 1.35, 11):
            position = np.array([sign * 0.17, -0.10 + 0.12 * start_angle])
            _branch(random, frame, pen, position, sign, float(start_angle + random.normal(0, 0.12)), 0.024, 0)
    hila = sum(0.12 * blob(*moved(frame, sign * 0.20, -0.05), 0.10, 0.17) for sign in (-1, 1))
    return body.vessels * (0.25 * reduced(sheet, frame, 0.7) + hila)


def _branch(
    random: np.random.Generator,
    frame: Frame,
    pen: ImageDraw.ImageDraw,
    at: Array,
    sign: float,
    angle: float,
    width: float,
    depth: int,
) -> None:
    points = [at]
    for _ in range(int(random.integers(3, 7))):
        angle += float(random.normal(0, 0.13))
        points.append(
            points[-1] + random.uniform(0.045, 0.075) * np.array([sign * np.cos(angle), np.sin(angle)])
        )
    line(frame, pen, np.array(points), width, int(40 + 190 * min(1, width / 0.024)))
    if width > 0.007 and depth < 5:
        for turn in (random.uniform(0.15, 0.5), -random.uniform(0.15, 0.5)):
            _branch(
                random,
                frame,
                pen,
                points[-1],
                sign,
                angle + float(turn),
                width * float(random.uniform(0.58, 0.76)),
                depth + 1,
            )


def _bones(random: np.random.Generator, frame: Frame, body: Body, u: Array, v: Array) -> Array:
    return (
        body.ribs * (0.20 * _ribs(frame, body, behind=True) + 0.12 * _ribs(frame, body, behind=False))
        + 0.30 * _clavicles(random, frame)
        + 0.11 * _scapulae(frame)
        + _spine(u, v)
    )


def _ribs(frame: Frame, body: Body, behind: bool) -> Array:
    """Ten posterior arcs from the spine, or the anterior arcs that come back from the side.

    Edges are denser than the middle.
    """
    sheet, pen = canvas(frame)
    for sign in (-1.0, 1.0):
        for number in range(10):
            start = body.apex + 0.02 + 0.128 * number
            edge = min(1.05, body.chest * (0.46 + 0.58 * np.sin(np.pi / 2 * min(1.0, (number + 0.8) / 6))))
            t = np.linspace(0, 1, 24)
            if behind:
                x = 0.08 + (edge - 0.08) * np.sin(np.pi / 2 * t) ** 1.1
                y = start - 0.035 * np.sin(np.pi * t) + (0.10 + 0.016 * number) * t**2.2
            else:
                x = edge - (edge - 0.30) * t**1.15
                y = start + 0.10 + 0.016 * number + 0.30 * t**1.4 - 0.03 * np.sin(np.pi * t)
                if number in (0, 7, 8, 9):
                    continue
            points = np.stack([sign * x, y], axis=1)
            line(frame, pen, points, 0.058 if behind else 0.052, 230)
            line(frame, pen, points, 0.034 if behind else 0.030, 140)
    return reduced(sheet, frame, 0.9)


def _clavicles(random: np.random.Generator, frame: Frame) -> Array:
    sheet, pen = canvas(frame)
    rise = random.uniform(0.10, 0.20)
    for sign in (-1.0, 1.0):
        t = np.linspace(0, 1, 20)
        points = np.stack([sign * (0.08 + 0.74 * t), -0.64 - rise * t + 0.05 * np.sin(2 * np.pi * t)], axis=1)
        line(frame, pen, points, 0.062, 230)
        line(frame, pen, points, 0.034, 150)
    return reduced(sheet, frame, 0.9)


def _scapulae(frame: Frame) -> Array:
    sheet, pen = canvas(frame)
    for sign in (-1.0, 1.0):
        outline = np.array(
            [[0.72, -0.70], [0.98, -0.74], [1.06, -0.40], [0.92, 0.04], [0.82, 0.10], [0.74, -0.25]]
        ) * [sign, 1]
        pen.polygon([tuple(p) for p in SUPERSAMPLING * frame.pixels(outline)], fill=200)
    return reduced(sheet, frame, 2.5)


def _spine(u: Array, v: Array) -> Array:
    """Vertebral bodies with disc spaces between them, spinous processes in the middle."""
    column = np.exp(-((u / 0.085) ** 6)) * sigmoid((v + 1.0) / 0.03)
    discs = 0.5 + 0.5 * np.cos(2 * np.pi * v / 0.128)
    process = np.exp(-((u / 0.018) ** 2)) * (0.5 + 0.5 * np.cos(2 * np.pi * (v - 0.03) / 0.128))
    return column * (0.10 - 0.07 * discs**4) + 0.05 * process


def _film(random: np.random.Generator, attenuation: Array) -> Array:
    """Tone curve, scatter, noise, marker and collimation."""
    low, high = random.uniform(0.05, 0.17), random.uniform(1.15, 1.5)
    light = np.clip((attenuation - low) / (high - low), 0, 1) ** random.uniform(0.75, 1.15)
    image = Image.fromarray(np.rint(255 * light).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(random.uniform(0.4, 0.9))
    )
    _marker(random, image)
    grey = np.asarray(image, np.float32)
    grey += random.normal(0, random.uniform(1.5, 5.0), grey.shape).astype(np.float32) * (0.5 + grey / 255)
    height, width = grey.shape
    if random.random() < 0.4:  # collimator blades
        left, right, top, bottom = (
            int(side * random.uniform(0, 0.05)) for side in (width, width, height, height)
        )
        frame = np.zeros_like(grey)
        frame[top : height - bottom, left : width - right] = 1
        grey *= frame
    return np.clip(grey, 0, 255).astype(np.uint8)


def _marker(random: np.random.Generator, image: Image.Image) -> None:
    """The lead letter of a side, as a technician would lay it."""
    if random.random() < 0.3:
        return
    pen, size = ImageDraw.Draw(image), int(image.width * 0.035)
    letter, x = ("L", 0.93) if random.random() < 0.5 else ("R", 0.04)
    at = (int(image.width * x), int(image.height * random.uniform(0.04, 0.12)))
    pen.text(at, letter, fill=245, font_size=size + 6)


def _box(mask: Array) -> Box:
    """The smallest box around a mask, as shares of width and height; the whole film if nothing of it is
    on the film.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (0.0, 0.0, 1.0, 1.0)
    height, width = mask.shape
    return (
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )
