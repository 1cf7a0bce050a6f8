"""A DICOM file as a film: header facts and grey values. pydicom is loaded here and nowhere before.

Nothing that a file says in free text reaches a message: pydicom's own errors and warnings quote what they find, and that may be a name.
"""

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FilmUnreadable
from ..film import MAX_PIXELS, DecodedFilm, luma
from ..library_logs import quiet
from .attributes import header, integer, number, safe, word
from .grayscale import MOST, Lut, Rendering, Window, to_grey
from .pixel_data import DEFLATED, READ, Layout, check_inflated, stored_values

if TYPE_CHECKING:
    from pydicom import Dataset

_TAGS = [
    *("SOPClassUID", "Modality", "BodyPartExamined", "ViewPosition", "ViewCodeSequence", "PresentationIntentType", "BurnedInAnnotation"),
    *("NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept"),
    *("ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape", "PixelData"),
    *("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber", "StudyDate"),
]
_GREY, _COLOUR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def read_dicom(data: bytes, name: str, render: str = "voi", *, bare: bool = False) -> DecodedFilm:
    """Decode a DICOM file's first frame to 8-bit grey. ``bare``: it has no magic, but begins as DICOM does.

    Errors: FilmUnreadable, one line that names the file and quotes nothing of it.
    """
    try:
        with quiet():
            return _read(data, name, render, bare)
    except FilmUnreadable:
        raise
    except MemoryError:
        raise FilmUnreadable(f"{name}: too large for this machine's memory") from None
    except Exception:  # of pydicom on damaged data; never shown
        raise FilmUnreadable(f"{name}: damaged DICOM (its header makes no sense)") from None


def _read(data: bytes, name: str, render: str, bare: bool) -> DecodedFilm:
    dataset = _parsed(data, name, bare)
    layout = _layout(dataset, name)
    values = stored_values(dataset, layout, name)
    facts = header(dataset, layout.frames, layout.syntax_name)
    notes = [f"the first of {layout.frames} frames"] if layout.frames > 1 else []
    if layout.samples > 1:
        grey, coloured = luma(values)
        return DecodedFilm(grey, "dicom", tuple(notes), facts, coloured)
    how, asides = _rendering(dataset, layout)
    grey, said = to_grey(values, how, render)
    return DecodedFilm(grey, "dicom", (*notes, *(asides if render == "voi" else ()), *said), facts)


def _parsed(data: bytes, name: str, bare: bool) -> "Dataset":
    import io

    from pydicom import dcmread

    if b"\x02\x00\x10\x00UI\x16\x00" + DEFLATED.encode() in data[:1024]:
        check_inflated(data, name)
    try:
        return dcmread(io.BytesIO(data), force=bare, specific_tags=_TAGS)
    except MemoryError:
        raise
    except Exception:
        raise FilmUnreadable(f"{name}: damaged DICOM (its header cannot be read)") from None


def _layout(dataset: "Dataset", name: str) -> Layout:
    """The pixels' layout. Errors: FilmUnreadable where there are none, or none that we read."""
    _need_pixels(dataset, name)
    syntax, syntax_name = _syntax(dataset, name)
    rows, columns, allocated = (integer(dataset, field) or 0 for field in ("Rows", "Columns", "BitsAllocated"))
    if not (rows and columns):
        raise FilmUnreadable(f"{name}: damaged DICOM (no rows or no columns)")
    if rows * columns > MAX_PIXELS:
        raise FilmUnreadable(f"{name}: {columns} x {rows} pixels, more than {MAX_PIXELS / 1e6:.0f} million")
    samples, kind = integer(dataset, "SamplesPerPixel") or 1, word(dataset, "PhotometricInterpretation")
    bits = integer(dataset, "BitsStored") or allocated
    high_bit = integer(dataset, "HighBit")
    high_bit = bits - 1 if high_bit is None or not bits - 1 <= high_bit < allocated else high_bit
    if (samples, kind) not in {(1, k) for k in _GREY} | {(3, k) for k in _COLOUR}:
        raise FilmUnreadable(f"{name}: {samples} samples of {kind or 'an unnamed kind'}; expected grey or RGB")
    if allocated not in (8, 16) or not 1 <= bits <= allocated or (samples == 3 and allocated != 8):
        raise FilmUnreadable(f"{name}: {bits} bits in {allocated} for each sample; expected up to 16, of colours 8")
    signed = (integer(dataset, "PixelRepresentation") or 0) == 1
    frames = max(1, integer(dataset, "NumberOfFrames") or 1)
    dataset.PixelRepresentation, dataset.BitsStored, dataset.SamplesPerPixel, dataset.NumberOfFrames = int(signed), bits, samples, frames
    return Layout(rows, columns, samples, allocated, bits, high_bit, signed, frames, syntax, syntax_name)


def _need_pixels(dataset: "Dataset", name: str) -> None:
    from pydicom.uid import UID

    if "PixelData" in dataset:
        return
    what = UID(str(safe(lambda: dataset.SOPClassUID) or "")).name
    if re.fullmatch(r"[A-Z][A-Za-z0-9 /-]+", what) and "Image" not in what and "Rows" not in dataset:
        raise FilmUnreadable(f"{name}: DICOM without a picture ({what})")
    raise FilmUnreadable(f"{name}: damaged DICOM (no pixel data; it may have been cut off)")


