"""Stored DICOM values to 8-bit grey: modality LUT, VOI LUT or window, presentation, in the order and by the
formulas of PS3.3 C.11.

A stored value has at most 16 bits, so the whole way is computed once for each value that can occur, in
float64, and looked up: the same film gives the same pixels everywhere, and no array of floats as large as a
film is made.
"""

from dataclasses import dataclass

import numpy as np

from ..film import robust_limits

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
MOST = 1e9  # no film's numbers are larger; beyond it they are a damaged header's
# Eight plain bits that use half of their range were rendered before: stretched once more, a film finds other
# neighbours than the same film as PNG (docs/results/results.md).
RENDERED = 128
SEEN = 32  # grey values between the robust percentiles; the palest of 3,671 real frontal films has 68
_ROWS = 256  # of a film counted at once


@dataclass(frozen=True)
class Lut:
    """``entries`` int64 [n] for the values from ``first`` on; below it stands the first entry, above the
    last. ``bits`` of its output.
    """

    first: int
    entries: np.ndarray
    bits: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        place = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return self.entries[place].astype(np.float64)


@dataclass(frozen=True)
class Window:
    """Centre and width in the values behind the modality LUT. Formulas: PS3.3 C.11.2.1.2 and C.11.2.1.3."""

    center: float
    width: float
    function: str = "LINEAR"

    @property
    def usable(self) -> bool:
        narrowest = 1 if self.function == "LINEAR" else 1 / MOST
        return self.function in FUNCTIONS and abs(self.center) <= MOST and narrowest <= self.width <= MOST

    @property
    def edges(self) -> tuple[float, float]:
        """Values at and below the first are all black, above the second all white; a sigmoid is nearly so."""
        if self.function == "LINEAR":
            return self.center - 0.5 - (self.width - 1) / 2, self.center - 0.5 + (self.width - 1) / 2
        return self.center - self.width / 2, self.center + self.width / 2

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Float64 values to 0..1."""
        if self.function == "SIGMOID":
            return 1 / (1 + np.exp(np.clip(-4 * (values - self.center) / self.width, -700, 700)))
        low, high = self.edges
        if high == low:
            return (values > low).astype(np.float64)
        return np.clip((values - low) / (high - low), 0, 1)


@dataclass(frozen=True)
class Rendering:
    """How a film's stored values are to be shown.

    ``bits`` and ``signed`` say which can occur; ``padding`` are those that are none.
    """

    bits: int
    signed: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    modality: Lut | None = None
    voi: Lut | None = None
    window: Window | None = None
    inverse: bool = False
    padding: tuple[int, int] | None = None
    doubtful: bool = (
        False  # the header was wrong about the values' depth: it may be about how to show them too
    )

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def is_plain(self) -> bool:
        """Eight bits that mean grey as they are."""
        return (
            self.bits == 8
            and not self.signed
            and self.modality is None
            and (self.slope, self.intercept) == (1, 0)
        )

    def domain(self) -> np.ndarray:
        """Every stored value that can occur, int64 [2**bits]."""
        return np.arange(self.low, self.low + (1 << self.bits))

    def modality_values(self) -> np.ndarray:
        """What each of these is behind the modality LUT or the rescale."""
        domain = self.domain()
        return self.modality(domain) if self.modality is not None else domain * self.slope + self.intercept


def to_grey(stored: np.ndarray, how: Rendering, mode: str = "voi") -> tuple[np.ndarray, tuple[str, ...]]:
    """Integers [height, width] to uint8 of the same shape, and what a reader should know of it.

    Padding becomes black.
    """
    domain = how.domain()
    count, padded, notes = _counted(stored, how, domain)
    values = how.modality_values()
    shown, note = _shown(values, count, how, mode)
    grey = np.rint(255 * shown).astype(np.uint8)
    if how.inverse:
        grey = 255 - grey
    grey[padded] = 0
    return np.take(grey, stored.astype(np.int32) - how.low), (*notes, *note)


def _counted(
    stored: np.ndarray, how: Rendering, domain: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """How often each stored value occurs, padding left out; which are padding; a note where all of it
    would be.
    """
    count = np.zeros(len(domain), np.int64)
    for start in range(0, len(stored), _ROWS):
        count += np.bincount(
            stored[start : start + _ROWS].ravel().astype(np.int64) - how.low, minlength=len(domain)
        )
    padded = np.zeros(len(domain), bool)
    if how.padding is not None:
        first, last = sorted(how.padding)
        padded = (domain >= first) & (domain <= last)
        if not count[~padded].any():
            return (
                count,
                np.zeros(len(domain), bool),
                ("every pixel is padding by the header; padding ignored",),
            )
        count[padded] = 0
    return count, padded, ()


def _shown(
    values: np.ndarray, count: np.ndarray, how: Rendering, mode: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """What each value looks like, 0..1 before any inversion."""
    if mode == "minmax":
        return _between(values, *_extremes(values, count)), ()
    if mode == "voi":
        if how.voi is not None or how.window is not None:
            problem = (
                ""
                if how.voi is not None or how.window is None
                else _problem(how.window, *_extremes(values, count))
            )
            if not problem and (shown := _as_told(values, count, how)) is not None:
                return shown, ()
            told = "the VOI LUT" if how.voi is not None else "the window"
            return _by_percentiles(values, count), (
                problem or f"{told} is not meant for these values; percentiles instead",
            )
        if how.is_plain and _robust_range(values, count) >= RENDERED:
            return values / 255, ()
    return _by_percentiles(values, count), ()


def _as_told(values: np.ndarray, count: np.ndarray, how: Rendering) -> np.ndarray | None:
    """By VOI LUT or window; None where a header that was wrong before would leave next to nothing to see."""
    if how.voi is not None:
        shown = np.clip(how.voi(values) / (2**how.voi.bits - 1), 0, 1)
    else:
        assert how.window is not None
        shown = how.window(values)
    return None if how.doubtful and 255 * _robust_range(shown, count) < SEEN else shown


def _problem(window: Window, smallest: float, largest: float) -> str:
    """Why a window cannot serve; empty where it can."""
    named = f"window {window.center:g} ± {window.width:g}/2"
    if not window.usable:
        return f"{named} makes no sense; percentiles instead"
    low, high = window.edges
    if largest <= low < high or smallest > high > low or (low == high and not smallest <= low < largest):
        return f"{named} lies outside the film's values {smallest:g} to {largest:g}; percentiles instead"
    return ""


def _extremes(values: np.ndarray, count: np.ndarray) -> tuple[float, float]:
    occurring = values[count > 0]
    return float(occurring.min()), float(occurring.max())


def _by_percentiles(values: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Black to white between two robust percentiles; where these are one, between the extremes."""
    low, high = _percentiles(values, count)
    return _between(values, low, high) if high > low else _between(values, *_extremes(values, count))


def _percentiles(values: np.ndarray, count: np.ndarray) -> tuple[float, float]:
    there = np.flatnonzero(count)
    order = there[np.argsort(values[there], kind="stable")]
    return robust_limits(values[order], count[order])


def _robust_range(values: np.ndarray, count: np.ndarray) -> float:
    low, high = _percentiles(values, count)
    return high - low


def _between(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if high <= low:
        return np.zeros(values.shape)
    return np.clip((values - low) / (high - low), 0, 1)
