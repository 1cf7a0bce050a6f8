"""Every transfer syntax gives the same grey values, and a stream that is damaged, cut or hostile is one line."""

import csv
import io
import warnings
from pathlib import Path

import dicoms
import numpy as np
import pydicom
import pytest
from dicoms import cr, grey, refused, written
from PIL import Image
from pydicom.encaps import encapsulate, get_frame

from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.films.dicom import decoders
from mtclip_edge.films.film import DecodedFilm
from mtclip_edge.films.read import read_film


@pytest.mark.parametrize("syntax", dicoms.LOSSLESS_SYNTAXES)
@pytest.mark.parametrize("kind", ["12 bits", "12 bits signed", "16 bits", "8 bits"])
def test_lossless_encodings_of_one_picture_give_identical_pixels(
    deep: np.ndarray, syntax: str, kind: str
) -> None:
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


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile / Main Level (1.2.840.10008.1.2.4.100)"),
        ("1.2.840.10008.1.2.4.94", "JPIP Referenced (1.2.840.10008.1.2.4.94)"),
    ],
)
def test_a_syntax_that_nothing_reads_is_named(deep: np.ndarray, syntax: str, name: str) -> None:
    dataset = cr(deep, 12)
    data = written(dataset).replace(
        b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x18\x00" + syntax.encode().ljust(24, b"\0")
    )
    length = int.from_bytes(data[140:144], "little") + 4
    assert (
        refused(data[:140] + length.to_bytes(4, "little") + data[144:])
        == f"x: transfer syntax {name} is not read; no package adds it"
    )


@pytest.mark.parametrize(
    ("syntax", "module", "message"),
    [
        (
            dicoms.SV1,
            "gdcm",
            "JPEG Lossless (1.2.840.10008.1.2.4.70) needs python-gdcm: pip install python-gdcm",
        ),
        (
            dicoms.JPEG_LS,
            "jpeg_ls",
            "JPEG-LS Lossless Image Compression (1.2.840.10008.1.2.4.80) needs pyjpegls: pip install pyjpegls",
        ),
        (
            dicoms.J2K,
            "openjpeg",
            "JPEG 2000 Image Compression (1.2.840.10008.1.2.4.90) needs pylibjpeg-openjpeg: pip install pylibjpeg-openjpeg",
        ),
    ],
)
def test_a_missing_decoder_names_syntax_and_package(
    deep: np.ndarray, syntax: str, module: str, message: str, monkeypatch
) -> None:
    data = written(cr(deep, 12), syntax)
    monkeypatch.setattr(decoders, "find_spec", lambda name: None if name == module else name)
    assert refused(data) == f"x: {message}"


