"""Films that another program holds are what their files would be."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicoms import JPEG_LS, cr, written
from PIL import Image

from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.films.film import DecodedFilm
from mtclip_edge.films.in_memory import taken
from mtclip_edge.films.read import read_film


def decoded(film: Any, name: str = "here") -> DecodedFilm:
    given = taken(film, name)
    return given if isinstance(given, DecodedFilm) else read_film(given, name)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
def test_an_array_is_what_its_tiff_would_be(deep: np.ndarray, dtype: str, tmp_path: Path) -> None:
    array = (deep >> 4).astype(dtype) if dtype == "uint8" else deep.astype(dtype)
    film = decoded(array)
    assert (film.kind, film.notes, film.header) == ("array", (), None)
    if dtype == "float64":
        array = array.astype(np.float32)  # what a TIFF can hold
    Image.fromarray(array).save(tmp_path / "film.tiff")
    assert np.array_equal(film.grey, read_film(tmp_path / "film.tiff").grey)
    assert film.grey.dtype == np.uint8 and film.grey.max() > 140


def test_an_array_is_copied() -> None:
    array = np.full((4, 6), 7, np.uint8)
    film = decoded(array[:, ::2])
    array[:] = 0
    assert film.grey.shape == (4, 3) and (film.grey == 7).all()


def test_values_that_are_no_numbers_become_black_and_it_is_said(deep: np.ndarray) -> None:
    values = deep.astype(np.float32)
    values[3, 4] = np.nan
    film = decoded(values)
    assert film.notes == ("values that are no numbers became black",) and film.grey[3, 4] == 0


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 3, 3), np.uint8),
        np.zeros(5),
        np.zeros((0, 4), np.uint8),
        np.ones((3, 3), bool),
        np.array([["a"]]),
    ],
    ids=["colours", "one dimension", "empty", "bits", "words"],
)
def test_what_is_no_grey_film_is_refused_as_an_array(array: np.ndarray) -> None:
    with pytest.raises(
        FilmUnreadable, match=r"^here: an array .* of shape \[.*\nexpected grey values \[height, width\]"
    ):
        taken(array, "here")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "I", "F", "I;16", "CMYK", "PA"])
def test_an_image_is_what_its_file_would_be(mode: str, deep: np.ndarray) -> None:
    base = Image.fromarray((deep >> 4).astype(np.uint8))
    image = (
        Image.fromarray(deep)
        if mode == "I;16"
        else base.convert("P").convert("PA")
        if mode == "PA"
        else base.convert(mode)
    )
    film, before = decoded(image), image.tobytes()
    assert film.kind == "image" and film.grey.shape == deep.shape
    expected = decoded(deep).grey if mode == "I;16" else np.asarray(base)
    if mode in ("I", "F"):
        expected = decoded(np.asarray(image)).grey
    assert np.abs(film.grey.astype(int) - expected).max() <= 1
    assert image.tobytes() == before


def test_an_image_from_a_file_is_turned_upright_and_keeps_its_format(
    deep: np.ndarray, tmp_path: Path
) -> None:
    image, exif = Image.fromarray((deep >> 4).astype(np.uint8)), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "film.png", exif=exif)
    with Image.open(tmp_path / "film.png") as opened:
        film = decoded(opened)
    assert film.kind == "png" and np.array_equal(film.grey, read_film(tmp_path / "film.png").grey)
    assert film.grey.shape == deep.shape[::-1]


def test_images_that_cannot_be_read_are_told_in_a_line(tmp_path: Path, film: Path) -> None:
    (tmp_path / "cut.png").write_bytes(film.read_bytes()[:300])
    cut, closed = Image.open(tmp_path / "cut.png"), Image.new("L", (4, 4))
    closed.close()
    for image, why in (
        (cut, "cannot be read"),
        (closed, "cannot be read"),
        (Image.new("1", (4, 4)), "one bit a pixel"),
        (Image.new("HSV", (4, 4)), "a picture of HSV colours"),
    ):
        with pytest.raises(FilmUnreadable, match=f"^here: .*{why}") as told:
            decoded(image)
        assert len(str(told.value).splitlines()) <= 2
    cut.close()


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", JPEG_LS])
def test_a_dataset_is_what_its_file_would_be(deep: np.ndarray, syntax: str) -> None:
    data = written(cr(deep, 12, PhotometricInterpretation="MONOCHROME1", ViewPosition="LL"), syntax)
    dataset = pydicom.dcmread(io.BytesIO(data))
    before = str(dataset) + str(dataset.file_meta)
    film, expected = decoded(dataset), read_film(data, "here")
    assert np.array_equal(film.grey, expected.grey) and film.kind == "dicom"
    assert film.header and film.header.projection == "lateral"
    assert str(dataset) + str(dataset.file_meta) == before


def test_a_dataset_without_a_meta_header_is_read_too(deep: np.ndarray) -> None:
    whole = cr(deep, 12)
    bare = pydicom.Dataset()
    for element in whole:
        bare.add(element)
    assert np.array_equal(decoded(bare).grey, decoded(whole).grey)


def test_a_dataset_that_is_no_file_names_nobody(deep: np.ndarray) -> None:
    dataset = cr(deep, 12, PatientName="DOE^JANE")
    with pytest.warns(UserWarning, match="VR US"):
        dataset.Rows = "DOE"
    with pytest.raises(FilmUnreadable) as told:
        decoded(dataset)
    assert "DOE" not in str(told.value) and told.value.__cause__ is None
    with pytest.raises(FilmUnreadable, match="^here: "):
        decoded(pydicom.Dataset())


def test_an_open_file_is_read_from_where_it_stands(film: Path, tmp_path: Path) -> None:
    expected = read_film(film).grey
    with film.open("rb") as file:
        assert np.array_equal(decoded(file).grey, expected)
        with pytest.raises(FilmUnreadable, match="empty file"):
            decoded(file)
    with pytest.raises(FilmUnreadable, match="here: cannot be read"):
        decoded(file)
    with pytest.raises(FilmUnreadable, match="a file of text\nexpected one that was opened with 'rb'"):
        decoded(io.StringIO("film"))
    for data in (bytearray(film.read_bytes()), memoryview(film.read_bytes())):
        assert np.array_equal(decoded(data).grey, expected)
