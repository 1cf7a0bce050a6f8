"""DICOM films as they come: every transfer syntax, odd headers, damage; and that no patient is in any output."""

import csv
import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import dicoms
import numpy as np
import pydicom
import pytest
from dicoms import cr, lut, written
from fuzzing import bare, picture
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.films.dicom import decoders
from mtclip_edge.films.film import DecodedFilm, Ids
from mtclip_edge.films.read import looks_like_film, read_film
from mtclip_edge.retrieval.intake import EmbeddedFilm
from mtclip_edge.retrieval.results import Input
from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.retrieval.study_mean import not_counted
from mtclip_edge.sources.source import open_source


@pytest.fixture
def deep(random: np.random.Generator) -> np.ndarray:
    """Twelve bits, smooth with some noise."""
    return (np.add.outer(np.arange(40), np.arange(36)) * 50 + random.integers(0, 40, (40, 36))).astype(np.uint16)


def grey(data: bytes, render: str = "voi") -> np.ndarray:
    return read_film(data, "x", render).grey


def refused(data: bytes) -> str:
    with pytest.raises(FilmUnreadable) as caught:
        read_film(data, "x")
    message = str(caught.value)
    assert message.startswith("x: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("syntax", dicoms.LOSSLESS_SYNTAXES)
@pytest.mark.parametrize("kind", ["12 bits", "12 bits signed", "16 bits", "8 bits"])
def test_lossless_encodings_of_one_picture_give_identical_pixels(deep: np.ndarray, syntax: str, kind: str) -> None:
    pixels, bits = {
        "12 bits": (deep, 12),
        "12 bits signed": (deep.astype(np.int16) - 2048, 12),
        "16 bits": (deep * 16, 16),
        "8 bits": ((deep >> 4).astype(np.uint8), 8),
    }[kind]
    low, high = float(pixels.min()), float(pixels.max())
    expected = np.rint((pixels.astype(np.float64) - low) / (high - low) * 255).astype(np.uint8)
    np.testing.assert_array_equal(grey(written(cr(pixels, bits), syntax), "minmax"), expected)


@pytest.mark.parametrize("syntax", [dicoms.JPEG_LS_NEAR, dicoms.J2K_LOSSY, dicoms.EXTENDED, dicoms.BASELINE])
def test_lossy_encodings_come_near(deep: np.ndarray, syntax: str) -> None:
    bits = 8 if syntax == dicoms.BASELINE else 12
    pixels = (deep >> 4).astype(np.uint8) if bits == 8 else deep
    window = {"WindowCenter": 1 << (bits - 1), "WindowWidth": 1 << bits}
    found = grey(written(cr(pixels, bits, **window), syntax)).astype(int)
    assert np.abs(found - grey(written(cr(pixels, bits, **window))).astype(int)).max() <= 8


def test_eight_bit_jpeg_under_a_header_of_seven(deep: np.ndarray) -> None:
    dataset = pydicom.dcmread(io.BytesIO(written(cr((deep >> 4).astype(np.uint8)), dicoms.BASELINE)))
    dataset.BitsStored, dataset.HighBit, dataset.WindowCenter, dataset.WindowWidth = 7, 6, 64, 128
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert (grey(buffer.getvalue())[deep > 140 * 16] == 255).all()


def test_a_lossy_stream_that_overshoots_is_cut_not_wrapped(deep: np.ndarray) -> None:
    """A stream of 12 bits under a header that says 11: what is above 2047 stays white."""
    high = deep.max()
    dataset = pydicom.dcmread(io.BytesIO(written(cr(deep, 12), dicoms.J2K_LOSSY)))
    dataset.BitsStored, dataset.HighBit = 11, 10
    dataset.WindowCenter, dataset.WindowWidth = 1024, 2048
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert high > 2300
    assert (grey(buffer.getvalue())[deep > 2300] == 255).all()


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
    for fields in ({}, {"WindowCenter": 2000, "WindowWidth": 1500}, {"VOILUTSequence": lut(0, list(range(4096)), 12)}):
        plain, inverse = (grey(written(cr(deep, 12, PhotometricInterpretation=f"MONOCHROME{n}", **fields))) for n in (2, 1))
        np.testing.assert_array_equal(inverse, 255 - plain)


@pytest.mark.parametrize(
    ("kind", "shape", "inverse", "note"),
    [
        ("MONOCHROME2", "IDENTITY", False, None),
        ("MONOCHROME1", "INVERSE", True, None),  # what DX writes: turned once, not twice
        ("MONOCHROME2", "INVERSE", True, "MONOCHROME2 with Presentation LUT Shape INVERSE; the shape is followed"),
        ("MONOCHROME1", "IDENTITY", False, "MONOCHROME1 with Presentation LUT Shape IDENTITY; the shape is followed"),
        ("MONOCHROME1", "LIN OD", True, None),
    ],
)
def test_presentation_lut_shape(deep: np.ndarray, kind: str, shape: str, inverse: bool, note: str | None) -> None:
    plain = grey(written(cr(deep, 12)))
    film = read_film(written(cr(deep, 12, PhotometricInterpretation=kind, PresentationLUTShape=shape)), "x")
    np.testing.assert_array_equal(film.grey, 255 - plain if inverse else plain)
    assert film.notes == ((note,) if note else ())


@pytest.mark.parametrize("syntax", [dicoms.EXPLICIT, dicoms.IMPLICIT, dicoms.BIG])
def test_header_values_in_every_spelling(syntax: str) -> None:
    """Window, LUTs, padding: as highdicom or by hand, in implicit, explicit and big endian."""
    pixels = np.arange(-50, 206, dtype=np.int16).reshape(16, 16)
    windowed = cr(pixels, 16, RescaleSlope="2", RescaleIntercept="-10", WindowCenter=["100", "7"], WindowWidth=["200", "3"])
    expected = np.clip(((pixels * 2.0 - 10 - 99.5) / 199 + 0.5), 0, 1) * 255
    np.testing.assert_array_equal(grey(written(windowed, syntax)), np.rint(expected))
    mapped = cr(pixels, 16, VOILUTSequence=lut(-10, [0, 100, 200, 1023], 10))
    expected = np.rint(np.array([0, 100, 200, 1023])[np.clip(pixels + 10, 0, 3)] / 1023 * 255)
    np.testing.assert_array_equal(grey(written(mapped, syntax)), expected)
    padded = grey(written(cr(pixels, 16, PixelPaddingValue=-50, PixelPaddingRangeLimit=-40), syntax), "minmax")
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
        ({"WindowCenter": 60000, "WindowWidth": 100}, ("window 60000 ± 100/2 lies outside the film's values",)),
        ({"WindowCenter": -9000, "WindowWidth": 100}, ("window -9000 ± 100/2 lies outside the film's values",)),
        ({"WindowCenter": 100, "WindowWidth": 0}, ("window 100 ± 0/2 makes no sense",)),
        ({"RescaleSlope": 0, "RescaleIntercept": 5}, ("the rescale slope or intercept makes no sense; ignored",)),
        ({"VOILUTSequence": lut(0, [1, 2, 3], 77)}, ("the VOI LUT makes no sense; ignored",)),
        ({"ModalityLUTSequence": Sequence([Dataset()])}, ("the modality LUT makes no sense; ignored",)),
    ],
)
def test_what_cannot_be_followed_is_ignored_with_a_note(deep: np.ndarray, fields: dict, notes: tuple[str, ...]) -> None:
    film = read_film(written(cr(deep, 12, **fields)), "x")
    np.testing.assert_array_equal(film.grey, grey(written(cr(deep, 12))))
    assert [said.startswith(note) for said, note in zip(film.notes, notes, strict=True)] == [True] * len(notes)


