"""DICOM headers: what they say of grey values, view and kind, in every spelling; what cannot be followed is a note or one line."""

import io
import warnings
from pathlib import Path

import dicoms
import numpy as np
import pytest
from dicoms import cr, grey, lut, refused, written
from fuzzing import bare
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mtclip_edge.films.film import Ids
from mtclip_edge.films.read import looks_like_film, read_film


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL"])
def test_colours_become_luma_and_are_said(random: np.random.Generator, kind: str) -> None:
    rgb = random.integers(0, 256, (20, 22, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(rgb).convert("YCbCr")) if kind == "YBR_FULL" else rgb
    film = read_film(written(cr(pixels, PhotometricInterpretation=kind, PlanarConfiguration=0)), "x")
    assert film.coloured
    assert np.abs(film.grey.astype(int) - np.asarray(Image.fromarray(rgb).convert("L"))).max() <= 2


def test_unused_bits_and_left_justified_values(deep: np.ndarray) -> None:
    plain = grey(written(cr(deep, 12)))
    overlay = deep | (np.uint16(0x7) << 13)
    np.testing.assert_array_equal(grey(written(cr(overlay, 12))), plain)
    np.testing.assert_array_equal(grey(written(cr(deep << 4, 12, HighBit=15))), plain)


def test_monochrome1_is_the_exact_inverse(deep: np.ndarray) -> None:
    for fields in (
        {},
        {"WindowCenter": 2000, "WindowWidth": 1500},
        {"VOILUTSequence": lut(0, list(range(4096)), 12)},
    ):
        plain, inverse = (
            grey(written(cr(deep, 12, PhotometricInterpretation=f"MONOCHROME{n}", **fields))) for n in (2, 1)
        )
        np.testing.assert_array_equal(inverse, 255 - plain)


@pytest.mark.parametrize(
    ("kind", "shape", "inverse", "note"),
    [
        ("MONOCHROME2", "IDENTITY", False, None),
        ("MONOCHROME1", "INVERSE", True, None),  # what DX writes: turned once, not twice
        (
            "MONOCHROME2",
            "INVERSE",
            True,
            "MONOCHROME2 with Presentation LUT Shape INVERSE; the shape is followed",
        ),
        (
            "MONOCHROME1",
            "IDENTITY",
            False,
            "MONOCHROME1 with Presentation LUT Shape IDENTITY; the shape is followed",
        ),
        ("MONOCHROME1", "LIN OD", True, None),
    ],
)
def test_presentation_lut_shape(
    deep: np.ndarray, kind: str, shape: str, inverse: bool, note: str | None
) -> None:
    plain = grey(written(cr(deep, 12)))
    film = read_film(written(cr(deep, 12, PhotometricInterpretation=kind, PresentationLUTShape=shape)), "x")
    np.testing.assert_array_equal(film.grey, 255 - plain if inverse else plain)
    assert film.notes == ((note,) if note else ())


@pytest.mark.parametrize("syntax", [dicoms.EXPLICIT, dicoms.IMPLICIT, dicoms.BIG])
def test_header_values_in_every_spelling(syntax: str) -> None:
    """Window, LUTs, padding: as highdicom or by hand, in implicit, explicit and big endian."""
    pixels = np.arange(-50, 206, dtype=np.int16).reshape(16, 16)
    windowed = cr(
        pixels,
        16,
        RescaleSlope="2",
        RescaleIntercept="-10",
        WindowCenter=["100", "7"],
        WindowWidth=["200", "3"],
    )
    expected = np.clip(((pixels * 2.0 - 10 - 99.5) / 199 + 0.5), 0, 1) * 255
    np.testing.assert_array_equal(grey(written(windowed, syntax)), np.rint(expected))
    mapped = cr(pixels, 16, VOILUTSequence=lut(-10, [0, 100, 200, 1023], 10))
    expected = np.rint(np.array([0, 100, 200, 1023])[np.clip(pixels + 10, 0, 3)] / 1023 * 255)
    np.testing.assert_array_equal(grey(written(mapped, syntax)), expected)
    padded = grey(
        written(cr(pixels, 16, PixelPaddingValue=-50, PixelPaddingRangeLimit=-40), syntax), "minmax"
    )
    np.testing.assert_array_equal(padded, np.where(pixels <= -40, 0, np.rint((pixels + 39) / 244 * 255)))


def test_a_lut_of_words_that_hold_two_bytes(deep: np.ndarray) -> None:
    """LUT Data as OW: 16-bit words, or 8-bit entries packed in pairs."""
    ladder = np.arange(256, dtype=np.uint16)
    for data in (ladder.astype("<u2").tobytes(), ladder.astype(np.uint8).tobytes()):
        item = Dataset()
        item.add_new("LUTDescriptor", "US", [256, 0, 8])
        item.add_new("LUTData", "OW", data)
        film = cr((deep >> 4).astype(np.uint8), VOILUTSequence=Sequence([item]))
        np.testing.assert_array_equal(grey(written(film)), deep >> 4)


@pytest.mark.parametrize(
    ("fields", "notes"),
    [
        (
            {"WindowCenter": 60000, "WindowWidth": 100},
            ("window 60000 ± 100/2 lies outside the film's values",),
        ),
        (
            {"WindowCenter": -9000, "WindowWidth": 100},
            ("window -9000 ± 100/2 lies outside the film's values",),
        ),
        ({"WindowCenter": 100, "WindowWidth": 0}, ("window 100 ± 0/2 makes no sense",)),
        (
            {"RescaleSlope": 0, "RescaleIntercept": 5},
            ("the rescale slope or intercept makes no sense; ignored",),
        ),
        ({"VOILUTSequence": lut(0, [1, 2, 3], 77)}, ("the VOI LUT makes no sense; ignored",)),
        ({"ModalityLUTSequence": Sequence([Dataset()])}, ("the modality LUT makes no sense; ignored",)),
    ],
)
def test_what_cannot_be_followed_is_ignored_with_a_note(
    deep: np.ndarray, fields: dict, notes: tuple[str, ...]
) -> None:
    film = read_film(written(cr(deep, 12, **fields)), "x")
    np.testing.assert_array_equal(film.grey, grey(written(cr(deep, 12))))
    assert [said.startswith(note) for said, note in zip(film.notes, notes, strict=True)] == [True] * len(
        notes
    )


def test_numbers_that_are_none(deep: np.ndarray) -> None:
    good = written(cr(deep, 12, WindowCenter="2000", WindowWidth="1000"))
    np.testing.assert_array_equal(grey(good.replace(b"2000", b"abcd")), grey(written(cr(deep, 12))))


def test_the_header_of_a_film(deep: np.ndarray) -> None:
    fields = {
        "ViewPosition": "LL",
        "PresentationIntentType": "FOR PROCESSING",
        "BurnedInAnnotation": "YES",
        "StudyInstanceUID": "1.2.3",
    }
    ids = {"PatientID": "4711", "PatientName": "Doe^Jo", "AccessionNumber": "A1", "StudyDate": "20200131"}
    header = read_film(written(cr(deep, 12, **fields, **ids)), "x").header
    assert header is not None
    assert (header.modality, header.body_part, header.view, header.photometric) == (
        "CR",
        "CHEST",
        "LL",
        "MONOCHROME2",
    )
    assert (header.intent, header.burned_in, header.frames) == ("FOR PROCESSING", True, 1)
    assert header.transfer_syntax == "Explicit VR Little Endian"
    assert header.ids == Ids("4711", "Doe^Jo", "A1", "20200131", "1.2.3")
    assert "Doe" not in repr(header) and "1.2.3" not in repr(header)
    again = read_film(written(cr(deep, 12, StudyInstanceUID="1.2.3")), "x").header
    other = read_film(written(cr(deep, 12)), "x").header
    assert again and other and again.study == header.study != other.study


def test_a_view_code_stands_for_a_missing_view_position(deep: np.ndarray) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399173006", "SCT", "left lateral"
    header = read_film(written(cr(deep, 12, ViewPosition="", ViewCodeSequence=Sequence([code]))), "x").header
    assert header and header.view == "LL"


@pytest.mark.parametrize("syntax", [dicoms.EXPLICIT, dicoms.RLE])
def test_the_first_of_several_frames(deep: np.ndarray, syntax: str) -> None:
    two = cr(np.concatenate([deep, deep[::-1]]), 12, Rows=40, NumberOfFrames=2)
    film = read_film(written(two, syntax), "x")
    np.testing.assert_array_equal(film.grey, grey(written(cr(deep, 12))))
    assert film.header and film.header.frames == 2
    assert film.notes == ("the first of 2 frames",)


def test_files_without_preamble_are_known_by_how_they_begin(tmp_path: Path, deep: np.ndarray) -> None:
    for syntax in (dicoms.IMPLICIT, dicoms.EXPLICIT, dicoms.BIG):
        data = bare(written(cr(deep, 12), syntax))
        (tmp_path / "old").write_bytes(data)
        assert looks_like_film(tmp_path / "old")
        np.testing.assert_array_equal(grey(data), grey(written(cr(deep, 12))))


@pytest.mark.parametrize(
    "data",
    [
        bytes(2000),
        b"\x08\x00" + bytes(200),
        b"\x08\x00\x05\x00CSV;a;b;c" + b";" * 200,
        b"\x08\x00\x16\x00\xff\xff\xff\xff" * 20,
    ],
)
def test_what_only_begins_a_little_like_dicom_is_not_forced(data: bytes) -> None:
    assert refused(data).startswith("x: not a picture")


def test_what_is_dicom_but_no_film(tmp_path: Path, deep: np.ndarray) -> None:
    report = cr(deep, 12)
    del report.PixelData, report.Rows, report.Columns
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    buffer = io.BytesIO()
    report.save_as(buffer)
    (tmp_path / "sr").write_bytes(buffer.getvalue())
    assert not looks_like_film(tmp_path / "sr")
    assert refused(buffer.getvalue()) == "x: DICOM without a picture (Comprehensive SR Storage)"
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
    report.save_as(buffer := io.BytesIO())
    assert refused(buffer.getvalue()) == "x: DICOM without a picture (12-lead ECG Waveform Storage)"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "1 samples of PALETTE COLOR; expected grey or RGB"),
        (
            {"BitsAllocated": 32, "BitsStored": 32},
            "32 bits in 32 for each sample; expected up to 16, of colours 8",
        ),
        (
            {"BitsAllocated": 1, "BitsStored": 1},
            "1 bits in 1 for each sample; expected up to 16, of colours 8",
        ),
        ({"BitsStored": 17}, "17 bits in 16 for each sample; expected up to 16, of colours 8"),
        ({"Rows": 0}, "damaged DICOM (no rows or no columns)"),
        ({"Rows": None}, "damaged DICOM (no rows or no columns)"),
        ({"Rows": 65535, "Columns": 65535}, "65535 x 65535 pixels, more than 200 million"),
        ({"Rows": 80}, "damaged DICOM (its pixel data end early: 2880 of 5760 bytes)"),
        (
            {"NumberOfFrames": 1_000_000_000},
            "damaged DICOM (its pixel data end early: 2880 of 2880000000000 bytes)",
        ),
    ],
)
def test_headers_that_are_refused(deep: np.ndarray, fields: dict, message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, while it writes
        data = written(cr(deep, 12, **fields))
    assert refused(data) == f"x: {message}"
