"""Pictures deeper than 8 bits, and the odd ones that people drop in: as the same film in 8 bits, or refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
from dicoms import cr, written
from PIL import Image
from scipy.stats import spearmanr

from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.films.read import read_film

KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's colour types by samples a pixel


@pytest.fixture
def smooth(random: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[0:90, 0:70] / 50
    hills = np.sin(5 * x + 1) * np.cos(4 * y)
    return np.clip(np.rint(127 + 120 * hills + random.normal(0, 2, hills.shape)), 0, 255).astype(np.uint8)


@pytest.fixture
def deep(smooth: np.ndarray) -> np.ndarray:
    """The film with twelve bits, as detectors give it."""
    return (smooth.astype(np.uint16) << 4) | 7


def png(pixels: np.ndarray) -> bytes:
    """uint16 [height, width, samples] as PNG, each row by another of its five filters."""
    height, width, samples = pixels.shape
    rows, above = [], np.zeros(width * samples * 2, int)
    for number, row in enumerate(pixels.astype(">u2").reshape(height, -1)):
        now = np.frombuffer(row.tobytes(), np.uint8).astype(int)
        left = np.concatenate([np.zeros(2 * samples, int), now[: -2 * samples]])
        rows.append([(0, now), (1, now - left), (2, now - above), (3, now - (left + above) // 2)][number % 4])
        above = now
    raw = b"".join(bytes([kind]) + (row % 256).astype(np.uint8).tobytes() for kind, row in rows)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, KINDS[samples], 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def tiff(
    pixels: np.ndarray, photometric: int, order: str, extra: tuple[tuple[int, int, int], ...] = ()
) -> bytes:
    """One strip, not compressed, of uint8 or uint16 [height, width] or [height, width, samples]."""
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    bits = 8 * pixels.dtype.itemsize
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    values = [
        (256, 3, pixels.shape[1]),
        (257, 3, pixels.shape[0]),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
    ]
    values += [(277, 3, samples), (278, 3, pixels.shape[0]), (279, 4, len(data)), *extra]
    behind = 8 + len(data) + 2 + 12 * len(values) + 4
    tags = struct.pack(order + "H", len(values))
    for tag, kind, value in sorted(values):
        count = samples if tag == 258 else 1
        spelled = (
            struct.pack(order + "I", behind)
            if count > 2
            else struct.pack(order + ("HH" if kind == 3 else "I"), *([value, 0] if kind == 3 else [value]))
        )
        tags += struct.pack(order + "HHI", tag, kind, count) + spelled
    tags += struct.pack(order + "I", 0) + struct.pack(f"{order}{samples}H", *[bits] * samples)
    return (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(data)) + data + tags


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def near(data: bytes, smooth: np.ndarray, notes: int = 0) -> bool:
    film = read_film(data)
    return (
        bool(spearmanr(film.grey.ravel(), smooth.ravel())[0] >= 0.999)
        and np.ptp(film.grey) == 255
        and len(film.notes) == notes
    )


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
@pytest.mark.parametrize("shift", [0, 4])
def test_a_png_of_16_bits_keeps_both_bytes(
    deep: np.ndarray, smooth: np.ndarray, samples: int, shift: int
) -> None:
    pixels = np.stack([deep << shift] * samples, -1)
    if samples in (2, 4):
        pixels[..., -1] = 65535
    assert near(png(pixels), smooth)


def test_transparency_of_16_bits_is_laid_on_black(deep: np.ndarray) -> None:
    for samples in (2, 4):
        pixels = np.stack([deep] * samples, -1)
        pixels[..., -1] = 65535
        pixels[:40, :, -1] = 0
        assert read_film(png(pixels)).grey[:40].max() == 0
    assert read_film(png(pixels)).grey[40:].max() == 255


def test_colours_of_16_bits_become_luma(deep: np.ndarray) -> None:
    pixels = np.stack([deep, 4095 - deep, np.zeros_like(deep)], -1)
    film = read_film(png(pixels))
    truth = pixels @ [0.299, 0.587, 0.114]
    assert film.coloured and spearmanr(film.grey.ravel(), truth.ravel())[0] >= 0.999


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("height", [3, 10])
def test_a_lone_marker_does_not_blacken_the_film(
    deep: np.ndarray, smooth: np.ndarray, samples: int, height: int
) -> None:
    """Within the robust percentiles, and beyond them: 2.5 % of the film."""
    marked = np.stack([deep] * samples, -1)
    marked[2 : 2 + height, 2:18] = 65535
    grey = read_film(png(marked)).grey
    assert grey[3, 3] == 255
    assert np.abs(grey[20:].astype(int) - smooth[20:]).mean() < 12
    dicom = read_film(written(cr(marked[..., 0], 16))).grey
    np.testing.assert_array_equal(dicom, grey)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("full", [False, True])
def test_a_tiff_in_which_white_is_zero_is_turned(
    deep: np.ndarray, smooth: np.ndarray, order: str, full: bool
) -> None:
    values = 65535 - (deep << 4) if full else 4095 - deep
    assert near(tiff(values, 0, order), smooth)
    assert near(tiff(deep, 1, order), smooth)
    np.testing.assert_array_equal(read_film(tiff(255 - smooth, 0, order)).grey, smooth)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("samples", [3, 4])
def test_a_tiff_of_16_bit_colours_keeps_both_bytes(
    deep: np.ndarray, smooth: np.ndarray, order: str, samples: int
) -> None:
    pixels = np.stack([deep] * samples, -1)
    pixels[..., 3:] = 65535
    assert near(tiff(pixels, 2, order, ((338, 3, 2),) if samples == 4 else ()), smooth)


def test_floats_and_whole_numbers_of_32_bits(deep: np.ndarray, smooth: np.ndarray) -> None:
    floats = smooth.astype(np.float32) / 255
    assert near(saved(Image.fromarray(floats), "TIFF"), smooth)
    assert near(saved(Image.fromarray(deep.astype(np.int32)), "TIFF"), smooth)
    floats[:9] = np.nan
    film = read_film(saved(Image.fromarray(floats), "TIFF"))
    assert film.grey[:9].max() == 0 and film.notes == ("values that are no numbers became black",)
    assert spearmanr(film.grey[9:].ravel(), smooth[9:].ravel())[0] >= 0.999
    assert read_film(saved(Image.fromarray(np.full((5, 5), np.nan, np.float32)), "TIFF")).grey.max() == 0


def test_the_first_of_a_phones_pictures_and_a_tiff_with_its_thumbnail(smooth: np.ndarray) -> None:
    image = Image.fromarray(np.stack([smooth] * 3, -1))
    phone = read_film(saved(image, "MPO", save_all=True, append_images=[image.resize((16, 16))], quality=95))
    assert phone.kind == "jpeg" and phone.notes == ("the first of 2 pictures in the file",)
    assert np.abs(phone.grey.astype(int) - smooth).mean() < 4
    grey = Image.fromarray(smooth)
    film = read_film(saved(grey, "TIFF", save_all=True, append_images=[grey.resize((16, 16))]))
    np.testing.assert_array_equal(film.grey, smooth)
    with pytest.raises(FilmUnreadable, match="2 frames, expected one picture"):
        read_film(saved(grey, "TIFF", save_all=True, append_images=[grey]))


@pytest.mark.parametrize(
    ("mode", "kind", "why"),
    [
        ("1", "PNG", "x: a picture of one bit a pixel; expected grey or RGB"),
        ("LAB", "TIFF", "x: a picture of LAB colours; expected grey or RGB"),
        (
            "L",
            "JPEG2000",
            "x: not a picture (it is JPEG 2000 outside of DICOM; films are PNG, JPEG, TIFF, BMP, WEBP)",
        ),
        ("L", "GIF", "x: not a picture (it is a GIF; films are PNG, JPEG, TIFF, BMP, WEBP)"),
    ],
)
def test_what_cannot_be_a_film_is_named(smooth: np.ndarray, mode: str, kind: str, why: str) -> None:
    image = Image.fromarray(smooth).convert("RGB" if mode == "LAB" else mode).convert(mode)
    with pytest.raises(FilmUnreadable) as caught:
        read_film(saved(image, kind), "x")
    assert str(caught.value) == why


def test_damage_to_deep_pictures_is_one_line(deep: np.ndarray, random: np.random.Generator) -> None:
    for good in (
        png(np.stack([deep] * 3, -1)),
        png(np.stack([deep] * 2, -1)),
        tiff(np.stack([deep] * 3, -1), 2, ">"),
        tiff(deep, 0, ">"),
    ):
        for _ in range(40):
            data = bytearray(good)
            for position in (
                *random.integers(0, len(data), 3),
                int(random.integers(0, 60)),
                -int(random.integers(1, 150)),
            ):
                data[position] = int(random.integers(0, 256))
            try:
                assert read_film(bytes(data), "x").grey.dtype == np.uint8
            except FilmUnreadable as error:
                assert str(error).startswith("x: ")
