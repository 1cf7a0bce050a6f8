"""What a file is, told by its first bytes and never by its suffix: pictures, DICOM with and without its
magic, zip.
"""

import struct
from pathlib import Path

HEAD = 1024  # bytes: enough for the SOP class in a DICOM file's meta header
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM", b"RIFF")
FILM_SUFFIXES = frozenset(
    (".dcm", ".dicom", ".ima", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
)  # of empty files only
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
DIRECTORY = b"1.2.840.10008.1.3.10"
# SOP classes that hold no picture to query: presentation states, reports and key objects, encapsulated
# documents, waveforms, …
_NO_PICTURE = tuple(
    b"1.2.840.10008.5.1.4.1.1." + rest
    for rest in (b"11.", b"88.", b"104.", b"9.", b"66.", b"67", b"481.", b"78.")
)
_SOP_CLASS = b"\x02\x00\x02\x00UI"
# Elements a file without preamble begins with, and the VR of each: length, character set, image type, dates,
# SOP class and instance.
_FIRST = {
    0x0000: b"UL",
    0x0001: b"UL",
    0x0005: b"CS",
    0x0008: b"CS",
    0x0012: b"DA",
    0x0016: b"UI",
    0x0018: b"UI",
    0x0020: b"DA",
}
_LONGEST = 128  # bytes of such an element's value


def head_of(path: Path) -> bytes:
    """The first bytes of a file. Errors: OSError."""
    with path.open("rb") as file:
        return file.read(HEAD)


def is_picture(head: bytes) -> bool:
    """PNG, JPEG, TIFF, BMP or WebP."""
    return head.startswith(_PICTURES) and not (head.startswith(b"RIFF") and head[8:12] != b"WEBP")


def is_zip(head: bytes) -> bool:
    return head.startswith(_ZIP)


def is_dicom(head: bytes) -> bool:
    """DICOM by its magic, or, without one, by a first element that old writers began with."""
    return head[128:132] == b"DICM" or _bare(head)


def is_directory(head: bytes) -> bool:
    """A DICOMDIR."""
    return is_dicom(head) and _sop_class(head) == DIRECTORY


def is_film(head: bytes) -> bool:
    """Something to query: a picture, or a DICOM file whose SOP class is not known to hold none."""
    return is_picture(head) or (is_dicom(head) and not _sop_class(head).startswith((DIRECTORY, *_NO_PICTURE)))


def kind_of(head: bytes) -> str:
    """What a file is that is no film, in a word or two."""
    if not head:
        return "empty"
    if is_dicom(head):
        return "DICOMDIR" if is_directory(head) else "DICOM without a picture"
    if is_zip(head):
        return "zip without a film"
    return "text" if b"\0" not in head else "of another kind"


def _sop_class(head: bytes) -> bytes:
    """The SOP class as the meta header gives it, which is always explicit and little endian; empty where
    it says none here.
    """
    at = head.find(_SOP_CLASS, 132)
    if at < 0 or len(head) < at + 8:
        return b""
    (length,) = struct.unpack_from("<H", head, at + 6)
    return head[at + 8 : at + 8 + length].rstrip(b"\0 ")


def _bare(head: bytes) -> bool:
    """Whether the bytes are a first element of group 2 or 8 with a value that such an element has."""
    return len(head) >= 16 and any(_first_element(head, order) for order in "<>")


def _first_element(head: bytes, order: str) -> bool:
    group, element = struct.unpack_from(f"{order}HH", head)
    vr = _FIRST.get(element)
    if group not in (0x0002, 0x0008) or vr is None or (group == 0x0002 and element not in (0x0000, 0x0001)):
        return False
    explicit = head[4:6] == (b"OB" if (group, element) == (0x0002, 0x0001) else vr)
    if not explicit and (order == ">" or group == 0x0002):
        return False  # big endian and the meta header are always explicit
    if explicit and head[4:6] == b"OB":
        return True
    (length,) = struct.unpack_from(f"{order}H" if explicit else f"{order}I", head, 6 if explicit else 4)
    if vr == b"UL":
        return length == 4
    value = head[8 : 8 + length]
    return (
        0 < length <= _LONGEST
        and length % 2 == 0
        and len(value) == length
        and all(32 <= byte < 127 or byte == 0 for byte in value)
    )