def test_numbers_that_are_none(deep: np.ndarray) -> None:
    good = written(cr(deep, 12, WindowCenter="2000", WindowWidth="1000"))
    np.testing.assert_array_equal(grey(good.replace(b"2000", b"abcd")), grey(written(cr(deep, 12))))


def test_the_header_of_a_film(deep: np.ndarray) -> None:
    fields = {"ViewPosition": "LL", "PresentationIntentType": "FOR PROCESSING", "BurnedInAnnotation": "YES", "StudyInstanceUID": "1.2.3"}
    ids = {"PatientID": "4711", "PatientName": "Doe^Jo", "AccessionNumber": "A1", "StudyDate": "20200131"}
    header = read_film(written(cr(deep, 12, **fields, **ids)), "x").header
    assert header is not None
    assert (header.modality, header.body_part, header.view, header.photometric) == ("CR", "CHEST", "LL", "MONOCHROME2")
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
    "data", [bytes(2000), b"\x08\x00" + bytes(200), b"\x08\x00\x05\x00CSV;a;b;c" + b";" * 200, b"\x08\x00\x16\x00\xff\xff\xff\xff" * 20]
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


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "1 samples of PALETTE COLOR; expected grey or RGB"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "32 bits in 32 for each sample; expected up to 16, of colours 8"),
        ({"BitsAllocated": 1, "BitsStored": 1}, "1 bits in 1 for each sample; expected up to 16, of colours 8"),
        ({"BitsStored": 17}, "17 bits in 16 for each sample; expected up to 16, of colours 8"),
        ({"Rows": 0}, "damaged DICOM (no rows or no columns)"),
        ({"Rows": None}, "damaged DICOM (no rows or no columns)"),
        ({"Rows": 65535, "Columns": 65535}, "65535 x 65535 pixels, more than 200 million"),
        ({"Rows": 80}, "damaged DICOM (its pixel data end early: 2880 of 5760 bytes)"),
        ({"NumberOfFrames": 1_000_000_000}, "damaged DICOM (its pixel data end early: 2880 of 2880000000000 bytes)"),
    ],
)
def test_headers_that_are_refused(deep: np.ndarray, fields: dict, message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, while it writes
        data = written(cr(deep, 12, **fields))
    assert refused(data) == f"x: {message}"


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile / Main Level (1.2.840.10008.1.2.4.100)"),
        ("1.2.840.10008.1.2.4.94", "JPIP Referenced (1.2.840.10008.1.2.4.94)"),
    ],
)
def test_a_syntax_that_nothing_reads_is_named(deep: np.ndarray, syntax: str, name: str) -> None:
    dataset = cr(deep, 12)
    data = written(dataset).replace(b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x18\x00" + syntax.encode().ljust(24, b"\0"))
    length = int.from_bytes(data[140:144], "little") + 4
    assert refused(data[:140] + length.to_bytes(4, "little") + data[144:]) == f"x: transfer syntax {name} is not read; no package adds it"


@pytest.mark.parametrize(
    ("syntax", "module", "message"),
    [
        (dicoms.SV1, "gdcm", "JPEG Lossless (1.2.840.10008.1.2.4.70) needs python-gdcm: pip install python-gdcm"),
        (dicoms.JPEG_LS, "jpeg_ls", "JPEG-LS Lossless Image Compression (1.2.840.10008.1.2.4.80) needs pyjpegls: pip install pyjpegls"),
        (
            dicoms.J2K,
            "openjpeg",
            "JPEG 2000 Image Compression (1.2.840.10008.1.2.4.90) needs pylibjpeg-openjpeg: pip install pylibjpeg-openjpeg",
        ),
    ],
)
def test_a_missing_decoder_names_syntax_and_package(deep: np.ndarray, syntax: str, module: str, message: str, monkeypatch) -> None:
    data = written(cr(deep, 12), syntax)
    monkeypatch.setattr(decoders, "find_spec", lambda name: None if name == module else name)
    assert refused(data) == f"x: {message}"


@pytest.mark.parametrize("syntax", [dicoms.EXPLICIT, dicoms.DEFLATED, dicoms.RLE, dicoms.SV1, dicoms.JPEG_LS, dicoms.J2K, dicoms.EXTENDED])
def test_a_truncated_file_is_one_clear_line_wherever_it_ends(deep: np.ndarray, syntax: str) -> None:
    data = written(cr(deep, 12), syntax)
    for length in [140, 400, *range(len(data) // 2, len(data) - 40, 211), len(data) - 40]:
        assert "damaged DICOM" in refused(data[:length])


@pytest.mark.parametrize("syntax", [dicoms.SV1, dicoms.JPEG_LS, dicoms.J2K, dicoms.BASELINE])
def test_a_stream_of_another_size_or_cut_short_never_reaches_a_decoder(deep: np.ndarray, syntax: str, monkeypatch) -> None:
    pixels, bits = ((deep >> 4).astype(np.uint8), 8) if syntax == dicoms.BASELINE else (deep, 12)
    data = written(cr(pixels, bits), syntax)
    monkeypatch.setattr("mtclip_edge.films.dicom.pixel_data.decode", None)
    rows = b"\x28\x00\x10\x00US\x02\x00"
    assert refused(data.replace(rows + b"\x28\x00", rows + b"\x29\x00")).endswith("its header says 36 x 41)")
    assert refused(data.replace(b"\xff\xd9", b"\0\0")).endswith("data end early)")
    start = data.rindex(b"\xff\xd8" if syntax != dicoms.J2K else b"\xff\x4f\xff\x51")
    assert "stream" in refused(data[:start] + bytes(4) + data[start + 4 :])


def test_a_deflated_bomb(deep: np.ndarray, monkeypatch) -> None:
    import zlib

    monkeypatch.setattr("mtclip_edge.films.dicom.pixel_data._MOST_INFLATED", 1 << 20)
    data = written(cr(deep, 12), dicoms.DEFLATED)
    start = 144 + int.from_bytes(data[140:144], "little")
    inner = zlib.decompress(data[start:], -15)
    deflater = zlib.compressobj(wbits=-15)
    bomb = deflater.compress(inner + bytes(3 << 20)) + deflater.flush()
    assert refused(data[:start] + bomb) == "x: deflated DICOM of more than 1 MB"


def test_a_decoder_that_dies_or_hangs_is_one_line_and_the_next_film_is_read(deep: np.ndarray, monkeypatch) -> None:
    data = written(cr(deep, 12), dicoms.JPEG_LS)
    good = grey(data)
    process = decoders._take()
    process._child.kill()
    process._child.wait()
    monkeypatch.setattr(decoders, "_take", lambda: process)
    assert refused(data) == "x: damaged DICOM (its JPEG-LS Lossless Image Compression data cannot be decoded: the decoder crashed on it)"
    monkeypatch.undo()
    monkeypatch.setattr(decoders, "SECONDS", 0.0)
    monkeypatch.setattr(decoders, "SECONDS_A_MEGAPIXEL", 0.0)
    decoders._end_all()  # a new process takes longer to start than it is given
    assert refused(data).endswith("the decoder did not end within 0 s)")
    monkeypatch.undo()
    np.testing.assert_array_equal(grey(data), good)


def test_films_are_decoded_side_by_side(deep: np.ndarray) -> None:
    from concurrent.futures import ThreadPoolExecutor

    files = [written(cr(deep, 12), syntax) for syntax in (dicoms.JPEG_LS, dicoms.J2K, dicoms.SV1, dicoms.RLE)] * 5
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(grey, files))
    for film in found:
        np.testing.assert_array_equal(film, grey(written(cr(deep, 12))))


def test_filters_and_log_levels_are_as_before(deep: np.ndarray) -> None:
    import logging

    before = list(warnings.filters), logging.getLogger("pydicom").level
    read_film(written(cr(deep, 12)), "x")
    assert (list(warnings.filters), logging.getLogger("pydicom").level) == before


@pytest.mark.parametrize("end", [201, 202, 203])
def test_htj2k_goes_to_the_decoder_that_knows_it(deep: np.ndarray, end: int) -> None:
    """Nothing here encodes HTJ2K: a JPEG 2000 stream under its syntax shows the way, not the decoder."""
    data = written(cr(deep, 12), dicoms.J2K)
    syntax = b"1.2.840.10008.1.2.4.90"
    renamed = data.replace(b"UI\x16\x00" + syntax, b"UI\x18\x00" + syntax[:-2] + b"%d\0" % end, 1)
    length = int.from_bytes(data[140:144], "little") + 2
    np.testing.assert_array_equal(grey(renamed[:140] + length.to_bytes(4, "little") + renamed[144:]), grey(data))


def test_the_same_film_as_png_and_dicom_finds_the_same_reports(tiny_bundle: Path, source: Path) -> None:
    """With a window over the whole range the pixels are the same."""
    films = [study.films[0].path for study in open_source(str(source)).split("test") if study.films][:4]
    with Retriever.open(tiny_bundle) as retriever:
        for path in films:
            pixels = np.asarray(Image.open(path))
            png = retriever.query(path)
            for kind, stored in (("MONOCHROME2", pixels), ("MONOCHROME1", 255 - pixels)):
                windowed = cr(stored, PhotometricInterpretation=kind, WindowCenter=128, WindowWidth=256)
                assert retriever.query(written(windowed)).hits == png.hits
                assert retriever.query(written(cr(stored, PhotometricInterpretation=kind))).hits == png.hits
                deep = np.rint(stored * (4095 / 255)).astype(np.uint16)
                deeper = cr(deep, 12, PhotometricInterpretation=kind, WindowCenter=2048, WindowWidth=4096)
                assert retriever.query(written(deeper, dicoms.JPEG_LS)).hits == png.hits


def test_render_overrides_the_bundle_and_says_so(mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path, film: Path) -> None:
    (tmp_path / "f").write_bytes(written(cr(deep, 12, WindowCenter=1000, WindowWidth=100)))
    asked = ("query", tmp_path / "f", "--bundle", tiny_bundle, "--json")
    plain, own, other = (json.loads(mtclip(*asked, *more).out) for more in ((), ("--render", "voi"), ("--render", "minmax")))
    small = "the picture is only 36 x 40 pixels"
    assert plain["input"] == own["input"] == {**plain["input"], "kind": "dicom", "reasons": [small]}
    assert plain["hits"] == own["hits"] != other["hits"]
    assert other["input"]["reasons"] == ["rendered by minmax; the bundle's own films are by voi", small]
    picture = json.loads(mtclip("query", film, "--bundle", tiny_bundle, "--json", "--render", "minmax").out)
    assert picture["input"]["reasons"] == []  # a picture has no choice
    wrong = mtclip(*asked, "--render", "voy")
    assert (wrong.code, wrong.err) == (2, "render 'voy'\nexpected one of voi, percentile, minmax\ndid you mean voi?\n")


def test_the_default_render_is_in_no_manifest_and_another_is(tiny_bundle: Path) -> None:
    from dataclasses import replace

    from mtclip_edge.bundle.bundle import Bundle
    from mtclip_edge.inference.preprocessing import Preprocessing

    how = Preprocessing.of(Bundle.open(tiny_bundle).model.preprocessing)
    assert how.render == "voi" and "render" not in how.to_dict()
    other = replace(how, render="percentile")
    assert Preprocessing.from_dict(other.to_dict()) == other and other.to_dict()["render"] == "percentile"


def test_a_bundles_own_render_is_what_its_films_get(bundle: Path, deep: np.ndarray) -> None:
    from mtclip_edge.inference.embed_films import embed_films
    from mtclip_edge.inference.encoders import FilmEncoder

    with Retriever.open(bundle) as retriever:
        from dataclasses import replace

        encoder = replace(retriever._films, preprocessing=replace(retriever._films.preprocessing, render="minmax"))
        assert isinstance(encoder, FilmEncoder)
        path = bundle / "film"
        path.write_bytes(written(cr(deep, 12, WindowCenter=1000, WindowWidth=100)))
        found = embed_films(encoder, [path], retriever.bundle.model.dim, lambda *_: None)
        expected = encoder.encode(encoder.prepare(grey(path.read_bytes(), "minmax"))[None])[0]
        np.testing.assert_allclose(found.vectors, expected, atol=1e-6)


def test_dicom_needs_a_bundle_that_was_named(mtclip, deep: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "f.dcm").write_bytes(written(cr(deep, 12)))
    unasked = mtclip("query", tmp_path / "f.dcm", "--format", "ids")
    assert (unasked.code, unasked.out) == (1, "")
    assert unasked.err.splitlines()[0] == f"{tmp_path / 'f.dcm'}: DICOM needs --bundle DIR, or --bundle demo for invented reports"
    assert mtclip("query", tmp_path / "f.dcm", "--bundle", "demo", "--format", "ids", "--force").code == 0


def test_pydicom_is_loaded_for_dicom_only(tiny_bundle: Path, film: Path, deep: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(written(cr(deep, 12)))
    for path, expected in ((film, False), (tmp_path / "f", True)):
        code = (
            f"import sys; sys.argv = ['mtclip', 'query', {str(path)!r}, '--bundle', {str(tiny_bundle)!r}, '--format', 'ids']\n"
            "from mtclip_edge import cli\nassert cli._run() == 0\nprint('LOADED', *sys.modules)"
        )
        out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        loaded = set(out.split("LOADED")[1].split())
        assert ("pydicom" in loaded) == expected
        assert expected or not loaded & {
            "zipfile",
            "mtclip_edge.films.dicom.reader",
            "mtclip_edge.films.dicomdir",
            "mtclip_edge.films.dicom.decoders",
        }


def test_dicom_from_standard_input(mtclip, tiny_bundle: Path, deep: np.ndarray, monkeypatch) -> None:
    data = written(cr(deep, 12), dicoms.JPEG_LS)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    found = json.loads(mtclip("query", "-", "--bundle", tiny_bundle, "--json").out)
    assert (found["image"], found["input"]["kind"]) == ("-", "dicom")


MARK = "ZQXMARK"


def planted(pixels: np.ndarray, study: str) -> dicoms.FileDataset:
    """A mark in every field that may hold who or when, in private ones and in free text."""
    fields = ("PatientName", "PatientID", "AccessionNumber", "PatientComments", "InstitutionName", "ReferringPhysicianName", "StudyID")
    fields += ("StudyDescription", "SeriesDescription", "PatientAddress", "OtherPatientIDs", "PerformingPhysicianName", "OperatorsName")
    fields += ("DeviceSerialNumber", "StationName", "ProtocolName", "ImageComments", "RequestedProcedureDescription", "PatientBirthName")
    dataset = cr(pixels, 12, **{name: f"{MARK}{number}" for number, name in enumerate(fields)}, StudyInstanceUID=study)
    dataset.StudyDate = dataset.PatientBirthDate = dataset.ContentDate = "19990731"
    dataset.private_block(0x0011, f"{MARK} CREATOR", create=True).add_new(1, "LO", f"{MARK}private")
    return dataset


def odd(dataset: dicoms.FileDataset) -> bytes:
    """Values that make pydicom complain in words that hold them."""
    data = written(dataset)
    data = data.replace(b"19990731", b"ZQXMARK ", 1)
    return data.replace(b"CS\x06\x00CHEST ", b"CS\x06\x00ZQXM\xff ").replace(b"DS", b"DS")


def test_nobody_is_named_in_any_output(mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path, monkeypatch) -> None:
    """Good, odd, undecodable and truncated files, in every format, with a traceback asked for; once as a person runs it."""
    study = "1.2.826.0.1.3680043.77777.1"
    good = written(planted(deep, study))
    files = {"good": good, "odd": odd(planted(deep, study)), "lateral": good.replace(b"CS\x02\x00PA", b"CS\x02\x00LL")}
    files |= {"cut": good[:-500], "cut-header": good[:700], "jls": written(planted(deep, study), dicoms.JPEG_LS)}
    files |= {
        "bad-jls": files["jls"].replace(b"\xff\xd9", b"\0\0"),
        "mpeg": good.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.9\0"),
    }
    files |= {"window": written(_with(planted(deep, study), WindowCenter="9e9", WindowWidth="1"))}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.setenv("MTCLIP_DEBUG", "1")
    page = tmp_path.with_suffix(".html")
    for form in ("table", "json", "jsonl", "ids"):
        for by in ("film", "study"):
            found = mtclip("query", tmp_path, "--format", form, "--by", by, "--bundle", tiny_bundle, "--save", page)
            assert found.code == 5 and "good" in found.out and "cut" in found.err
            written_out = found.out + found.err + page.read_text()
            assert "good" in page.read_text() and not [leak for leak in (MARK, "19990731", study) if leak in written_out]
    said = mtclip_process("query", tmp_path, "--by", "study", "--bundle", tiny_bundle, code=5)
    assert not [leak for leak in (MARK, "19990731", study) if leak in said]
    shown = mtclip_process("query", tmp_path / "good", "--show-ids", "--bundle", tiny_bundle, code=0)
    ids = json.loads(shown)["input"]["ids"]
    assert ids["patient_name"] == f"{MARK}0" and ids["patient_id"] == f"{MARK}1" and ids["accession"] == f"{MARK}2"
    assert (ids["study_date"], ids["study_uid"]) == ("19990731", study)
    table = mtclip("query", tmp_path / "good", "--show-ids", "--format", "table", "--bundle", tiny_bundle, "--save", page).out
    assert f"<dt>patient name</dt><dd>{MARK}0</dd>" in page.read_text()
    assert f"patient id {MARK}1" in " ".join(table.split()) and study in table


def _with(dataset: dicoms.FileDataset, **fields: object) -> dicoms.FileDataset:
    for name, value in fields.items():
        setattr(dataset, name, value)
    return dataset


def mtclip_process(*words: object, code: int) -> str:
    command = [sys.executable, "-W", "always", "-m", "mtclip_edge", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "MTCLIP_DEBUG": "1"})
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr if code else done.stdout


def test_no_error_of_a_film_carries_what_pydicom_said(deep: np.ndarray) -> None:
    """Not in its text, and not in a traceback: what it came from is cut off."""
    with pytest.raises(FilmUnreadable) as caught:
        read_film(written(planted(deep, "1.2.3"))[:700], "x")
    import traceback

    assert MARK not in "".join(traceback.format_exception(caught.value))


# By study


def test_a_study_is_the_mean_of_its_frontal_films(mtclip, tiny_bundle: Path, source: Path, tmp_path: Path) -> None:
    paths = [study.films[0].path for study in open_source(str(source)).split("test") if study.films][:4]
    uid = generate_uid()
    views = ("PA", "AP", "LL")
    for number, (path, view) in enumerate(zip(paths, views, strict=False)):
        film = cr(np.asarray(Image.open(path)), StudyInstanceUID=uid, ViewPosition=view, WindowCenter=128, WindowWidth=256)
        (tmp_path / f"{number}").write_bytes(written(film))
    (tmp_path / "picture.png").write_bytes(paths[3].read_bytes())
    found = mtclip("query", tmp_path, "--by", "study", "--bundle", tiny_bundle)
    study, alone = (json.loads(line) for line in found.out.splitlines())
    assert found.err == "2 studies of 4 films answered, 0 could not be\n"
    assert (study["query"]["type"], study["image"]) == ("study", str(tmp_path / "0"))
    assert [(f["image"], f["counted"], f["reason"]) for f in study["films"]] == [
        (str(tmp_path / "0"), True, None),
        (str(tmp_path / "1"), True, None),
        (str(tmp_path / "2"), False, "view position LL: not frontal"),
    ]
    assert [f["image"] for f in alone["films"]] == [str(tmp_path / "picture.png")]
    with Retriever.open(tiny_bundle) as retriever:
        vectors, logits = retriever._films.encode_films([np.asarray(Image.open(path)) for path in paths[:2]])
        mean = vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0))
        expected = retriever._answers.search.shown(retriever._answers.search.reports(mean, 5).first(5))
        assert [hit["report_id"] for hit in study["hits"]] == [hit.report_id for hit in expected]
        np.testing.assert_allclose([hit["score"] for hit in study["hits"]], [hit.score for hit in expected], atol=1e-4)
        assert study["abnormal"]["probability"] == pytest.approx(1 / (1 + np.exp(-logits.mean())), abs=1e-4)
        assert alone["hits"] == [hit.to_dict() for hit in retriever.query(paths[3]).hits]


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ("LAO", "LAO"),
        ("OBLIQUE", "OBLIQUE"),
        ("LATERAL DECUB", "DECUB"),
        ("LLAT", "LLAT"),
        ("XTABLE LATERAL", "LATERAL"),
        ("L", "L"),
        ("RPO DOE", "RPO"),
        ("AP AXIAL", "AXIAL"),
        ("AP PORTABLE", None),
        ("PA", None),
        ("ERECT", None),
        ("", None),
    ],
)
def test_a_study_counts_no_film_that_is_not_frontal(deep: np.ndarray, view: str, said: str | None) -> None:
    """What the gate calls oblique or lateral takes no part in the mean of a study, and only a word known here is repeated."""
    header = read_film(written(cr(deep, 12, ViewPosition=view))).header
    film = EmbeddedFilm("f", Input("dicom", "ok", ()), True, header, np.ones(4, np.float32), 0.0, {})
    assert not_counted(film) == (said and f"view position {said}: not frontal")


