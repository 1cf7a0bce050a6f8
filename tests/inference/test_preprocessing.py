"""Preprocessing against an independent implementation and against numbers worked out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtclip_edge.errors import ArtefactIncompatible
from mtclip_edge.films.read import read_film
from mtclip_edge.inference.preprocessing import Preprocessing, model_input

CLIP_LIKE = Preprocessing(64, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))


def test_a_uniform_film_is_its_normalised_grey() -> None:
    values = model_input(np.full((90, 70), 51, np.uint8), CLIP_LIKE)
    assert values.shape == (3, 64, 64)
    assert values.dtype == np.float32
    for channel, (mean, std) in enumerate(zip(CLIP_LIKE.mean, CLIP_LIKE.std, strict=True)):
        np.testing.assert_allclose(values[channel], (51 / 255 - mean) / std, rtol=1e-5)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.torch
def test_it_equals_torchvisions_transform(random: np.random.Generator, interpolation: str) -> None:
    from torchvision.transforms import Compose, InterpolationMode, Normalize, Resize, ToTensor

    how = Preprocessing(64, CLIP_LIKE.mean, CLIP_LIKE.std, interpolation)
    grey = random.integers(0, 256, (200, 150), dtype=np.uint8)
    theirs = Compose(
        [Resize((64, 64), InterpolationMode(interpolation)), ToTensor(), Normalize(how.mean, how.std)]
    )
    expected = theirs(Image.fromarray(grey).convert("RGB")).numpy()
    np.testing.assert_allclose(model_input(grey, how), expected, atol=2e-6)


def test_the_whole_film_is_squashed_nothing_is_cropped() -> None:
    grey = np.zeros((64, 128), np.uint8)
    grey[:, :16] = grey[:, -16:] = 255  # what a centre crop would lose
    values = model_input(grey, Preprocessing(64, (0.0,) * 3, (1.0,) * 3))
    assert values[0, :, 0].min() > 0.9
    assert values[0, :, -1].min() > 0.9


def test_a_large_film_takes_the_way_of_its_copy(random: np.random.Generator) -> None:
    """Squashed to 96 pixels by somebody else before, or by us now: the same numbers. Smaller films go straight."""
    how = replace(CLIP_LIKE, via=96)
    grey = random.integers(0, 256, (300, 200), dtype=np.uint8)
    copy = np.asarray(Image.fromarray(grey).resize((96, 96), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(model_input(grey, how), model_input(copy, how))
    np.testing.assert_array_equal(model_input(copy, how), model_input(copy, CLIP_LIKE))
    assert np.abs(model_input(grey, how) - model_input(grey, CLIP_LIKE)).max() > 0.01


def test_it_survives_json() -> None:
    assert Preprocessing.from_dict(CLIP_LIKE.to_dict()) == CLIP_LIKE
    before = {name: value for name, value in CLIP_LIKE.to_dict().items() if name != "via"}
    assert Preprocessing.from_dict(before) == CLIP_LIKE


@pytest.mark.parametrize(
    "bad",
    [{"geometry": "round"}, {"interpolation": "nearest"}, {"size": 0}, {"via": 63}, {"std": [0.1, 0.0, 0.1]}],
)
def test_unknown_numbers_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ArtefactIncompatible):
        Preprocessing.from_dict({**CLIP_LIKE.to_dict(), **bad})


@pytest.mark.realdata
def test_a_full_size_film_and_its_squashed_copy_look_alike(real_data: Path) -> None:
    """The towers see nearly the same numbers; the cosine of the embeddings is tested with the trained tower."""
    full = next((real_data / "openi_format_samples" / "kaggle").rglob("1000_IM-0003-1001.dcm.png"))
    copy = real_data / "openi_frontal" / "images" / "1000_IM-0003-1001.jpg"
    a, b = (model_input(read_film(p).grey, CLIP_LIKE) for p in (full, copy))
    assert np.abs(a - b).mean() < 0.1


@pytest.mark.parametrize("shape", [(300, 200), (200, 301), (224, 224), (97, 640), (1000, 777)])
@pytest.mark.torch
def test_the_crop_is_that_of_open_clip(random: np.random.Generator, shape: tuple[int, int]) -> None:
    """A backbone's own transform: shorter side scaled, centre cropped, as torchvision does it."""
    from open_clip import image_transform
    from PIL import Image

    grey = random.integers(0, 256, shape, dtype=np.uint8)
    how = Preprocessing(224, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), geometry="crop")
    theirs = image_transform(224, is_train=False, mean=how.mean, std=how.std)(
        Image.fromarray(grey).convert("RGB")
    )
    np.testing.assert_allclose(model_input(grey, how), theirs.numpy(), atol=1e-5)
