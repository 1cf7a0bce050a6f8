"""Turns the abnormal head's logit into a probability that means a frequency (``train.calibration`` fits
it on validation films).
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..bundle.manifest import ModelPart
from ..bundle.records import CalibrationRecord


@dataclass(frozen=True)
class Calibration:
    """``temperature`` divides the logit (Guo et al.

    2017); a logit of at least ``threshold`` counts as abnormal.
    """

    temperature: float
    threshold: float
    specificity: float
    films: int

    def probability(self, logit: np.ndarray) -> np.ndarray:
        return sigmoid(np.asarray(logit) / self.temperature)

    def record(self) -> CalibrationRecord:
        return CalibrationRecord(**asdict(self))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, record: CalibrationRecord | None) -> "Calibration | None":
        return (
            None
            if record is None
            else cls(record.temperature, record.threshold, record.specificity, record.films)
        )


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """The logistic function without overflow, float64."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logit, np.float64)))


@dataclass(frozen=True)
class Abnormal:
    """The abnormal head's probability; ``calibrated`` says whether it was fitted to frequencies on
    validation films.
    """

    probability: float
    calibrated: bool

    @classmethod
    def of(cls, logit: float, model: ModelPart, seen: str = "frontal") -> "Abnormal | None":
        """From the head's output on films of a view (frontal, lateral, both) and what a bundle says of it;
        None where the head was never trained.
        """
        if not model.abnormal_head:
            return None
        calibration = model.calibration_of(seen)
        logit = logit / calibration.temperature if calibration else logit
        return cls(
            round(1 / (1 + math.exp(-logit)) if logit > -700 else 0.0, 4), calibrated=calibration is not None
        )
