"""A film as a small picture for a page."""

import io

import numpy as np


def thumbnail(grey: np.ndarray, side: int) -> bytes:
    """A grey PNG's bytes of uint8 [height, width], its longer side at most ``side`` pixels; nothing but
    pixels is in it.
    """
    from PIL import Image

    picture = Image.fromarray(grey)
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def webp(grey: np.ndarray, side: int, quality: int) -> bytes:
    """The same as a WebP of a quality from 1 to 100, a tenth of a PNG's size."""
    from PIL import Image

    picture = Image.fromarray(grey)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()
