"""Several trainings from the same weights, and the mean of what they end with."""

from pathlib import Path

import pytest
import torch

from mtclip_edge.errors import WrongOption
from mtclip_edge.train.run import load_run, load_tensors
from mtclip_edge.train.settings import TUNED, TrainConfig
from mtclip_edge.train.soup import folders, mean, members
from mtclip_edge.train.training import train


def test_the_mean_of_weights() -> None:
    one = {"a": torch.tensor([1.0, 2.0]), "count": torch.tensor(3)}
    other = {"a": torch.tensor([3.0, 6.0]), "count": torch.tensor(9)}
    found = mean([one, other])
    assert found["a"].tolist() == [2.0, 4.0] and int(found["count"]) == 3


def test_one_alone_is_as_ever(tmp_path: Path) -> None:
    assert list(members(TrainConfig(seed=4), tmp_path)) == [(TrainConfig(seed=4), tmp_path)]
    several = list(members(TrainConfig(unfreeze="2", soup=3, seed=4), tmp_path))
    assert [config.seed for config, _ in several] == [4, 1004, 2004]
    assert len({folder for _, folder in several}) == 3


def test_weights_that_begin_apart_have_no_mean() -> None:
    with pytest.raises(WrongOption, match="soup"):
        TrainConfig(soup=3)
    with pytest.raises(WrongOption, match="soup"):
        TrainConfig(soup=3, unfreeze="2", heads_first=False)


def settings(backbone: Path, **more: object) -> TrainConfig:
    given = {"unfreeze": "1", "backbone": str(backbone), "epochs": 2, "batch_size": 16, "device": "cpu"}
    return TrainConfig(**{**TUNED, **given, **more})


def test_the_run_is_the_mean_and_an_interrupted_one_ends_alike(
    source: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        said: list[str] = []
        train(settings(tiny_backbone, soup=2), [str(source)], tmp_path / "soup", say=said.append)
        told = 0

        def stop(line: str) -> None:
            nonlocal told
            told += line.startswith("epoch 1/")
            if told == 2:  # in the second training
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(settings(tiny_backbone, soup=2), [str(source)], tmp_path / "broken", say=stop)
        assert len(folders(tmp_path / "broken")) == 2
        train(settings(tiny_backbone, soup=2), [str(source)], tmp_path / "broken", resume=True)
        for seed in (0, 1000):
            train(settings(tiny_backbone, seed=seed), [str(source)], tmp_path / str(seed))
    finally:
        torch.set_num_threads(threads)
    assert any(line.startswith("the mean of 2 trainings: epoch 3/") for line in said)
    for name in ("weights.safetensors", "tower.safetensors"):
        assert (tmp_path / "soup" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()
    assert not folders(tmp_path / "soup") and not folders(tmp_path / "broken")
    run = load_run(tmp_path / "soup")
    assert (run.record.config.settings["soup"], run.record.best_epoch, run.record.epochs_run) == (2, 3, 3)
    # The first of them is the training of its seed; the second began with the first one's projectors.
    tower, first = (load_tensors(tmp_path / name / "tower.safetensors")[0] for name in ("soup", "0"))
    moved = [name for name, weight in tower.items() if not torch.equal(weight, first[name])]
    assert moved and len(moved) < len(tower)  # the last block and what follows, no more