@pytest.mark.parametrize(
    "syntax",
    [dicoms.EXPLICIT, dicoms.DEFLATED, dicoms.RLE, dicoms.SV1, dicoms.JPEG_LS, dicoms.J2K, dicoms.EXTENDED],
)
def test_a_truncated_file_is_one_clear_line_wherever_it_ends(deep: np.ndarray, syntax: str) -> None:
    data = written(cr(deep, 12), syntax)
    for length in [140, 400, *range(len(data) // 2, len(data) - 40, 211), len(data) - 40]:
        assert "damaged DICOM" in refused(data[:length])


@pytest.mark.parametrize("syntax", [dicoms.SV1, dicoms.JPEG_LS, dicoms.J2K, dicoms.BASELINE])
def test_a_stream_of_another_size_or_cut_short_never_reaches_a_decoder(
    deep: np.ndarray, syntax: str, monkeypatch
) -> None:
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


def test_a_decoder_that_dies_or_hangs_is_one_line_and_the_next_film_is_read(
    deep: np.ndarray, monkeypatch
) -> None:
    data = written(cr(deep, 12), dicoms.JPEG_LS)
    good = grey(data)
    process = decoders._take()
    process._child.kill()
    process._child.wait()
    monkeypatch.setattr(decoders, "_take", lambda: process)
    assert (
        refused(data)
        == "x: damaged DICOM (its JPEG-LS Lossless Image Compression data cannot be decoded: the decoder crashed on it)"
    )
    monkeypatch.undo()
    monkeypatch.setattr(decoders, "SECONDS", 0.0)
    monkeypatch.setattr(decoders, "SECONDS_A_MEGAPIXEL", 0.0)
    decoders._end_all()  # a new process takes longer to start than it is given
    assert refused(data).endswith("the decoder did not end within 0 s)")
    monkeypatch.undo()
    np.testing.assert_array_equal(grey(data), good)


def test_films_are_decoded_side_by_side(deep: np.ndarray) -> None:
    from concurrent.futures import ThreadPoolExecutor

    files = [
        written(cr(deep, 12), syntax) for syntax in (dicoms.JPEG_LS, dicoms.J2K, dicoms.SV1, dicoms.RLE)
    ] * 5
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
    np.testing.assert_array_equal(
        grey(renamed[:140] + length.to_bytes(4, "little") + renamed[144:]), grey(data)
    )


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
        assert (film.header.modality, film.header.body_part, film.header.view) == (
            row["modality"],
            row["body_part"],
            row["view"],
        )
        assert (film.header.photometric, film.notes) == (row["photometric"], ())


@pytest.mark.realdata
def test_real_encodings_of_one_leg(real_films: dict[str, DecodedFilm | str]) -> None:
    legs = {
        name: film.grey.astype(int)
        for name, film in real_films.items()
        if "_leg_" in name and isinstance(film, DecodedFilm)
    }
    reference = legs["cr_leg_mono1_10bit_uncompressed.dcm"]
    apart = {name: int(np.abs(grey - reference).max()) for name, grey in legs.items()}
    lossless = {name for name in legs if "lossy" not in name and "extended" not in name}
    assert len(lossless) == 5 and all(apart[name] == 0 for name in lossless)
    assert max(apart.values()) <= 12  # of 255, where it was lossy


@pytest.mark.realdata
def test_a_real_chest_is_bright_where_bone_is_and_its_twins_agree(
    real_films: dict[str, DecodedFilm | str],
) -> None:
    """Spine and diaphragm are brighter than lung, however a file stores it."""
    films = {name: film.grey for name, film in real_films.items() if isinstance(film, DecodedFilm)}
    for name in (
        "cr_chest_mono1_10bit_raw.dcm",
        "cr_chest_mono1_15bit_j2k_lossy.dcm",
        "cr_chest_mono2_8bit_jpegbase_PA_rsna.dcm",
    ):
        small = np.asarray(Image.fromarray(films[name]).resize((16, 16), Image.Resampling.BOX)).astype(int)
        assert small[5:9, 7:9].mean() > small[5:9, 3:6].mean() + 20, name
    np.testing.assert_array_equal(
        films["cr_chest_FAKE_mono1_tag.dcm"], 255 - films["cr_chest_mono2_8bit_jpegbase_PA_rsna.dcm"]
    )
    near = (
        films["cr_chest_mono1_15bit_jpegls_near.dcm"].astype(int)
        - films["cr_chest_mono1_15bit_j2k_lossy.dcm"]
    )
    assert np.abs(near).max() <= 8


@pytest.mark.parametrize("syntax", [dicoms.BASELINE, dicoms.JPEG_LS, dicoms.J2K])
@pytest.mark.parametrize("more", [2, 1000])
def test_a_stream_that_is_filled_up_with_zeros_is_whole(deep: np.ndarray, syntax: str, more: int) -> None:
    pixels = (deep >> 4).astype(np.uint8)
    data = written(cr(pixels, 8), syntax)
    dataset = pydicom.dcmread(io.BytesIO(data))
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([stream + bytes(more)])
    dataset.save_as(filled := io.BytesIO())
    np.testing.assert_array_equal(read_film(filled.getvalue()).grey, read_film(data).grey)
