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
