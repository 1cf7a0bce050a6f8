"""A DICOM file as a film: header facts and grey values. pydicom is loaded here and nowhere before.

Nothing that a file says in free text reaches a message: pydicom's own errors and warnings quote what they
find, and that may be a name.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FilmUnreadable
from ..film import MAX_PIXELS, DecodedFilm, luma
from ..library_logs import quiet
from .attributes import decimal, header, integer, safe, word
from .grayscale import MOST, Lut, Rendering, Window, to_grey
from .pixel_data import DEFLATED, NATIVE, READ, RLE, Layout, check_inflated, stored_values
from .sample_depth import Samples

if TYPE_CHECKING:
    from pydicom import Dataset

_TAGS = [
    *(
        "SOPClassUID",
        "Modality",
        "BodyPartExamined",
        "ViewPosition",
        "ViewCodeSequence",
        "PresentationIntentType",
        "BurnedInAnnotation",
    ),
    *(
        "NumberOfFrames",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "Rows",
        "Columns",
        "BitsAllocated",
    ),
    *(
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "RescaleSlope",
        "RescaleIntercept",
    ),
    *(
        "ModalityLUTSequence",
        "VOILUTSequence",
        "WindowCenter",
        "WindowWidth",
        "VOILUTFunction",
        "PresentationLUTShape",
        "PixelData",
        "FloatPixelData",
        "DoubleFloatPixelData",
    ),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber", "StudyDate"),
]
_GREY, _COLOUR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_COLOUR_OF_STREAM = (
    "YBR_PARTIAL_422",
    "YBR_PARTIAL_420",
)  # where the stream itself says what its colours are
_NAMED_COLOURS = re.compile(r"MONOCHROME[12]|PALETTE COLOR|RGB|ARGB|HSV|CMYK|YBR_[A-Z0-9_]{3,15}")
_OVERLAY_TAGS = [group << 16 | element for group in range(0x6000, 0x6020, 2) for element in (0x0100, 0x0102)]
_WANTED: list[Any] = [*_TAGS, *_OVERLAY_TAGS]
# What an enhanced object of one frame says in its functional groups: sequence, and the fields in it that hold
# for the frame.
_OF_FRAME = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}


def read_dicom(data: bytes, name: str, render: str = "voi", *, bare: bool = False) -> DecodedFilm:
    """Decode a DICOM file's first frame to 8-bit grey. ``bare``: it has no magic, but begins as DICOM does.

    Errors: FilmUnreadable, one line that names the file and quotes nothing of it.
    """
    with nothing_quoted(name):
        return _read(data, name, render, bare)


@contextmanager
def nothing_quoted(name: str) -> Iterator[None]:
    """What goes wrong while a file is read becomes one line that names the file alone: pydicom's own errors
    and warnings quote what they find. Errors: FilmUnreadable.
    """
    try:
        with quiet():
            yield
    except FilmUnreadable:
        raise
    except MemoryError:
        raise FilmUnreadable(f"{name}: too large for this machine's memory") from None
    except Exception:  # of pydicom on damaged data; never shown
        raise FilmUnreadable(f"{name}: damaged DICOM (its header makes no sense)") from None


def _read(data: bytes, name: str, render: str, bare: bool) -> DecodedFilm:
    dataset = parsed(data, name, bare)
    notes: list[str] = []
    layout = layout_of(dataset, name, notes)
    notes += [f"the first of {layout.frames} frames"] if layout.frames > 1 else []
    samples = stored_values(dataset, layout, name)
    notes += samples.notes
    facts = header(dataset, layout.frames, layout.syntax_name)
    if samples.values.ndim == 3:
        grey, coloured = luma(samples.values)
        return DecodedFilm(grey, "dicom", tuple(notes), facts, coloured)
    how, asides = rendering_of(dataset, layout, samples, notes)
    grey, said = to_grey(samples.values, how, render)
    return DecodedFilm(grey, "dicom", (*notes, *(asides if render == "voi" else ()), *said), facts)


def parsed(data: bytes, name: str, bare: bool) -> "Dataset":
    """The header and pixels that are wanted. Errors: FilmUnreadable."""
    import io

    from pydicom import dcmread

    if b"\x02\x00\x10\x00UI\x16\x00" + DEFLATED.encode() in data[:1024]:
        check_inflated(data, name)
    try:
        return dcmread(io.BytesIO(data), force=bare, specific_tags=_WANTED)
    except MemoryError:
        raise
    except Exception:
        raise FilmUnreadable(f"{name}: damaged DICOM (its header cannot be read)") from None


def layout_of(dataset: "Dataset", name: str, notes: list[str]) -> Layout:
    """The pixels' layout. Errors: FilmUnreadable where there are none, or none that we read."""
    _need_pixels(dataset, name)
    syntax, syntax_name = _syntax(dataset, name)
    rows, columns, allocated = (
        integer(dataset, field) or 0 for field in ("Rows", "Columns", "BitsAllocated")
    )
    if not (rows and columns):
        raise FilmUnreadable(f"{name}: damaged DICOM (no rows or no columns)")
    if rows * columns > MAX_PIXELS:
        raise FilmUnreadable(f"{name}: {columns} x {rows} pixels, more than {MAX_PIXELS / 1e6:.0f} million")
    frames = max(1, integer(dataset, "NumberOfFrames") or 1)
    if frames == 1:
        _take_from_frame(dataset)
    samples, kind = _colours(dataset, syntax, name, notes)
    if not allocated:
        raise FilmUnreadable(f"{name}: damaged DICOM (no Bits Allocated)")
    bits = integer(dataset, "BitsStored") or allocated
    if not integer(dataset, "BitsStored"):
        notes.append(f"no Bits Stored; taken as the {allocated} allocated")
    high_bit = integer(dataset, "HighBit")
    high_bit = bits - 1 if high_bit is None or not bits - 1 <= high_bit < allocated else high_bit
    if allocated not in (8, 16) or not 1 <= bits <= allocated or (samples == 3 and allocated != 8):
        raise FilmUnreadable(
            f"{name}: {bits} bits in {allocated} for each sample; expected up to 16, of colours 8"
        )
    sign = integer(dataset, "PixelRepresentation")
    if sign is None and samples == 1:
        notes.append("no Pixel Representation; taken as unsigned")
    signed = sign == 1
    dataset.PixelRepresentation, dataset.BitsStored, dataset.SamplesPerPixel, dataset.NumberOfFrames = (
        int(signed),
        bits,
        samples,
        frames,
    )
    return Layout(
        *(rows, columns, samples, allocated, bits, high_bit, signed, frames, syntax, syntax_name, kind),
        padding=_padding(dataset, bits, signed),
        overlays=_overlays(dataset, high_bit),
    )


