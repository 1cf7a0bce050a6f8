"""A map as colours over a film.

The colours rise in lightness from one end to the other, so that they read in grey print too.
"""

import io
from typing import Any

import numpy as np

from ..notice import NOTICE

SMALLEST = 320  # so that the legend can be read under a thumbnail
_OPAQUE = 0.65
# From little to much: lightness L* 12, 33, 53, 72, 90 in equal steps (tested).
ANCHORS = ((50, 8, 90), (122, 24, 120), (205, 62, 86), (246, 148, 38), (250, 232, 120))


def colours() -> np.ndarray:
    """256 colours, uint8 [256, 3]."""
    at = np.linspace(0, len(ANCHORS) - 1, 256)
    channels = [np.interp(at, range(len(ANCHORS)), [anchor[c] for anchor in ANCHORS]) for c in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def picture(
    grey: np.ndarray,
    values: np.ndarray,
    range_: tuple[float, float],
    legend: tuple[str, ...],
    longest: int = 1024,
) -> bytes:
    """PNG bytes: the film uint8 [height, width] in its own shape, over it the map where it is above the first
    of ``range_``, in the last colour from its second on; below the colours with their values, and the legend.
    """
    from PIL import Image

    film = np.asarray(Image.fromarray(grey).resize(_fitted(grey.shape, longest), Image.Resampling.LANCZOS))
    laid = _laid_over(film, values, range_)
    buffer = io.BytesIO()
    _with_legend(Image.fromarray(laid), range_, (*legend, NOTICE)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def resized(values: np.ndarray, height: int, width: int, smooth: bool = False) -> np.ndarray:
    """A map on another grid, float32 [height, width]: averaged over cells, or smoothly in between."""
    from PIL import Image

    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.BOX
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((width, height), how))


def _fitted(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """Width and height of the picture."""
    height, width = shape
    scale = min(longest / max(shape), max(1.0, SMALLEST / min(shape)))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _laid_over(film: np.ndarray, values: np.ndarray, range_: tuple[float, float]) -> np.ndarray:
    """RGB uint8 [height, width, 3]; nothing is laid where a place is not above the first of the range."""
    height, width = film.shape
    floor, full = range_
    share = np.zeros(film.shape, np.float32)
    if full > floor and values.max() > floor:  # smoothing may overshoot what no place has
        share = np.clip((resized(values, height, width, smooth=True) - floor) / (full - floor), 0, 1)
    opaque = (_OPAQUE * share)[..., None]
    mixed = (1 - opaque) * film[..., None] + opaque * colours()[np.rint(255 * share).astype(np.uint8)]
    return np.rint(mixed).astype(np.uint8)


def _with_legend(image: Any, range_: tuple[float, float], lines: tuple[str, ...]) -> Any:
    """The picture above the colours, from the value of the first to that of the last, and lines of text."""
    from PIL import Image, ImageDraw, ImageFont

    size = max(12, image.width // 40)
    font = ImageFont.load_default(size)
    rows = [row for line in lines for row in _wrapped(line, font, image.width - size)]
    step, bar = round(1.35 * size), round(1.8 * size)
    sheet = Image.new("RGB", (image.width, image.height + bar + round(step * (len(rows) + 0.6))))
    sheet.paste(image)
    pen = ImageDraw.Draw(sheet)
    _bar(sheet, pen, range_, image.height + size // 2, size, font)
    for number, row in enumerate(rows):
        pen.text(
            (size // 2, image.height + bar + round(step * (number + 0.2))),
            row,
            fill=(225, 225, 225),
            font=font,
        )
    return sheet


def _bar(sheet: Any, pen: Any, range_: tuple[float, float], top: int, size: int, font: Any) -> None:
    """The colours as a bar, the value of the first to its left and of the last to its right."""
    from PIL import Image

    first, last = f"{range_[0]:.4f}", f"{range_[1]:.4f} of cosine"
    left = size + int(font.getlength(first))
    right = max(left + 2, sheet.width - size - int(font.getlength(last)))
    strip = np.tile(colours()[np.linspace(0, 255, right - left).astype(np.uint8)], (size, 1, 1))
    sheet.paste(Image.fromarray(strip), (left, top))
    for at, word in ((size // 2, first), (right + size // 2, last)):
        pen.text((at, top), word, fill=(225, 225, 225), font=font)


def _wrapped(line: str, font: Any, width: int) -> list[str]:
    """A line cut between words, a word alone where it is too long; what the font may lack becomes a
    question mark.
    """
    rows: list[str] = []
    for word in line.encode("ascii", "replace").decode().split():
        longer = f"{rows[-1]} {word}" if rows else word
        if rows and font.getlength(longer) <= width:
            rows[-1] = longer
        else:
            rows.append(word)
    return rows