def _syntax(dataset: "Dataset", name: str) -> tuple[str, str]:
    """The transfer syntax and its name. A file without a meta header has the one pydicom found it to be written in."""
    from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    uid = str(safe(lambda: dataset.file_meta.TransferSyntaxUID) or "")
    if not uid:
        implicit, little = dataset.original_encoding
        uid = str(ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian)
        dataset.file_meta.TransferSyntaxUID = UID(uid)
    if uid in READ:
        return uid, UID(uid).name.split(",")[0].split(" (")[0]
    if not re.fullmatch(r"[0-9.]{1,64}", uid) or not uid.startswith("1.2.840.10008."):
        raise FilmUnreadable(f"{name}: damaged DICOM (an unknown transfer syntax)")
    raise FilmUnreadable(f"{name}: transfer syntax {UID(uid).name} ({uid}) is not read; no package adds it")


def _rendering(dataset: "Dataset", layout: Layout) -> tuple[Rendering, list[str]]:
    """The header's way from stored values to grey, and what of it cannot be followed."""
    asides: list[str] = []
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    if slope is not None and (not slope or abs(slope) > MOST or abs(intercept or 0) > MOST):
        asides.append("the rescale slope or intercept makes no sense; ignored")
        slope = intercept = None
    inverse, conflict = _inverse(dataset)
    how = Rendering(
        bits=layout.bits,
        signed=layout.signed,
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0 if slope is not None else 0.0,
        modality=_lut(dataset, "ModalityLUTSequence", layout, asides),
        voi=_lut(dataset, "VOILUTSequence", layout, asides),
        window=_window(dataset),
        inverse=inverse,
        padding=_padding(dataset, layout),
    )
    return how, asides + conflict


def _inverse(dataset: "Dataset") -> tuple[bool, list[str]]:
    """Whether the least value is white: by the Presentation LUT Shape, else by the photometric interpretation."""
    least_is_white = word(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    shape = word(dataset, "PresentationLUTShape")
    if shape not in ("IDENTITY", "INVERSE"):
        return least_is_white, []
    conflict = f"{word(dataset, 'PhotometricInterpretation')} with Presentation LUT Shape {shape}; the shape is followed"
    return shape == "INVERSE", [] if (shape == "INVERSE") == least_is_white else [conflict]


def _window(dataset: "Dataset") -> Window | None:
    """The first window; None where there is none."""
    center, width = number(dataset, "WindowCenter"), number(dataset, "WindowWidth")
    if center is None or width is None:
        return None
    return Window(center, width, word(dataset, "VOILUTFunction") or "LINEAR")


def _padding(dataset: "Dataset", layout: Layout) -> tuple[int, int] | None:
    """First and last stored value that are padding."""
    value = integer(dataset, "PixelPaddingValue")
    if value is None:
        return None
    last = integer(dataset, "PixelPaddingRangeLimit")
    return _as_stored(value, layout), _as_stored(value if last is None else last, layout)


def _as_stored(value: int, layout: Layout) -> int:
    """A header's number with the pixels' sign: its VR is ambiguous, and writers get it wrong."""
    if layout.signed and value >= 1 << (layout.bits - 1):
        return value - (1 << 16 if value >= 1 << 15 else 0)
    return value & ((1 << 16) - 1) if not layout.signed else value


def _lut(dataset: "Dataset", keyword: str, layout: Layout, asides: list[str]) -> Lut | None:
    """The first item of a LUT sequence; what cannot be used is said in ``asides``."""
    if not safe(lambda: dataset[keyword].value):
        return None
    lut = safe(lambda: _read_lut(dataset[keyword].value[0], dataset, layout))
    if lut is None:
        asides.append(f"the {'modality' if keyword.startswith('Mod') else 'VOI'} LUT makes no sense; ignored")
    return lut


def _read_lut(item: "Dataset", dataset: "Dataset", layout: Layout) -> Lut | None:
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count = count or 1 << 16
    entries = _entries(item["LUTData"].value, count, bits, "<" if dataset.original_encoding[1] else ">")
    if not 1 <= bits <= 16 or len(entries) < count:
        return None
    negative = layout.signed or (number(dataset, "RescaleIntercept") or 0) < 0
    return Lut(first - (1 << 16) if first >= 1 << 15 and negative else first, entries[:count], bits)


def _entries(value: Any, count: int, bits: int, order: str) -> np.ndarray:
    """LUT data as numbers: words, or, up to 8 bits, two entries packed in a word."""
    if isinstance(value, bytes):
        packed = bits <= 8 and len(value) < 2 * count
        return np.frombuffer(value[: len(value) // 2 * 2 if not packed else None], "u1" if packed else f"{order}u2").astype(np.int64)
    words = np.atleast_1d(np.asarray(value, np.int64))
    if bits <= 8 and len(words) < count:
        return words.astype("<u2").view("u1").astype(np.int64)
    return words
