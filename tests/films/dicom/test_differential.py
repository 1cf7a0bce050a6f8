"""Grey values against a reference made with pydicom: rank correlation 0.999, or a note or a refusal that says why not."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dicoms
import highdicom
import numpy as np
import pydicom
import pytest
from dicoms import cr, written
from pydicom.data.data_manager import DATA_ROOT
from pydicom.dataset import FileDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.sequence import Sequence
from scipy.stats import spearmanr

from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.films.read import read_film

COMBINATIONS = 500
SYNTAXES = (
    *dicoms.LOSSLESS_SYNTAXES,
    dicoms.BASELINE,
    dicoms.EXTENDED,
    dicoms.JPEG_LS_NEAR,
    dicoms.J2K_LOSSY,
)
pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, of files against the standard's letter


def outcome(data: bytes, truth: Callable[[], np.ndarray | None]) -> tuple[str, float | None]:
    """What was said of a film (empty for nothing), and its rank correlation with the reference; None where there is no such thing."""
    try:
        film = read_film(data, "x")
    except FilmUnreadable as error:
        return str(error), None
    reference = truth()
    if (
        reference is None
        or reference.shape != film.grey.shape
        or np.ptp(film.grey) == 0
        or np.ptp(reference) == 0
    ):
        return "; ".join(film.notes), None
    step = max(1, film.grey.shape[0] // 400)
    grey, reference = film.grey[::step, ::step], reference[::step, ::step]
    # Eight bits, as grey has them, tie what a float keeps apart: in a test pattern of few values that would count.
    eight = np.rint(255 * (reference - reference.min()) / np.ptp(reference))
    return "; ".join(film.notes), max(
        float(spearmanr(grey.ravel(), other.ravel())[0]) for other in (reference, eight)
    )


def reference(data: bytes) -> np.ndarray | None:
    """A file's first frame as pydicom shows it; None where pydicom cannot."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        pixels = pixel_array(dataset, index=0)
    except Exception:
        return None
    if pixels.ndim == 3:
        return np.rint(pixels[..., :3] @ np.array([0.299, 0.587, 0.114]))
    for item in dataset.get(
        "VOILUTSequence", []
    ):  # pydicom does not unpack entries of one byte, and wraps more than 256 of them
        item.LUTDescriptor[2] = max(10, item.LUTDescriptor[2])
        if isinstance(item.LUTData, bytes) and len(item.LUTData) < 2 * (item.LUTDescriptor[0] or 65536):
            item["LUTData"] = pydicom.DataElement(item["LUTData"].tag, "US", list(item.LUTData))
    values = apply_modality_lut(pixels.astype(np.int32), dataset)  # it overflows what is narrower
    values = values.astype(np.int32) if values.dtype.kind in "iu" else values
    for field in (
        "ModalityLUTSequence",
        "RescaleSlope",
        "RescaleIntercept",
    ):  # by a negative slope pydicom turns a window round
        dataset.pop(field, None)
    shown = apply_voi_lut(values, dataset).astype(float)
    turned = (
        dataset.get("PresentationLUTShape") == "INVERSE"
        if "PresentationLUTShape" in dataset
        else dataset.PhotometricInterpretation == "MONOCHROME1"
    )
    return -shown if turned else shown


def lut(kind: str, first: int, entries: np.ndarray, bits: int, *, swapped: bool) -> Sequence:
    """A LUT as highdicom writes it; it makes none below zero, of 12 bits, or big endian."""
    if first < 0 or bits == 12 or swapped:
        return dicoms.lut(first, entries.tolist(), bits)
    values = entries.astype(np.uint8 if bits == 8 else np.uint16)
    if kind == "voi":
        return Sequence([highdicom.VOILUT(first, values)])
    return Sequence([highdicom.ModalityLUT(highdicom.RescaleTypeValues.US, first, values)])


def film_of(random: np.random.Generator, bits: int, signed: bool) -> np.ndarray:
    y, x = np.mgrid[0:48, 0:40] / 40
    hills = np.sin(random.uniform(3, 6) * x + 1) * np.cos(random.uniform(3, 6) * y) + random.normal(
        0, 0.01, (48, 40)
    )
    values = np.rint((hills - hills.min()) / np.ptp(hills) * ((1 << bits) - 1)).astype(np.int32)
    size = 1 if bits <= 8 and random.random() < 0.7 else 2
    return (values - (1 << (bits - 1))).astype(f"i{size}") if signed else values.astype(f"u{size}")


