"""TIFFs whose samples Pillow takes for something else, without an error: the film is what it is, or refused by its kind."""

import io

import numpy as np
import pytest
from PIL import Image
from tiffs import DEFLATE, tiff

from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.films.file_types import is_film
from mtclip_edge.films.read import read_film

SIGNED, FLOAT, MIN_IS_WHITE, RGB = 2, 3, 0, 2
HILLS = np.add.outer(np.arange(60), 3 * np.arange(50)).astype(np.int64)  # 0 to 206

KINDS = {
    "signed bytes": ((HILLS - 128).astype(np.int8), SIGNED),
    "signed words": ((HILLS * 100 - 9000).astype(np.int16), SIGNED),
    "signed long words": ((HILLS * 10_000_000 - 1_000_000_000).astype(np.int32), SIGNED),
    "words": ((HILLS * 300).astype(np.uint16), 1),
    "floats": ((HILLS / 206).astype(np.float32), FLOAT),
}


def alike(grey: np.ndarray) -> bool:
    """The ends are cut at robust percentiles."""
    return bool(np.corrcoef(grey.ravel(), HILLS.ravel())[0, 1] > 0.999)


@pytest.mark.parametrize("compression", [1, DEFLATE])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("white", [False, True])
def test_grey_of_any_samples(kind: str, order: str, compression: int, white: bool) -> None:
    values, sample_format = KINDS[kind]
    if white:
        values = (-1 - values if values.dtype.kind == "i" else values.max() - values).astype(values.dtype)
    data = tiff([values], order, MIN_IS_WHITE if white else 1, compression=compression, format=sample_format)
    film = read_film(data)
    assert is_film(data) and film.kind == "tiff" and not film.coloured
    assert alike(film.grey)


def test_long_words_without_a_sign() -> None:
    """Half of them are more than a signed one can hold."""
    assert alike(read_film(tiff([(HILLS * 20_000_000).astype(np.uint32)], "<")).grey)


def test_plain_bytes_stay_as_they_are() -> None:
    np.testing.assert_array_equal(read_film(tiff([HILLS.astype(np.uint8)], ">")).grey, HILLS)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [1, DEFLATE])
def test_colours_in_planes(order: str, compression: int) -> None:
    deep = [(HILLS * 300).astype(np.uint16)] * 3
    with pytest.raises(FilmUnreadable, match="x: a TIFF of 16-bit colours in planes"):
        read_film(tiff(deep, order, RGB, compression=compression, planes=2), "x")
    film = read_film(tiff([HILLS.astype(np.uint8)] * 3, order, RGB, compression=compression, planes=2))
    np.testing.assert_array_equal(film.grey, HILLS)
    film = read_film(tiff([np.stack(deep, -1)], order, RGB, compression=compression))
    assert alike(film.grey)


@pytest.mark.parametrize(
    ("values", "sample_format", "what"),
    [
        (HILLS.astype(np.float64), FLOAT, "1 floating point samples of 64 bits"),
        (HILLS.astype(np.float16), FLOAT, "1 floating point samples of 16 bits"),
        (np.stack([HILLS] * 3, -1).astype(np.int16), SIGNED, "3 signed samples of 16 bits"),
        (np.stack([HILLS] * 2, -1).astype(np.uint16), 1, "2 samples of 16 bits"),
    ],
)
def test_samples_that_are_not_read_are_named(values: np.ndarray, sample_format: int, what: str) -> None:
    data = tiff([values], ">", RGB if values.ndim == 3 and values.shape[2] == 3 else 1, format=sample_format)
    with pytest.raises(
        FilmUnreadable, match=rf"x: not a picture \(it is a TIFF of {what}, which are not read\)"
    ):
        read_film(data, "x")


def test_a_header_that_is_cut_off_is_no_picture() -> None:
    data = tiff([HILLS.astype(np.float64)], "<", format=FLOAT)
    for end in range(4, 120):
        with pytest.raises(FilmUnreadable):
            read_film(data[:end], "x")


def test_a_large_tiff_is_a_film_in_a_folder_too() -> None:
    buffer = io.BytesIO()
    Image.fromarray(HILLS.astype(np.uint8)).save(buffer, "TIFF", big_tiff=True)
    assert buffer.getvalue()[:4] in (b"II+\0", b"MM\0+") and is_film(buffer.getvalue())
    np.testing.assert_array_equal(read_film(buffer.getvalue()).grey, HILLS)
