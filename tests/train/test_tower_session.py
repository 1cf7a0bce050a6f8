"""onnxruntime takes a frozen tower's place where it gives the same sooner; else torch goes on, and says why."""

import numpy as np
import pytest
import torch
from torch import nn

from mtclip_edge.errors import ExtraMissing
from mtclip_edge.train import tower_session
from mtclip_edge.train.tower_session import FEW, FrozenTower, film_session

CPU = torch.device("cpu")
SIZE = 64


class Small(nn.Module):
    """A convolution with BatchNorm, ReLU and a pool: what a graph folds and fuses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU6(), nn.AdaptiveAvgPool2d(1)
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.layers(pixels).flatten(1)


@pytest.fixture
def tower() -> Small:
    return Small().eval().requires_grad_(False)


@pytest.fixture
def films(random: np.random.Generator) -> np.ndarray:
    return random.normal(0, 1, (FEW + 24, 3, SIZE, SIZE)).astype(np.float32)


@pytest.fixture
def slow_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch takes longer by the clock, whatever this machine does."""
    timed = tower_session._timed

    def longer(run, pixels):
        seconds, features = timed(run, pixels)
        return seconds + (100 if run.__name__ == "_torch" else 0), features

    monkeypatch.setattr(tower_session, "_timed", longer)


def run(tower: FrozenTower, films: np.ndarray, batch: int = 8) -> np.ndarray:
    return np.concatenate([tower(films[i : i + batch]) for i in range(0, len(films), batch)])


def expected(tower: nn.Module, films: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return tower(torch.from_numpy(films)).numpy()


def test_a_session_gives_what_torch_gives_for_any_batch(tower: Small, films: np.ndarray) -> None:
    session = film_session(tower, SIZE)
    for count in (1, 8, 19):
        np.testing.assert_allclose(session(films[:count]), expected(tower, films[:count]), atol=1e-5)


def test_it_takes_over_after_the_first_films(tower: Small, films: np.ndarray, slow_torch: None) -> None:
    said: list[str] = []
    frozen = FrozenTower(tower, CPU, said.append)
    run(frozen, films[:FEW])
    assert frozen.session is None and not said
    np.testing.assert_allclose(run(frozen, films[FEW:]), expected(tower, films[FEW:]), atol=1e-5)
    assert frozen.session is not None and len(said) == 1
    assert "film features by onnxruntime: " in said[0] and "apart on 8 films" in said[0]
    with torch.no_grad():
        tower.layers[0].weight.zero_()  # torch's tower has no part in it any more
    assert np.abs(frozen(films[:8])).max() > 0.1


def test_other_numbers_are_not_taken(
    tower: Small, films: np.ndarray, slow_torch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        tower_session, "film_session", lambda tower, size: lambda pixels: expected(tower, pixels) * 1.001
    )
    said: list[str] = []
    frozen = FrozenTower(tower, CPU, said.append)
    np.testing.assert_allclose(run(frozen, films), expected(tower, films), atol=1e-5)
    assert frozen.session is None
    assert said[0].startswith("film features by torch: onnxruntime's differ by ") and len(said) == 1


def test_a_slower_one_is_not_taken(tower: Small, films: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([3.0, 1.0])
    monkeypatch.setattr(tower_session, "_timed", lambda run, pixels: (next(times), run(pixels)))
    said: list[str] = []
    frozen = FrozenTower(tower, CPU, said.append)
    run(frozen, films)
    assert said == ["film features by torch: onnxruntime takes 3.0 times as long"] and frozen.session is None


def test_without_onnxruntime_torch_goes_on(
    tower: Small, films: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(requested: str) -> None:
        raise ExtraMissing("onnxruntime is not installed")

    monkeypatch.setattr(tower_session, "choose", missing)
    said: list[str] = []
    np.testing.assert_allclose(
        run(FrozenTower(tower, CPU, said.append), films), expected(tower, films), atol=1e-5
    )
    assert said == ["film features by torch: onnxruntime cannot (onnxruntime is not installed)"]


@pytest.mark.parametrize("backbone", ["tiny_backbone", "clip_backbone", "hf_clip", "hf_siglip"])
def test_other_layouts_give_the_same(
    backbone: str, request: pytest.FixtureRequest, random: np.random.Generator
) -> None:
    from mtclip_edge.train.backbones.backbone import load_backbone

    loaded = load_backbone(str(request.getfixturevalue(backbone)))
    size = loaded.preprocessing.size
    pixels = random.normal(0, 1, (5, 3, size, size)).astype(np.float32)
    session = film_session(loaded.film_tower, size)
    np.testing.assert_allclose(session(pixels), expected(loaded.film_tower, pixels), atol=1e-4, rtol=1e-3)


class Strange(Small):
    """An operator that ONNX does not have."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(super().forward(pixels))


def test_what_cannot_be_exported_stays_with_torch(films: np.ndarray) -> None:
    said: list[str] = []
    tower = Strange().eval()
    np.testing.assert_allclose(
        run(FrozenTower(tower, CPU, said.append), films), expected(tower, films), atol=1e-5
    )
    assert len(said) == 1 and said[0].startswith("film features by torch: onnxruntime cannot (")