@pytest.mark.parametrize(("code", "word"), [("399135007", "LAO"), ("R-102C1", "OBLIQUE"), ("399067008", "LATERAL"), ("R-40888", None)])
def test_a_view_code_counts_as_its_word(deep: np.ndarray, code: str, word: str | None) -> None:
    view = Dataset()
    view.CodeValue = code
    header = read_film(written(cr(deep, 12, ViewPosition=None, ViewCodeSequence=[view]))).header
    assert header is not None
    assert header.projection == ({"LAO": "other", "OBLIQUE": "other", "LATERAL": "lateral"}[word] if word else "PA")


def test_a_study_of_laterals_is_an_error_and_wrong_uses(mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(written(cr(deep, 12, ViewPosition="LATERAL")))
    found = mtclip("query", tmp_path / "l", "--by", "study", "--bundle", tiny_bundle)
    assert (found.code, found.err.count("\n")) == (6, 1) and json.loads(found.out)["input"]["verdict"] == "reject"
    forced = mtclip("query", tmp_path / "l", "--by", "study", "--bundle", tiny_bundle, "--force")
    assert (forced.code, forced.out) == (1, "")
    assert forced.err == f"{tmp_path / 'l'}: no frontal film in its study of 1\nview position LATERAL: not frontal\n"
    text = mtclip("query", "--text", "x", "--by", "study", "--bundle", tiny_bundle)
    assert (text.code, text.err.splitlines()[0]) == (2, "--by study")
    assert mtclip("query", "x", "--by", "patient", "--bundle", tiny_bundle).err == "by 'patient'\nexpected one of film, study\n"


def test_the_table_names_the_study(mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path) -> None:
    for name, view in (("a", "PA"), ("b", "RL")):
        (tmp_path / name).write_bytes(written(cr(deep, 12, StudyInstanceUID="1.2.3.4", ViewPosition=view)))
    out = mtclip("query", tmp_path, "--by", "study", "--bundle", tiny_bundle, "--format", "table").out
    assert "study of 2 films, without b (view position RL: not frontal)" in out


# The real files


@pytest.fixture(scope="module")
def real_films(real_data: Path) -> dict[str, DecodedFilm | str]:
    """Each file of the data folder: the film, or what is said of it."""
    return {row["file"]: _film_or_error(real_data / "dicom" / row["file"]) for row in _rows(real_data)}


def _rows(real_data: Path) -> list[dict[str, str]]:
    with (real_data / "dicom" / "manifest.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _film_or_error(path: Path) -> DecodedFilm | str:
    try:
        return read_film(path, path.name)
    except FilmUnreadable as error:
        return str(error)


@pytest.mark.realdata
def test_every_file_does_what_its_row_says(real_data: Path, real_films: dict[str, DecodedFilm | str]) -> None:
    for row in _rows(real_data):
        film = real_films[row["file"]]
        if row["expect"] == "maybe" and isinstance(film, str):
            assert row["transfer_syntax"].split(" (")[0] in film and "\n" not in film
            continue
        assert isinstance(film, DecodedFilm), film
        assert film.grey.shape == (int(row["rows"]), int(row["cols"]))
        assert film.grey.std() > 20
        assert film.header is not None
        assert (film.header.modality, film.header.body_part, film.header.view) == (row["modality"], row["body_part"], row["view"])
        assert (film.header.photometric, film.notes) == (row["photometric"], ())


@pytest.mark.realdata
def test_real_encodings_of_one_leg(real_films: dict[str, DecodedFilm | str]) -> None:
    legs = {name: film.grey.astype(int) for name, film in real_films.items() if "_leg_" in name and isinstance(film, DecodedFilm)}
    reference = legs["cr_leg_mono1_10bit_uncompressed.dcm"]
    apart = {name: int(np.abs(grey - reference).max()) for name, grey in legs.items()}
    lossless = {name for name in legs if "lossy" not in name and "extended" not in name}
    assert len(lossless) == 5 and all(apart[name] == 0 for name in lossless)
    assert max(apart.values()) <= 12  # of 255, where it was lossy


@pytest.mark.realdata
def test_a_real_chest_is_bright_where_bone_is_and_its_twins_agree(real_films: dict[str, DecodedFilm | str]) -> None:
    """Spine and diaphragm are brighter than lung, however a file stores it."""
    films = {name: film.grey for name, film in real_films.items() if isinstance(film, DecodedFilm)}
    for name in ("cr_chest_mono1_10bit_raw.dcm", "cr_chest_mono1_15bit_j2k_lossy.dcm", "cr_chest_mono2_8bit_jpegbase_PA_rsna.dcm"):
        small = np.asarray(Image.fromarray(films[name]).resize((16, 16), Image.Resampling.BOX)).astype(int)
        assert small[5:9, 7:9].mean() > small[5:9, 3:6].mean() + 20, name
    np.testing.assert_array_equal(films["cr_chest_FAKE_mono1_tag.dcm"], 255 - films["cr_chest_mono2_8bit_jpegbase_PA_rsna.dcm"])
    near = films["cr_chest_mono1_15bit_jpegls_near.dcm"].astype(int) - films["cr_chest_mono1_15bit_j2k_lossy.dcm"]
    assert np.abs(near).max() <= 8


# Pictures deeper than 8 bits


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_deep_pictures_are_scaled_not_clipped(deep: np.ndarray, kind: str) -> None:
    high = deep.astype(np.uint16) * 11 + 7
    assert high.max() > 30_000
    np.testing.assert_array_equal(grey(picture(high, kind)), between_percentiles(high))


def between_percentiles(values: np.ndarray) -> np.ndarray:
    low, high = np.quantile(values, [0.005, 0.995], method="inverted_cdf").astype(float)
    return np.rint(np.clip((values.astype(float) - low) * (255 / (high - low)), 0, 255))


def test_signed_float_and_big_endian_tiffs_are_scaled(deep: np.ndarray) -> None:
    expected = grey(picture(deep, "TIFF"))
    for values in (deep.astype(np.int32) - 2000, deep.astype(np.float32) / 1000 - 5):
        assert np.abs(grey(picture(values, "TIFF")).astype(int) - expected).max() <= 1
    buffer = io.BytesIO()
    Image.frombytes("I;16B", deep.shape[::-1], deep.astype(">u2").tobytes()).save(buffer, "TIFF")
    np.testing.assert_array_equal(grey(buffer.getvalue()), between_percentiles(deep))
