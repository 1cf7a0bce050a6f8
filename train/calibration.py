"""Fits the temperature and the threshold of the abnormal head, on validation films and never on test.

Needs no torch.
"""

import numpy as np

from mtclip_edge.evidence.calibration import Calibration
from mtclip_edge.evidence.enough import OF_EACH_LABEL

SPECIFICITY = 0.90  # that the operating point has on validation films
_RANGE = (-3.0, 3.0)  # logarithm of the temperature


def fit_calibration(label: np.ndarray, logit: np.ndarray) -> Calibration | None:
    """Temperature and threshold for films with labels 0 or 1; None with fewer than ``OF_EACH_LABEL`` of
    either.
    """
    labelled = (label == 0) | (label == 1)
    label, logit = label[labelled], np.asarray(logit, np.float64)[labelled]
    if min((label == 0).sum(), (label == 1).sum()) < OF_EACH_LABEL:
        return None
    return Calibration(_temperature(label, logit), _threshold(logit[label == 0]), SPECIFICITY, len(label))


def _temperature(label: np.ndarray, logit: np.ndarray) -> float:
    """The temperature of least cross-entropy, which is convex in its inverse: golden-section search on
    its logarithm.
    """
    sign = 1.0 - 2.0 * label

    def loss(log: float) -> float:
        return float(np.logaddexp(0.0, sign * logit / np.exp(log)).mean())

    low, high = _RANGE
    ratio = (np.sqrt(5.0) - 1) / 2
    while high - low > 1e-6:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return float(np.exp((low + high) / 2))


def _threshold(normal: np.ndarray) -> float:
    """The least logit above which at most a tenth of the normal films lie."""
    ordered = np.sort(normal)
    below = int(np.ceil(SPECIFICITY * len(ordered) - 1e-9))
    # In float32, which logits are: a threshold between two float32 numbers would be rounded onto the lower
    # one.
    return float(np.nextafter(np.float32(ordered[below - 1]), np.float32(np.inf)))
