"""How deep a film's samples really are: what the header says of bits and sign, weighed against the samples
themselves.

A film is smooth. Read with too few bits, or with the wrong sign, its values wrap round: neighbours then
differ by a whole power of two. So of two readings that of the header stands, unless the other makes those
jumps small, or unless it leaves little but noise of what is smooth with all bits. Where the bits above those
stored do not go together with the values, they hold something else, as old overlays do, and are left out.
"""

from dataclasses import dataclass

import numpy as np

_LOOKED = 1 << 20  # pixels that are looked at, in whole rows
_SURE, _ENOUGH = (
    0.8,
    0.002,
)  # share of jumps, and of pixels, before a header is overruled that contradicts nothing else
_NOISY = 0.35  # of roughness: the roughest of 600 real films has 0.26
_SLACK = 8  # a lossy stream may go beyond the bits stored by this part of their range: cut, not wrapped round


@dataclass(frozen=True)
class Stated:
    """What a header says of samples: ``bits`` stored and their sign; ``padding``, the first and last
    value that are none.
    """

    bits: int
    signed: bool
    padding: tuple[int, int] | None = None


@dataclass(frozen=True)
class Samples:
    """Stored values [rows, columns], or colours uint8 [rows, columns, 3], with the bits and the sign that
    they turned out to have.
    """

    values: np.ndarray
    bits: int
    signed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def doubtful(self) -> bool:
        """Whether the header was overruled: its window may be meant for other numbers too."""
        return bool(self.notes)


def read_samples(raw: np.ndarray, width: int, stated: Stated, *, lossy: bool = False) -> Samples:
    """Unsigned samples [rows, columns], of which ``width`` bits are there, as stored values."""
    if width < stated.bits:
        samples = read_samples(raw, width, Stated(width, stated.signed, stated.padding))
        note = f"its samples have {width} bits, its header says {stated.bits}"
        return Samples(samples.values, samples.bits, samples.signed, (note, *samples.notes))
    bits, signed = stated.bits, stated.signed
    if lossy and width > bits and (cut := _overshot(raw, width, stated)) is not None:
        return Samples(cut, bits, signed)
    above = _bits_above(raw, width, stated)
    best, share = _smoother(raw, width, stated, above)
    if best is not None and (above or share > _SURE):
        values = numbers(raw, *best)
        return Samples(
            values, max(bits, _needed(values, best[1])), best[1], (_note(values, stated, best[1]),)
        )
    if above and _only_padding(raw, width, stated):
        return Samples(numbers(raw, width, signed), width, signed)
    note = f"what stands above the {bits} bits stored is no part of the values; left out"
    return Samples(numbers(raw, bits, signed), bits, signed, (note,) if above else ())