def _colours(dataset: "Dataset", syntax: str, name: str, notes: list[str]) -> tuple[int, str]:
    """Samples a pixel and the photometric interpretation.

    What the header leaves out is taken as plain grey, with a note.
    """
    stated, kind = integer(dataset, "SamplesPerPixel"), word(dataset, "PhotometricInterpretation")
    samples = stated or 1
    if stated is None and kind in _GREY:
        notes.append("no Samples per Pixel; taken as one")
    if not kind and samples == 1:
        if safe(lambda: str(dataset.PhotometricInterpretation).strip("\0 ")):
            raise FilmUnreadable(
                f"{name}: a Photometric Interpretation that is no code; expected grey or RGB"
            )
        notes.append("no Photometric Interpretation; taken as MONOCHROME2")
        kind = "MONOCHROME2"
    dataset.PhotometricInterpretation = kind  # in capitals, as decoders want it
    colour = (*_COLOUR, *(_COLOUR_OF_STREAM if syntax not in (*NATIVE, RLE) else ()))
    if (samples, kind) not in {(1, k) for k in _GREY} | {(3, k) for k in colour}:
        known = _NAMED_COLOURS.fullmatch(kind)  # any other word may be a name
        told = (
            kind
            if known
            else "a colour that DICOM does not know"
            if kind
            else "no Photometric Interpretation"
        )
        raise FilmUnreadable(f"{name}: {samples} samples of {told}; expected grey or RGB")
    return samples, kind


