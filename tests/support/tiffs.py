"""TIFFs of any samples: Pillow writes few of the kinds that cameras, scanners and image programs do."""

import struct
import zlib
from collections.abc import Mapping

import numpy as np

DEFLATE = 8
_LETTERS = {3: "H", 4: "I"}


def tiff(
    parts: list[np.ndarray], order: str, photometric: int = 1, *, compression: int = 1, **more: int
) -> bytes:
    """Samples [rows, columns(, samples)] of one plane, or of several, in a byte order (``<`` or ``>``); ``more`` are
    SampleFormat and PlanarConfiguration.
    """
    first = parts[0]
    samples = len(parts) if len(parts) > 1 else first.shape[2] if first.ndim == 3 else 1
    strips = [plane.astype(plane.dtype.newbyteorder(order)).tobytes() for plane in parts]
    strips = [zlib.compress(strip) for strip in strips] if compression == DEFLATE else strips
    tags = {
        256: (4, [first.shape[1]]),
        257: (4, [first.shape[0]]),
        258: (3, [8 * first.dtype.itemsize] * samples),
        259: (3, [compression]),
        262: (3, [photometric]),
        273: (4, [0] * len(strips)),
        277: (3, [samples]),
        278: (4, [first.shape[0]]),
        279: (4, [len(strip) for strip in strips]),
    }
    for name, number in (("planes", 284), ("format", 339)):
        if name in more:
            tags[number] = (3, [more[name]] * (samples if name == "format" else 1))
    start = (
        8
        + 2
        + 12 * len(tags)
        + 4
        + sum(size for kind, values in tags.values() if (size := _size(kind, values)) > 4)
    )
    tags[273] = (4, [start + sum(map(len, strips[:number])) for number in range(len(strips))])
    return _header(tags, order) + b"".join(strips)


def _size(kind: int, values: list[int]) -> int:
    return struct.calcsize(_LETTERS[kind]) * len(values)


def _header(tags: Mapping[int, tuple[int, list[int]]], order: str) -> bytes:
    entries, beside, at = b"", b"", 8 + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        packed = b"".join(struct.pack(order + _LETTERS[kind], value) for value in values)
        here = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(f"{order}I", at + len(beside))
        beside += packed if len(packed) > 4 else b""
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + here
    mark = b"II" if order == "<" else b"MM"
    count = struct.pack(f"{order}H", len(tags))
    return mark + struct.pack(f"{order}HI", 42, 8) + count + entries + bytes(4) + beside