def numbers(raw: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """The lowest bits of unsigned samples, as int32 where they are two's complement numbers."""
    low = raw & ((1 << bits) - 1)
    if not signed:
        return low
    wide = low.astype(np.int32)
    return wide - ((wide >> (bits - 1)) << bits)


def _overshot(raw: np.ndarray, width: int, stated: Stated) -> np.ndarray | None:
    """A lossy stream's values cut to the bits stored; None where they go too far beyond to be its ringing."""
    low = -(1 << (stated.bits - 1)) if stated.signed else 0
    high, slack = low + (1 << stated.bits) - 1, (1 << stated.bits) // _SLACK
    for signed in (
        stated.signed,
        True,
    ):  # what rings below zero comes out of an unsigned stream as its largest numbers
        values = numbers(raw, width, signed).astype(np.int32)
        if low - slack <= values.min() and values.max() <= high + slack:
            return np.clip(values, low, high)
    return None


def _bits_above(raw: np.ndarray, width: int, stated: Stated) -> bool:
    """Whether bits above those stored say anything: they are neither the sign carried on nor the same
    everywhere.
    """
    if width == stated.bits:
        return False
    above = raw >> stated.bits
    if int(above.min()) == int(above.max()):
        return False
    return not (stated.signed and np.array_equal(numbers(raw, width, True), numbers(raw, stated.bits, True)))


def _smoother(
    raw: np.ndarray, width: int, stated: Stated, above: bool
) -> tuple[tuple[int, bool] | None, float]:
    """The reading (bits, sign) under which the header's jumps vanish, and the share of them that do; None
    where there is none.
    """
    rows = raw[:: max(1, raw.size // _LOOKED)]
    header = numbers(rows, stated.bits, stated.signed).astype(np.int32)
    depths = (stated.bits, width) if above else (stated.bits,)
    others = [(bits, signed) for bits in depths for signed in (stated.signed, not stated.signed)][1:]
    if not stated.signed and stated.bits <= 8:
        others = [(bits, signed) for bits, signed in others if bits > 8 or not signed]
    if above and (deeper := _much_smoother(rows, width, header)):
        return deeper, 1.0
    fitting = []
    for bits, signed in others:
        other = numbers(rows, bits, signed).astype(np.int32)
        share, jumps = _mended(header, other, stated.bits, saturated=above)
        if share > 0.5 and (above or jumps >= _ENOUGH * rows.size):
            fitting.append(((bits, signed), share))
    if not fitting:
        return None, 0.5
    best = _sign_by_steps(rows, *max(fitting, key=lambda fit: fit[1])[0], [fit[0] for fit in fitting])
    return best, dict(fitting)[best]


def _sign_by_steps(
    rows: np.ndarray, bits: int, signed: bool, readings: list[tuple[int, bool]]
) -> tuple[int, bool]:
    """Of a reading and that of the other sign, where it fits too, the one with the smaller steps."""
    both = [(bits, sign) for sign in (signed, not signed) if (bits, sign) in readings]
    return min(both, key=lambda reading: _steps(numbers(rows, *reading)))


def _much_smoother(rows: np.ndarray, width: int, header: np.ndarray) -> tuple[int, bool] | None:
    """The reading of all bits where that of the header is little but noise: of values so much deeper than
    it says only the lowest bits are left in it, and hardly a jump is a whole one.
    """
    by_header = _roughness(header)
    reading = _sign_by_steps(rows, width, False, [(width, False), (width, True)])
    return reading if by_header >= _NOISY and 2 * _roughness(numbers(rows, *reading)) < by_header else None


def _roughness(values: np.ndarray) -> float:
    """The mean step in standard deviations: 1.13 or more for noise, far less for a film."""
    return _steps(values) / max(1e-9, float(values.std()))


def _steps(values: np.ndarray) -> float:
    """The mean step between neighbours in a row."""
    return float(np.abs(np.diff(values.astype(np.int32), axis=1)).mean())


def _mended(header: np.ndarray, other: np.ndarray, bits: int, *, saturated: bool) -> tuple[float, int]:
    """Of neighbours that the two readings set apart by one wrap: the share that lie nearer in the other one,
    and how many there are.

    Where only the sign is in doubt, what is ``saturated`` is not counted: a marker's white on black jumps in
    any right reading.
    """
    step, there = np.diff(header, axis=1), np.diff(other, axis=1)
    wraps = np.abs(there - step) == 1 << bits
    if not saturated:
        even = np.pad(step == 0, ((0, 0), (1, 1)))
        flat = (even[:, 1:] | even[:, :-1]) & ((header == header.min()) | (header == header.max()))
        wraps &= ~(flat[:, 1:] | flat[:, :-1])
    count = int(wraps.sum())
    return (float((np.abs(there) < np.abs(step))[wraps].mean()) if count else 0.0), count


def _only_padding(raw: np.ndarray, width: int, stated: Stated) -> bool:
    """Whether just the padding lies outside the bits stored."""
    if stated.padding is None:
        return False
    values = numbers(raw, width, stated.signed)
    first, last = sorted(stated.padding)
    outside = values != numbers(raw, stated.bits, stated.signed)
    return bool(((values >= first) & (values <= last))[outside].all())


def _needed(values: np.ndarray, signed: bool) -> int:
    low, high = int(values.min()), int(values.max())
    return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + int(signed)


def _note(values: np.ndarray, stated: Stated, signed: bool) -> str:
    span = f"{int(values.min())} to {int(values.max())}"
    if signed != stated.signed and _needed(values, signed) <= stated.bits:
        sign = "signed" if stated.signed else "unsigned"
        return f"its values are {span}, though its header says that they are {sign}: taken as they are"
    return f"its values are {span}, beyond the {stated.bits} bits stored: taken as they are"