def _take_from_frame(dataset: "Dataset") -> None:
    """Rescale and window of an enhanced object's only frame, where the film itself has none."""
    for sequence, fields in _OF_FRAME.items():
        for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
            group = safe(lambda groups=groups, sequence=sequence: dataset[groups].value[0][sequence].value[0])  # type: ignore[misc]
            for field in fields:
                if group is not None and field in group and field not in dataset:
                    dataset[field] = group.get_item(field)


def _overlays(dataset: "Dataset", high_bit: int) -> int:
    """The bits above the stored ones that overlays of group 60xx lie in, by their own header."""
    bits = 0
    for tag in _OVERLAY_TAGS[1::2]:
        position = safe(lambda tag=tag: int(dataset[tag].value)) or 0  # type: ignore[misc]
        bits |= 1 << position if high_bit < position < 16 else 0
    return bits


def _need_pixels(dataset: "Dataset", name: str) -> None:
    from pydicom.uid import UID

    if "PixelData" in dataset:
        return
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise FilmUnreadable(
            f"{name}: its pixels are floating point numbers; expected integers, as films have"
        )
    what = UID(str(safe(lambda: dataset.SOPClassUID) or "")).name
    if re.fullmatch(r"[A-Z0-9][A-Za-z0-9 /-]+", what) and "Image" not in what and "Rows" not in dataset:
        raise FilmUnreadable(f"{name}: DICOM without a picture ({what})")
    raise FilmUnreadable(f"{name}: damaged DICOM (no pixel data; it may have been cut off)")


def _syntax(dataset: "Dataset", name: str) -> tuple[str, str]:
    """The transfer syntax and its name.

    A file without a meta header has the one pydicom found it to be written in.
    """
    from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    uid = str(safe(lambda: dataset.file_meta.TransferSyntaxUID) or "")
    if not uid:
        implicit, little = dataset.original_encoding
        uid = str(
            ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        )
        dataset.file_meta.TransferSyntaxUID = UID(uid)
    if uid in READ:
        return uid, UID(uid).name.split(",")[0].split(" (")[0]
    if not re.fullmatch(r"[0-9.]{1,64}", uid) or not uid.startswith("1.2.840.10008."):
        private = re.fullmatch(r"[0-9.]{1,64}", uid)
        what = (
            "a private transfer syntax, not one of DICOM's"
            if private
            else "damaged DICOM (an unknown transfer syntax)"
        )
        raise FilmUnreadable(f"{name}: {what}")
    raise FilmUnreadable(f"{name}: transfer syntax {UID(uid).name} ({uid}) is not read; no package adds it")


def rendering_of(
    dataset: "Dataset", layout: Layout, samples: Samples, notes: list[str]
) -> tuple[Rendering, list[str]]:
    """The header's way from stored values to grey, and what of its window and LUTs cannot be followed;
    ``notes`` get the rest.
    """
    asides: list[str] = []
    slope, intercept = decimal(dataset, "RescaleSlope", notes), decimal(dataset, "RescaleIntercept", notes)
    if slope is not None and (not slope or abs(slope) > MOST or abs(intercept or 0) > MOST):
        notes.append("the rescale slope or intercept makes no sense; ignored")
        slope = intercept = None
    inverse, conflict = _inverse(dataset)
    how = Rendering(
        bits=samples.bits,
        signed=samples.signed,
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0 if slope is not None else 0.0,
        modality=_lut(dataset, "ModalityLUTSequence", samples.signed, notes),
        inverse=inverse,
        padding=layout.padding,
        doubtful=samples.doubtful,
    )
    voi = _lut(dataset, "VOILUTSequence", bool((how.modality_values() < 0).any()), asides)
    return replace(how, voi=voi, window=None if voi else _window(dataset, asides)), asides + conflict


