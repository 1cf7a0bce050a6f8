"""What a JPEG, JPEG-LS or JPEG 2000 stream says of itself: looked at before a decoder is trusted with it."""

import struct
from dataclasses import dataclass

_FRAMES = {
    0xC0,
    0xC1,
    0xC2,
    0xC3,
    0xC5,
    0xC6,
    0xC7,
    0xC9,
    0xCA,
    0xCB,
    0xCD,
    0xCE,
    0xCF,
    0xF7,
}  # SOFn, and JPEG-LS' own
_ALONE = {0x01, 0xD8, *range(0xD0, 0xD8)}  # markers without a length
_END = b"\xff\xd9"  # EOI of JPEG and EOC of JPEG 2000
_ADOBE = 14  # bytes of Adobe's marker where it says what the colours are; a shorter one says nothing
_HEAD = 1 << 12  # bytes of a JPEG 2000 stream that hold its size and coding style
_SLACK = 64  # bytes that some writers leave behind the end
_BOXES = b"\x00\x00\x00\x0cjP  "
MOST_TILES = 4096  # a film has one or some dozens; each costs a decoder memory before a pixel is read


@dataclass(frozen=True)
class Codestream:
    """``precision`` bits a sample; ``process`` the frame's marker byte, 0x51 (SIZ) for JPEG 2000;
    ``complete`` whether it has its end.

    ``signed`` and ``mixed`` are said by JPEG 2000 alone.
    """

    rows: int
    columns: int
    samples: int
    precision: int
    process: int
    complete: bool
    tiles: int = 1
    signed: bool = False
    mixed: bool = False  # JPEG 2000: its colours went through a transform that the decoder undoes


def describe(data: bytes) -> Codestream | None:
    """The stream's own size and depth; None where it has no readable header."""
    complete = _END in data[-_SLACK - 2 :]
    try:
        if data.startswith(_BOXES):
            start = data.index(b"\xff\x4f\xff\x51")
            return _jpeg2000(data[start : start + _HEAD], complete)
        if data.startswith(b"\xff\x4f\xff\x51"):
            return _jpeg2000(data[:_HEAD], complete)
        return _jpeg(data, complete)
    except (struct.error, ValueError, IndexError):
        return None


def _jpeg(data: bytes, complete: bool) -> Codestream | None:
    if not data.startswith(b"\xff\xd8"):
        return None
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _FRAMES:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", data, at + 4)
            return Codestream(rows, columns, samples, precision, marker, complete)
        else:
            at += 2 if marker in _ALONE else 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _jpeg2000(head: bytes, complete: bool) -> Codestream:
    """SIZ: the image is what lies between its offset and the reference grid's end."""
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, samples, depth = (
        struct.unpack_from(">8IHB", head, 8)
    )
    if not (tile_width and tile_height):
        raise ValueError
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    at = head.find(b"\xff\x52")  # COD: length, style, then progression, layers and the colour transform
    mixed = at >= 0 and len(head) > at + 8 and head[at + 8] == 1
    return Codestream(
        bottom - top,
        right - left,
        samples,
        (depth & 0x7F) + 1,
        0x51,
        complete,
        tiles,
        bool(depth & 0x80),
        mixed,
    )


def colours_unsaid(data: bytes) -> bool:
    """Whether a JPEG of three components does not say what they are: no JFIF, no Adobe marker, and not
    numbered 1, 2, 3 (YCbCr) or RGB.
    """
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _FRAMES:
            return bytes(data[at + 10 + 3 * component] for component in range(3)) not in (b"\1\2\3", b"RGB")
        elif data[at + 4 : at + 9] == b"JFIF\0" or (
            data[at + 4 : at + 9] == b"Adobe" and struct.unpack_from(">H", data, at + 2)[0] >= _ADOBE
        ):
            return False
        else:
            at += 2 if marker in _ALONE else 2 + struct.unpack_from(">H", data, at + 2)[0]
    return False


def as_rgb(data: bytes) -> bytes:
    """The JPEG with an Adobe marker that says: these components are RGB."""
    return data[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0" + data[2:]
