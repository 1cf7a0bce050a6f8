"""What films store beyond their grey, read here and in the isolated process."""

import io
from pathlib import Path

import numpy as np
import pytest
from dicoms import cr, lut, written
from PIL import Image

from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.films.read import read_values
from mtclip_edge.films.values import spread
from mtclip_edge.films.worker import DecodeWorkers


def test_dicom_values_with_their_own_window(deep: np.ndarray) -> None:
    data = written(
        cr(
            deep,
            WindowCenter=700,
            WindowWidth=400,
            VOILUTFunction="SIGMOID",
            RescaleSlope=0.5,
            RescaleIntercept=10,
        )
    )
    found = read_values(data, "film")
    np.testing.assert_array_equal(found.values, deep)
    assert (found.slope, found.intercept, found.center, found.width, found.function) == (
        0.5,
        10,
        700,
        400,
        "SIGMOID",
    )
    assert found.range == (deep.min() * 0.5 + 10, deep.max() * 0.5 + 10)


@pytest.mark.parametrize(
    "fields", [{}, {"WindowCenter": 60000, "WindowWidth": 10}, {"WindowCenter": 5, "WindowWidth": 0}]
)
def test_without_a_window_that_serves_robust_percentiles(deep: np.ndarray, fields: dict) -> None:
    found = read_values(written(cr(deep, **fields)), "film")
    low, high = found.center - found.width / 2, found.center + found.width / 2
    assert low < np.percentile(deep, 5) and high > np.percentile(deep, 95)
    assert deep.min() <= low and high <= deep.max()


def test_the_least_value_is_white_where_the_header_says_so(deep: np.ndarray) -> None:
    assert read_values(written(cr(deep, PhotometricInterpretation="MONOCHROME1")), "film").inverse
    assert not read_values(written(cr(deep)), "film").inverse


def test_signed_values_begin_at_zero(deep: np.ndarray) -> None:
    signed = deep.astype(np.int16) - 1000
    found = read_values(written(cr(signed)), "film")
    np.testing.assert_array_equal(found.values * found.slope + found.intercept, signed)


def test_a_modality_lut_is_applied(deep: np.ndarray) -> None:
    table = lut(0, [4 * n for n in range(4096)], 14)
    found = read_values(written(cr(deep, bits=12, ModalityLUTSequence=table)), "film")
    np.testing.assert_array_equal(found.values * found.slope + found.intercept, 4 * deep.astype(int))


def test_a_deep_picture(deep: np.ndarray) -> None:
    out = io.BytesIO()
    Image.fromarray(deep).save(out, "PNG")
    found = read_values(out.getvalue(), "film")
    np.testing.assert_array_equal(found.values * found.slope + found.intercept, deep)
    assert not found.inverse


@pytest.mark.parametrize(
    "values",
    [np.array([[0.25, 1.5], [np.nan, 2.0]]), np.array([[0.0, 1e6], [5e5, 1.0]]), np.full((2, 2), 7.0)],
)
def test_numbers_of_any_range_in_steps(values: np.ndarray) -> None:
    found = spread(values, False)
    there = np.isfinite(values)
    step = max(np.ptp(values[there]), 0) / 65535
    np.testing.assert_allclose(
        (found.values * found.slope + found.intercept)[there], values[there], atol=step
    )
    assert found.values.dtype == np.uint16 and found.width >= 1


def test_pictures_of_8_bits_and_broken_files_have_none(deep: np.ndarray, tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.fromarray((deep >> 4).astype(np.uint8)).save(out, "PNG")
    with pytest.raises(FilmUnreadable, match="no more than its 8-bit grey"):
        read_values(out.getvalue(), "film")
    for data in (out.getvalue()[:200], written(cr(deep))[:-500]):
        with pytest.raises(FilmUnreadable):
            read_values(data, "film")
    colours = cr(np.zeros((8, 8, 3), np.uint8), PhotometricInterpretation="RGB", PlanarConfiguration=0)
    with pytest.raises(FilmUnreadable, match="colours"):
        read_values(written(colours), "film")


def test_the_isolated_process_gives_the_same(deep: np.ndarray) -> None:
    data = written(cr(deep, WindowCenter=700, WindowWidth=400))
    workers = DecodeWorkers()
    try:
        here, there = read_values(data, "film"), workers.values(data, "film")
        np.testing.assert_array_equal(here.values, there.values)
        assert here.to_dict() == there.to_dict()
        with pytest.raises(FilmUnreadable):
            workers.values(b"\x89PNG\r\n\x1a\nbroken", "film")
    finally:
        workers.close()
