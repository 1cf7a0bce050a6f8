"""What a TIFF's samples are, by its tags, where Pillow reads them as something else.

Pillow takes signed bytes for unsigned ones, numbers of 32 bits without a sign for signed ones, what libtiff
has unpacked from a big-endian file for big-endian still, and 16-bit colours in planes for 8-bit ones; none of
that is an error to it. White as zero in a 16-bit big-endian file it does not open at all.
"""

import re
import struct
from typing import Any

import numpy as np

from ..errors import FilmUnreadable

_BITS, _PHOTOMETRIC, _SAMPLES, _PLANES, _FORMAT = 258, 262, 277, 284, 339
_MIN_IS_WHITE, _UNSIGNED, _SIGNED, _SEPARATE = 0, 1, 2, 2
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_SIZES = {1: "B", 3: "H", 4: "I"}  # the types that these tags have
_MOST_TAGS = 512


def prepare(image: Any, name: str) -> None:
    """Have Pillow read an opened TIFF's samples as they lie there.

    Errors: FilmUnreadable for 16-bit colours in planes.
    """
    bits = max(_numbers(image, _BITS, 1))
    if bits > 8 and len(image.getbands()) > 1 and _numbers(image, _PLANES, 1)[0] == _SEPARATE:
        raise FilmUnreadable(f"{name}: a TIFF of {bits}-bit colours in planes; expected them pixel by pixel")
    if image.tile and image.tile[0].codec_name == "libtiff":  # it gives numbers in this machine's order
        image.tile = [
            tile._replace(args=(re.sub(r"B(?=[SF]$)", "N", tile.args[0]), *tile.args[1:]))
            for tile in image.tile
        ]


def min_is_white(image: Any) -> bool:
    return bool(image.tag_v2.get(_PHOTOMETRIC) == _MIN_IS_WHITE)


def of_signed_bytes(grey: np.ndarray, image: Any) -> np.ndarray:
    """Grey uint8 as Pillow read it, from the least number on where its bytes have a sign."""
    signed = image.mode == "L" and _numbers(image, _FORMAT, _UNSIGNED)[0] == _SIGNED
    return grey ^ np.uint8(0x80) if signed else grey


def as_numbers(values: np.ndarray, image: Any) -> np.ndarray:
    """Integers of 32 bits as they are meant: Pillow has signed ones only."""
    unsigned = image.format == "TIFF" and values.dtype == np.int32 and _numbers(image, _BITS, 1)[0] == 32
    return values.view(np.uint32) if unsigned and _numbers(image, _FORMAT, 1)[0] == _UNSIGNED else values


def min_is_black(data: bytes) -> bytes | None:
    """A TIFF whose first picture says that its least number is white, saying the contrary; None for any other
    file. Who asks for this turns the picture.
    """
    for at, order, tag, value in _tags(data):
        if tag == _PHOTOMETRIC and value == _MIN_IS_WHITE:
            return data[: at + 8] + struct.pack(f"{order}H", 1) + data[at + 10 :]
    return None


def described(data: bytes) -> str:
    """In words what the samples of a TIFF are that Pillow does not open."""
    said = {tag: value for _, _, tag, value in _tags(data)}
    if _BITS not in said:
        return "it is a TIFF without samples that are read"
    kind = {_SIGNED: "signed ", 3: "floating point "}.get(said.get(_FORMAT, _UNSIGNED), "")
    return f"it is a TIFF of {said.get(_SAMPLES, 1)} {kind}samples of {said[_BITS]} bits, which are not read"


def _tags(data: bytes) -> list[tuple[int, str, int, int]]:
    """Of the first picture's tags that hold whole numbers: where the entry is, the file's byte order, the tag
    and its first number; none of a file that is cut off before its tags end.
    """
    order = _ORDERS.get(data[:4])
    tags: list[tuple[int, str, int, int]] = []
    try:
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, at)
        for entry in range(at + 2, at + 2 + 12 * min(count, _MOST_TAGS), 12):
            tag, kind, many, place = struct.unpack_from(f"{order}HHII", data, entry)
            if (letter := _SIZES.get(kind)) is None or not many:
                continue
            inside = struct.calcsize(letter) * many <= 4
            (value,) = struct.unpack_from(f"{order}{letter}", data, entry + 8 if inside else place)
            tags.append((entry, order or "", tag, value))
    except struct.error:
        return []
    return tags


def _numbers(image: Any, tag: int, default: int) -> tuple[int, ...]:
    value = image.tag_v2.get(tag, default)
    return value if isinstance(value, tuple) else (value,)
