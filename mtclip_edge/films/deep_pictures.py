"""Pictures deeper than 8 bits: grey, colours and transparency of 16 bits, 32-bit numbers, floats, as 8-bit
grey between robust percentiles.

Pillow has no 16-bit colour: it keeps each sample's upper byte. So such a picture is decoded twice, once for
either byte.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from .film import COLOURED, robust_limits
from .tiff_samples import as_numbers, min_is_white

WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow's own


def is_deep(image: Any) -> bool:
    """Whether a picture that Pillow has opened, not yet loaded, holds more than 8 bits a sample."""
    return image.mode in WIDE_MODES or _rawmode(image) is not None


@dataclass(frozen=True)
class DeepPicture:
    """``values``: numbers of any depth [height, width]; whether the least is white, and whether there were
    colours.
    """

    values: np.ndarray
    white: bool
    coloured: bool


def deep_values(image: Any, data: bytes) -> DeepPicture:
    """An opened picture of the bytes ``data``."""
    white = image.format == "TIFF" and min_is_white(image)
    if image.mode in WIDE_MODES:
        return DeepPicture(as_numbers(np.asarray(ImageOps.exif_transpose(image)), image), white, False)
    samples = _both_bytes(data, image)
    return DeepPicture(_luma(samples), white, _has_colours(samples))


def deep_grey(image: Any, data: bytes) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """An opened picture of the bytes ``data`` as uint8 [height, width], whether it has colours, and what
    a reader should know of it.
    """
    deep = deep_values(image, data)
    broken = deep.values.dtype.kind == "f" and not np.isfinite(deep.values).all()
    grey = scaled_to_8_bits(deep.values)
    return (
        (255 - grey if deep.white else grey),
        deep.coloured,
        ("values that are no numbers became black",) if broken else (),
    )


def scaled_to_8_bits(values: np.ndarray) -> np.ndarray:
    """Numbers of any depth [height, width] to uint8 between two robust percentiles, so that a marker does not
    blacken the film.

    Where these are one, between the extremes; a uniform picture becomes black, and so does what is no finite
    number.
    """
    finite = np.isfinite(values) if values.dtype.kind == "f" else None
    there = values.ravel() if finite is None else values[finite]
    low, high = _limits(there) if there.size else (0.0, 0.0)
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    scaled = np.clip((values.astype(np.float64) - low) * (255.0 / (high - low)), 0, 255)
    return np.rint(scaled if finite is None else np.where(finite, scaled, 0)).astype(np.uint8)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Two robust percentiles, or, where these are one, the extremes."""
    there, count = np.unique(values, return_counts=True)
    low, high = robust_limits(there.astype(np.float64), count)
    return (low, high) if high > low else (float(there[0]), float(there[-1]))


def _rawmode(image: Any) -> str | None:
    """How a picture's samples of 16 bits lie in the file, in Pillow's words; None where they are no
    deeper than 8.
    """
    args = image.tile[0].args if getattr(image, "tile", None) else ""
    raw = args[0] if isinstance(args, tuple) and args else args
    return raw if isinstance(raw, str) and ";16" in raw else None


def _both_bytes(data: bytes, image: Any) -> Any:
    """Samples of 16 bits, uint16 [height, width, channels]: RGB, RGBA or grey with transparency.

    Errors: ValueError.
    """
    raw = _rawmode(image) or ""
    name, _, order = raw.partition(";16")
    if raw == "LA;16B":  # four bytes a pixel, as RGBA has
        with Image.open(io.BytesIO(data)) as other:
            other._mode = "RGBA"
            quads = _decoded(other, "RGBA").astype(np.uint16)
        return quads[..., ::2] << 8 | quads[..., 1::2]
    if name not in ("RGB", "RGBX", "RGBA", "RGBa"):
        raise ValueError(f"16-bit samples of the kind {name} are not read")
    with Image.open(io.BytesIO(data)) as other:
        low = _decoded(other, f"{name};16{'L' if order == 'B' else 'B'}").astype(np.uint16)
    return np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16) << 8 | low


def _decoded(image: Any, raw: str) -> np.ndarray:
    """The picture decoded by another reading of its samples."""
    tiles = image.tile
    image.tile = [t._replace(args=(raw, *t.args[1:]) if isinstance(t.args, tuple) else raw) for t in tiles]
    return np.asarray(ImageOps.exif_transpose(image))


def _luma(samples: np.ndarray) -> np.ndarray:
    """Grey of 16-bit channels as float64 [height, width], with transparency laid on black."""
    colours = samples.shape[2] >= 3
    grey = samples[..., :3] @ _LUMA if colours else samples[..., 0].astype(np.float64)
    alpha = {2: 1, 4: 3}.get(samples.shape[2])
    return np.rint(grey if alpha is None else grey * (samples[..., alpha] / 65535))


def _has_colours(samples: np.ndarray) -> bool:
    """Whether the channels of 16-bit colours differ by more than ``COLOURED`` of 255 of their whole
    range, seen on some of them.
    """
    step = max(1, int((samples.shape[0] * samples.shape[1] / 4096) ** 0.5))
    some = samples[::step, ::step, :3].astype(np.int32)
    return samples.shape[2] >= 3 and bool(
        255 * int(np.ptp(some, axis=2).max()) > COLOURED * int(np.ptp(some))
    )
