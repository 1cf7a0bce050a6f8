"""Grey values against numbers worked out by hand from PS3.3 C.11, and against highdicom where it does the same."""

import numpy as np
import pytest

from mtclip_edge.films.dicom.grayscale import Lut, Rendering, Window, to_grey


def greys(values: list[int], how: Rendering, mode: str = "voi", dtype: str = "int32") -> list[int]:
    return to_grey(np.array([values], dtype), how, mode)[0][0].tolist()


def notes(values: list[int], how: Rendering, mode: str = "voi") -> tuple[str, ...]:
    return to_grey(np.array([values], np.int32), how, mode)[1]


@pytest.mark.parametrize(
    ("window", "values", "expected"),
    [
        # LINEAR, C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5) * 255
        (Window(128, 256), [0, 1, 100, 254, 255], [0, 1, 100, 254, 255]),
        (Window(50, 11), [44, 45, 49, 50, 54, 55], [0, 13, 115, 140, 242, 255]),
        (Window(50, 1), [48, 49, 50, 51], [0, 0, 255, 255]),
        # LINEAR_EXACT, C.11.2.1.3.2: ((x - c) / w + 0.5) * 255
        (Window(50, 10, "LINEAR_EXACT"), [44, 45, 50, 52, 55, 56], [0, 0, 128, 178, 255, 255]),
        # SIGMOID, C.11.2.1.3.1: 255 / (1 + exp(-4 (x - c) / w))
        (Window(50, 10, "SIGMOID"), [40, 45, 50, 55, 60], [5, 30, 128, 225, 250]),
    ],
)
def test_windows(window: Window, values: list[int], expected: list[int]) -> None:
    assert greys(values, Rendering(8, window=window)) == expected


def test_the_window_acts_behind_the_rescale() -> None:
    how = Rendering(8, slope=2, intercept=-100, window=Window(0, 200, "LINEAR_EXACT"))
    assert greys([0, 25, 50, 75, 100], how) == [0, 64, 128, 191, 255]


def test_a_negative_slope_turns_the_film() -> None:
    assert greys(
        [0, 50, 100], Rendering(8, slope=-1, intercept=100, window=Window(50, 100, "LINEAR_EXACT"))
    ) == [255, 128, 0]


def test_signed_values() -> None:
    how = Rendering(12, signed=True, window=Window(0, 4096, "LINEAR_EXACT"))
    assert greys([-2048, -1024, 0, 1024, 2047], how, dtype="int16") == [0, 64, 128, 191, 255]


def test_sixteen_bits_use_their_whole_range() -> None:
    assert greys([0, 32768, 65535], Rendering(16), "minmax", "uint16") == [0, 128, 255]


def test_luts_clip_at_both_ends_and_start_where_they_say() -> None:
    ladder = Lut(10, np.array([0, 16, 64, 255]), 8)
    assert greys([0, 9, 10, 11, 12, 13, 14, 255], Rendering(8, voi=ladder)) == [
        0,
        0,
        0,
        16,
        64,
        255,
        255,
        255,
    ]
    negative = Lut(-2, np.array([0, 1023]), 10)
    assert greys([-3, -2, -1, 5], Rendering(8, signed=True, voi=negative)) == [0, 0, 255, 255]


def test_a_voi_lut_is_scaled_by_its_own_depth_and_goes_before_a_window() -> None:
    twelve = Lut(0, np.arange(0, 4096, 16), 12)
    how = Rendering(8, voi=twelve, window=Window(10, 2))
    assert greys([0, 128, 255], how) == [0, 128, 254]  # 4080 of 4095


def test_a_modality_lut_comes_first() -> None:
    doubled = Lut(0, np.arange(0, 512, 2), 9)
    assert greys([0, 50, 100], Rendering(8, modality=doubled, window=Window(100, 200, "LINEAR_EXACT"))) == [
        0,
        128,
        255,
    ]


def test_more_than_256_entries_of_eight_bits() -> None:
    """Here pydicom's own apply_voi counts in 8 bits and wraps round."""
    long = Lut(0, np.repeat(np.arange(256), 16), 8)
    assert greys([0, 2048, 4095], Rendering(12, voi=long)) == [0, 128, 255]


def test_the_inverse_is_exact_in_every_mode(random: np.random.Generator) -> None:
    stored = random.integers(0, 4096, (50, 60))
    for mode in ("voi", "percentile", "minmax"):
        plain, _ = to_grey(stored, Rendering(12, window=Window(2000, 3000)), mode)
        inverse, _ = to_grey(stored, Rendering(12, window=Window(2000, 3000), inverse=True), mode)
        np.testing.assert_array_equal(inverse, 255 - plain)


def test_percentiles_pass_over_a_few_extremes() -> None:
    stored = np.arange(1000, 2000).reshape(20, 50)
    stored[0, :3], stored[-1, -3:] = 0, 4095  # 0.3 % at each end
    grey, _ = to_grey(stored, Rendering(12), "percentile")
    # the 5th and the 995th of a thousand values: 1004 and 1994
    assert (
        grey.ravel().tolist()
        == np.rint(np.clip((stored.ravel() - 1004) / (1994 - 1004), 0, 1) * 255).tolist()
    )
    assert to_grey(stored, Rendering(12), "minmax")[0][10, 0] == round((stored[10, 0]) / 4095 * 255)