def _inverse(dataset: "Dataset") -> tuple[bool, list[str]]:
    """Whether the least value is white: by the Presentation LUT Shape, else by the photometric
    interpretation.
    """
    least_is_white = word(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    shape = word(dataset, "PresentationLUTShape")
    if shape not in ("IDENTITY", "INVERSE"):
        return least_is_white, []
    conflict = (
        f"{word(dataset, 'PhotometricInterpretation')} with Presentation LUT Shape {shape}; the "
        "shape is followed"
    )
    return shape == "INVERSE", [] if (shape == "INVERSE") == least_is_white else [conflict]


def _window(dataset: "Dataset", asides: list[str]) -> Window | None:
    """The first window; None where there is none."""
    center, width = decimal(dataset, "WindowCenter", asides), decimal(dataset, "WindowWidth", asides)
    if center is None or width is None:
        return None
    return Window(center, width, word(dataset, "VOILUTFunction") or "LINEAR")


def _padding(dataset: "Dataset", bits: int, signed: bool) -> tuple[int, int] | None:
    """First and last stored value that are padding."""
    value = integer(dataset, "PixelPaddingValue")
    if value is None:
        return None
    last = integer(dataset, "PixelPaddingRangeLimit")
    return _as_stored(value, bits, signed), _as_stored(value if last is None else last, bits, signed)


def _as_stored(value: int, bits: int, signed: bool) -> int:
    """A header's number with the pixels' sign: its VR is ambiguous, and writers get it wrong."""
    if signed and value >= 1 << (bits - 1):
        return value - (1 << 16 if value >= 1 << 15 else 0)
    return value & ((1 << 16) - 1) if not signed else value


def _lut(dataset: "Dataset", keyword: str, negative: bool, notes: list[str]) -> Lut | None:
    """The first item of a LUT sequence; ``negative``: what it is looked up with can be below zero.

    What is odd about it is noted.
    """
    if not safe(lambda: dataset[keyword].value):
        return None
    called = f"the {'modality' if keyword.startswith('Mod') else 'VOI'} LUT"
    lut = safe(lambda: _read_lut(dataset[keyword].value[0], dataset, negative))
    if lut is None:
        notes.append(f"{called} makes no sense; ignored")
        return None
    count, _, said = (int(number) for number in dataset[keyword].value[0].LUTDescriptor)
    count = count & 0xFFFF or 1 << 16
    if count != len(lut.entries):
        notes.append(f"{called} says {count} entries and holds {len(lut.entries)}: all are used")
    if said != lut.bits:
        how = "taken as it is" if keyword.startswith("Mod") else "scaled by what it holds"
        notes.append(f"{called} says {said} bits and holds {lut.bits}: {how}")
    return lut


def _read_lut(item: "Dataset", dataset: "Dataset", negative: bool) -> Lut | None:
    """Count and first value are unsigned or signed by what is looked up, whatever VR they were written
    with; bits by the entries.
    """
    count, first, bits = (int(number) & 0xFFFF for number in item.LUTDescriptor)
    count = count or 1 << 16
    entries = _entries(item["LUTData"].value, count, bits, "<" if dataset.original_encoding[1] else ">")
    if not 1 <= bits <= 16 or len(entries) < count:
        return None
    if len(np.unique(entries[count:])) < 2:  # what fills up the value
        entries = entries[:count]
    held = int(entries.max()).bit_length()
    return Lut(first - (1 << 16) if first >= 1 << 15 and negative else first, entries, held) if held else None


def _entries(value: Any, count: int, bits: int, order: str) -> np.ndarray:
    """LUT data as numbers: words, or two entries packed in each, as up to 8 bits are and, whatever the
    descriptor says, what runs more smoothly so.
    """
    if isinstance(value, bytes):
        words = np.frombuffer(value[: len(value) // 2 * 2], f"{order}u2").astype(np.int64)
        packed = np.frombuffer(value, "u1").astype(np.int64)
    else:
        words = np.atleast_1d(np.asarray(value, np.int64)) & 0xFFFF
        packed = words.astype("<u2").view("u1").astype(np.int64)
    if len(words) >= count or len(packed) < count:
        return words
    return packed if bits <= 8 or _way(packed) <= _way(words) else words


def _way(entries: np.ndarray) -> float:
    """How far a curve goes up and down, in parts of its range: 1 where it only rises or only falls."""
    return float(np.abs(np.diff(entries)).sum() / max(1, np.ptp(entries)))
