"""Pictures of more than eight bits are scaled between percentiles, not cut."""

import io

import numpy as np
import pytest
from dicoms import grey
from fuzzing import picture
from PIL import Image

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