def test_without_a_window_percentiles_serve() -> None:
    stored = np.arange(4096).reshape(64, 64)
    np.testing.assert_array_equal(
        to_grey(stored, Rendering(12))[0], to_grey(stored, Rendering(12), "percentile")[0]
    )


def test_eight_bits_that_were_rendered_before_are_taken_as_they_are() -> None:
    rendered = [0, 3, 60, 128, 200]
    assert greys(rendered, Rendering(8)) == rendered
    assert greys(rendered, Rendering(8, inverse=True)) == [255 - value for value in rendered]
    assert greys(rendered, Rendering(8), "percentile") == [0, 4, 76, 163, 255]
    assert greys([50, 60, 70], Rendering(8)) == [
        0,
        128,
        255,
    ]  # a tenth of the range: not rendered for anybody's eyes
    assert greys(rendered, Rendering(8, slope=2)) == greys(rendered, Rendering(9)) == [0, 4, 76, 163, 255]


@pytest.mark.parametrize(
    ("window", "note"),
    [
        (
            Window(40000, 100),
            "window 40000 ± 100/2 lies outside the film's values 100 to 900; percentiles instead",
        ),
        (
            Window(-500, 100),
            "window -500 ± 100/2 lies outside the film's values 100 to 900; percentiles instead",
        ),
        (Window(50, 100), "window 50 ± 100/2 lies outside the film's values 100 to 900; percentiles instead"),
        (
            Window(5000, 100, "SIGMOID"),
            "window 5000 ± 100/2 lies outside the film's values 100 to 900; percentiles instead",
        ),
        (Window(500, 0), "window 500 ± 0/2 makes no sense; percentiles instead"),
        (Window(500, -3, "LINEAR_EXACT"), "window 500 ± -3/2 makes no sense; percentiles instead"),
        (Window(500, 100, "CUBIC"), "window 500 ± 100/2 makes no sense; percentiles instead"),
        (Window(500, 1e300), "window 500 ± 1e+300/2 makes no sense; percentiles instead"),
    ],
)
def test_a_window_that_cannot_serve_is_ignored_with_a_note(window: Window, note: str) -> None:
    values = list(range(100, 901))
    assert greys(values, Rendering(12, window=window)) == greys(values, Rendering(12), "percentile")
    assert notes(values, Rendering(12, window=window)) == (note,)


def test_a_window_that_touches_the_data_serves() -> None:
    assert notes([100, 500, 900], Rendering(12, window=Window(950, 200))) == ()
    assert greys([100, 500, 900], Rendering(12, window=Window(950, 200, "LINEAR_EXACT"))) == [0, 0, 64]


def test_a_window_is_not_looked_at_in_other_modes() -> None:
    assert notes([100, 900], Rendering(12, window=Window(40000, 100)), "minmax") == ()


def test_padding_is_black_and_counts_for_nothing() -> None:
    how = Rendering(12, padding=(4095, 4095))
    assert greys([100, 200, 300, 4095], how, "minmax") == [0, 128, 255, 0]
    turned = Rendering(12, padding=(4000, 4095), inverse=True)
    assert greys([100, 200, 300, 4000, 4095, 4050], turned, "minmax") == [255, 127, 0, 0, 0, 0]
    backwards = Rendering(12, padding=(10, 0))
    assert greys([0, 5, 10, 11, 21], backwards, "minmax") == [0, 0, 0, 0, 255]


def test_a_window_over_the_padding_alone_lies_outside() -> None:
    assert notes([100, 200, 4095], Rendering(12, window=Window(4090, 20), padding=(4095, 4095)))[0].endswith(
        "100 to 200; percentiles instead"
    )


def test_a_film_of_padding_alone_is_shown_all_the_same() -> None:
    how = Rendering(8, padding=(0, 255))
    assert greys([0, 100, 200], how, "minmax") == [0, 128, 255]
    assert notes([0, 100, 200], how) == ("every pixel is padding by the header; padding ignored",)


def test_a_uniform_film_is_black_not_an_error() -> None:
    for mode in ("voi", "percentile", "minmax"):
        assert greys([7, 7, 7], Rendering(8), mode) == [0, 0, 0]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("signed", [False, True])
def test_windows_are_those_of_highdicom(random: np.random.Generator, function: str, signed: bool) -> None:
    from highdicom.pixels import apply_voi_window

    low = -2048 if signed else 0
    stored = random.integers(low, low + 4096, (40, 50))
    center, width = low + 1700.5, 2100.0
    theirs = apply_voi_window(stored, center, width, function, dtype=np.float64, output_range=(0.0, 255.0))
    ours, _ = to_grey(stored, Rendering(12, signed=signed, window=Window(center, width, function)))
    assert np.abs(ours - theirs).max() <= 0.5 + 1e-6
