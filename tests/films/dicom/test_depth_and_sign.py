"""Any depth and sign of the values under a header of any other: the film is what its values are."""

import itertools
import struct

import dicoms
import numpy as np
import pytest
from dicoms import cr, written

from mtclip_edge.films.read import read_film


@pytest.fixture
def full(random: np.random.Generator) -> np.ndarray:
    """Sixteen bits, of which the lower eight are a detector's noise: hills, a saturated marker, a black border."""
    y, x = np.mgrid[0:120, 0:100] / 100
    hills = np.sin(5 * x + 1) * np.cos(4 * y) + 0.5 * np.sin(9 * y * x)
    grey = 20 + 200 * (hills - hills.min()) / np.ptp(hills) + random.normal(0, 1, hills.shape)
    values = np.rint(256 * grey).astype(np.int64) + random.integers(-128, 128, grey.shape)
    values[4:10, 4:20], values[:, 95:] = 65535, 0
    return values


def headed(data: bytes, bits: int, signed: bool) -> bytes:
    """The file with another Bits Stored, High Bit and Pixel Representation."""
    for element, value in ((0x0101, bits), (0x0102, bits - 1), (0x0103, int(signed))):
        mark = struct.pack("<HH", 0x0028, element) + b"US\2\0"
        at = data.index(mark) + len(mark)
        data = data[:at] + struct.pack("<H", value) + data[at + 2 :]
    return data


@pytest.mark.parametrize("syntax", [dicoms.EXPLICIT, dicoms.JPEG_LS])
@pytest.mark.parametrize("depth", [9, 10, 12, 14, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_values_are_their_own_measure(full: np.ndarray, depth: int, signed: bool, syntax: str) -> None:
    values = full >> (16 - depth)
    pixels = (values - (1 << (depth - 1))).astype(np.int16) if signed else values.astype(np.uint16)
    data = written(cr(pixels, depth, PixelRepresentation=int(signed)), syntax)
    for said, said_signed in itertools.product((8, 9, 10, 12, 14, 16), (False, True)):
        film = read_film(headed(data, said, said_signed))
        alike = np.corrcoef(film.grey[:, :95].ravel(), np.minimum(full, 57000)[:, :95].ravel())[0, 1]
        assert alike > 0.99, (said, said_signed, film.notes)
        assert film.notes or (said >= depth and (said_signed == signed or not signed)), (said, said_signed)
