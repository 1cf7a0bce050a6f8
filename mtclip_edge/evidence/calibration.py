"""Turns the abnormal head's logit into a probability that means a frequency (``train.calibration`` fits
it on validation films).
"""

import math
from dataclasses import asdict, dataclass, field
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

    @property
    def point(self) -> float:
        """The operating point: the probability of ``threshold``, to the four decimals of an answer."""
        return round(float(self.probability(np.array(self.threshold))), 4)

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
    """What the abnormal head says of a film. ``probability`` was fitted to frequencies on validation films;
    None, and ``calibrated`` False, where there were too few of them: then ``logit`` puts films in order, and
    nothing else is known. ``threshold`` is the operating point in force: from it on the ``call`` is abnormal,
    below it normal; both are None where none was fitted.
    """

    probability: float | None
    calibrated: bool
    threshold: float | None = None
    call: str | None = None
    logit: float = field(kw_only=True)

    @classmethod
    def of(cls, logit: float, model: ModelPart, seen: str = "frontal") -> "Abnormal | None":
        """From the head's output on films of a view (frontal, lateral, both) and what a bundle says of it;
        None where the head was never trained.
        """
        if not model.abnormal_head:
            return None
        told = round(logit, 4)
        found = Calibration.of(model.calibration_of(seen))
        if found is None:
            return cls(None, calibrated=False, logit=told)
        logit = logit / found.temperature
        probability = round(1 / (1 + math.exp(-logit)) if logit > -700 else 0.0, 4)
        call = "abnormal" if probability >= found.point else "normal"
        return cls(probability, calibrated=True, threshold=found.point, call=call, logit=told)