def curve(random: np.random.Generator, count: int, bits: int) -> np.ndarray:
    """Entries of a LUT over the whole range of so many bits."""
    return np.rint(np.linspace(0, 1, count) ** random.uniform(0.7, 1.4) * ((1 << bits) - 1)).astype(int)


def combination(random: np.random.Generator) -> tuple[np.ndarray, int, dict[str, Any], str]:
    """Pixels, bits, header fields and a transfer syntax that follow the standard."""
    bits, signed, syntax = (
        int(random.choice([8, 10, 12, 14, 16])),
        bool(random.integers(2)),
        str(random.choice(SYNTAXES)),
    )
    pixels = film_of(random, bits, signed)
    fields: dict[str, Any] = {"PhotometricInterpretation": f"MONOCHROME{random.integers(1, 3)}"}
    low, high = int(pixels.min()), int(pixels.max())
    # Sixteen bits have more values than pydicom's own arithmetic takes behind a slope, or one explicit element holds.
    kind = random.choice(["none", "turned", "shifted", *(("slope", "lut") if bits < 16 else ())])
    if kind == "lut":
        entries = curve(random, high - low + 1, 16)
        fields["ModalityLUTSequence"] = lut("modality", low, entries, 16, swapped=syntax == dicoms.BIG)
        low, high = 0, 65535
    elif kind != "none":
        slope, intercept = {"slope": (2, 10), "turned": (-1, high), "shifted": (1, -1024)}[str(kind)]
        fields |= {"RescaleSlope": slope, "RescaleIntercept": intercept}
        low, high = sorted((low * slope + intercept, high * slope + intercept))
    shown = random.choice(["none", "LINEAR", "LINEAR_EXACT", "SIGMOID", "lut8", "lut12", "lut16"])
    if shown in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        width = max(2, int((high - low) * random.uniform(0.4, 1.3)))
        fields |= {
            "WindowCenter": int(low + (high - low) * random.uniform(0.4, 0.6)),
            "WindowWidth": width,
            "VOILUTFunction": str(shown),
        }
    elif shown != "none":
        count = int(min(4096, max(256, high - low)))
        depth, first = int(shown[3:]), int(np.clip((low + high - count) // 2, -32768, 65535 - 4096))
        entries = curve(random, count, depth)
        fields["VOILUTSequence"] = lut("voi", first, entries, depth, swapped=syntax == dicoms.BIG)
    return pixels, bits, fields, syntax


def file_of(dataset: FileDataset, syntax: str) -> bytes | None:
    """The file; None where no writer here makes it: 16 bits as baseline JPEG, 16 as extended."""
    try:
        return written(dataset, syntax)
    except (AssertionError, OSError, ValueError, RuntimeError):
        return None


def test_five_hundred_combinations(random: np.random.Generator) -> None:
    """What follows the standard is shown as pydicom shows it, and nothing is said."""
    quiet, seen, wrong = 0, 0, []
    while seen < COMBINATIONS:
        pixels, bits, fields, syntax = combination(random)
        data = file_of(cr(pixels, bits, **fields), syntax)
        if data is None:
            continue
        said, found = outcome(data, partial(reference, data))
        if found is None and not said:
            continue  # pydicom cannot read it, or nothing is to be seen
        seen += 1
        quiet += not said and found is not None and found >= 0.999
        if not said and found is not None and found < 0.999:
            wrong.append(
                (
                    syntax,
                    bits,
                    str(pixels.dtype),
                    found,
                    {k: v for k, v in fields.items() if "Sequence" not in k},
                )
            )
    assert wrong == []
    assert quiet >= 0.95 * seen


def test_pydicoms_own_files() -> None:
    files = sorted(
        (Path(DATA_ROOT) / "test_files").rglob("*.dcm")
    )  # those that come with it: nothing is fetched
    assert len(files) > 50
    wrong = {}
    for path in files:
        data = path.read_bytes()
        said, found = outcome(data, partial(reference, data))
        if not said and found is not None and found < 0.999:
            wrong[path.name] = found
    assert wrong == {}


@pytest.mark.realdata
def test_the_real_files(real_data: Path) -> None:
    files = sorted((real_data / "dicom").glob("*.dcm"))
    for path in files:
        data = path.read_bytes()
        said, found = outcome(data, partial(reference, data))
        assert said or found is None or found >= 0.999, (path.name, found)
