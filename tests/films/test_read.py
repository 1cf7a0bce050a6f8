"""Film files as they come: every mode Pillow gives, and damage of every sort."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.films.read import looks_like_film, read_film


@pytest.fixture
def ramp() -> np.ndarray:
    return np.tile(np.arange(0, 256, 4, dtype=np.uint8), (32, 1))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_grey_is_kept_as_it_is(ramp: np.ndarray) -> None:
    film = read_film(encoded(Image.fromarray(ramp), "PNG"))
    assert film.kind == "png"
    np.testing.assert_array_equal(film.grey, ramp)


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "LA", "CMYK"])
def test_other_modes_give_the_same_grey(ramp: np.ndarray, mode: str) -> None:
    grey = Image.fromarray(ramp)
    image = grey.convert("P") if mode == "P" else grey.convert("RGB").convert(mode)
    kind = "JPEG" if mode == "CMYK" else "PNG"
    found = read_film(encoded(image, kind, **({"quality": 100} if mode == "CMYK" else {}))).grey
    assert np.abs(found.astype(int) - ramp).max() <= 3


def test_transparency_is_laid_on_black() -> None:
    film = read_film(encoded(Image.new("LA", (4, 4), (200, 0)), "PNG"))
    assert film.grey.max() == 0


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[1000, 2000], [3000, 5000]], np.uint16)
    np.testing.assert_array_equal(
        read_film(encoded(Image.fromarray(values), "PNG")).grey, [[0, 64], [128, 255]]
    )


def test_a_uniform_deep_film_is_black_not_an_error() -> None:
    assert read_film(encoded(Image.fromarray(np.full((4, 4), 700, np.uint16)), "PNG")).grey.max() == 0


def test_exif_rotation_is_applied(ramp: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to see it upright
    grey = read_film(encoded(Image.fromarray(ramp), "JPEG", exif=exif, quality=95)).grey
    assert grey.shape == ramp.T.shape
    assert np.abs(grey.astype(int) - np.rot90(ramp, -1)).max() < 12


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def animated() -> bytes:
    frames = [Image.new("L", (8, 8), c) for c in (0, 255)]
    return encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x: empty file"),
        (b"study_id,report\n1,T.\n", "x: not a picture (it looks like text)"),
        (
            b"\0\0\0\x18ftypheic" + bytes(40),
            "x: not a picture (it is a HEIF, as phones save pictures; films are PNG, JPEG, TIFF, BMP, WEBP)",
        ),
        (b"%PDF-1.7\n\0", "x: not a picture (it is a PDF; films are PNG, JPEG, TIFF, BMP, WEBP)"),
        (
            b"\x1f\x8b\x08" + bytes(40),
            "x: not a picture (it is packed by gzip; films are PNG, JPEG, TIFF, BMP, WEBP)",
        ),
        (
            bytes(257) + b"ustar" + bytes(40),
            "x: not a picture (it is a tar archive; films are PNG, JPEG, TIFF, BMP, WEBP)",
        ),
        (b"GIF89a" + bytes(40), "x: not a picture (it is a GIF; films are PNG, JPEG, TIFF, BMP, WEBP)"),
        (bytes(128) + b"DICM" + bytes(40), "x: damaged DICOM (no pixel data; it may have been cut off)"),
        (b"\x00\x01\x02" * 30, "x: not a picture (unknown format; films are PNG, JPEG, TIFF, BMP, WEBP)"),
        pytest.param(bomb(), "x: its header claims more than 200 million pixels", id="bomb"),
        pytest.param(animated(), "x: 2 frames, expected one picture", id="animated"),
    ],
)
def test_bad_input_is_one_line(data: bytes, message: str) -> None:
    with pytest.raises(FilmUnreadable) as caught:
        read_film(data, "x")
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_truncated_pictures(random: np.random.Generator, kind: str) -> None:
    data = encoded(Image.fromarray(random.integers(0, 256, (64, 64), dtype=np.uint8)), kind)
    for length in (len(data) // 2, len(data) - 200, 30):
        with pytest.raises(FilmUnreadable, match="^x: (damaged|not a) picture"):
            read_film(data[:length], "x")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FilmUnreadable, match="no such file"):
        read_film(tmp_path / "gone.png")
    with pytest.raises(FilmUnreadable, match="cannot be read"):
        read_film(tmp_path)


def test_content_decides_what_a_film_is(tmp_path: Path, ramp: np.ndarray) -> None:
    (tmp_path / "film").write_bytes(encoded(Image.fromarray(ramp), "JPEG"))
    (tmp_path / "note.png").write_text("not a film")
    (tmp_path / "sound.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")
    assert looks_like_film(tmp_path / "film")
    assert not looks_like_film(tmp_path / "note.png")
    assert not looks_like_film(tmp_path / "sound.wav")
    assert looks_like_film(tmp_path / "cannot be opened")


def test_random_damage_never_escapes_as_another_error(random: np.random.Generator) -> None:
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP"):
        good = encoded(Image.fromarray(random.integers(0, 256, (40, 40), dtype=np.uint8)), kind)
        for _ in range(60):
            data = bytearray(good)
            for position in random.integers(0, len(data), 4):
                data[position] = int(random.integers(0, 256))
            try:
                assert read_film(bytes(data), "x").grey.dtype == np.uint8
            except FilmUnreadable as error:
                assert str(error).startswith("x: ")
