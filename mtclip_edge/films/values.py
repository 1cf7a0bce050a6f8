"""What a film's file holds beyond its 8-bit grey: the values that a reader's window moves over.

For looking alone: embeddings come from the grey of ``read.read_film``, whatever window is looked through.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .film import robust_limits

MOST = (1 << 16) - 1


@dataclass(frozen=True)
class FilmValues:
    """``values`` uint16 [height, width]; value · ``slope`` + ``intercept`` is what the film's window counts
    in: its ``center``, ``width`` and ``function`` (LINEAR, LINEAR_EXACT, SIGMOID; PS3.3 C.11.2).
    ``inverse``: the least value is white.
    """

    values: np.ndarray
    slope: float
    intercept: float
    inverse: bool
    center: float
    width: float
    function: str = "LINEAR"

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest, as the window counts."""
        ends = (float(end) * self.slope + self.intercept for end in (self.values.min(), self.values.max()))
        low, high = sorted(ends)
        return low, high

    def to_dict(self) -> dict[str, Any]:
        """All but the values."""
        return {
            "slope": self.slope,
            "intercept": self.intercept,
            "inverse": self.inverse,
            "window": {"center": self.center, "width": self.width, "function": self.function},
            "range": list(self.range),
        }


def spread(values: np.ndarray, inverse: bool) -> FilmValues:
    """Numbers of any range [height, width] in 65,536 steps, seen between two robust percentiles."""
    finite = np.where(np.isfinite(values), values, 0.0)
    low, high = float(finite.min()), float(finite.max())
    whole = values.size > 0 and high - low <= MOST and bool((finite == np.rint(finite)).all())
    step = 1.0 if whole or high <= low else (high - low) / MOST
    stored = np.rint((finite - low) / step).astype(np.uint16)
    return FilmValues(stored, step, low, inverse, *percentile_window(stored, step, low))


def percentile_window(stored: np.ndarray, slope: float, intercept: float) -> tuple[float, float]:
    """Centre and width of what lies between two robust percentiles."""
    there, count = np.unique(stored, return_counts=True)
    first, last = robust_limits(there.astype(np.float64) * abs(slope), count)
    low, high = first * np.sign(slope) + intercept, last * np.sign(slope) + intercept
    return float(low + high) / 2, max(1.0, abs(float(high - low)))
