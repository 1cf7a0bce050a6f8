"""Heads of findings that help while the film side is trained, and are gone from what is kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mtclip_edge.errors import WrongOption
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.studies import Film, Study
from mtclip_edge.train.finding_heads import FEWEST, FindingHeads
from mtclip_edge.train.loop import Fit
from mtclip_edge.train.projector import ProjectorShape
from mtclip_edge.train.run import CHECKPOINT, load_tensors
from mtclip_edge.train.settings import TrainConfig
from mtclip_edge.train.split_tensors import Table

CPU = torch.device("cpu")
SHAPE = ProjectorShape(8, 4, 16, 6, residual=False, dropout=0.1)


def study(number: int, label: str, *named: str) -> Study:
    film = Film(Path(f"{number}.png"), f"{number}.png")
    return Study(f"s{number}", f"p{number}", (film,), label=label, finding_labels=named)


def table(studies: list[Study], seed: int = 0) -> Table:
    """Film features whose second number tells effusion."""
    random = np.random.default_rng(seed)
    film = torch.tensor(random.normal(0, 1, (len(studies), 8)), dtype=torch.float32)
    film[:, 1] += torch.tensor([3.0 * ("Effusion" in one.finding_labels) for one in studies])
    label = torch.tensor([{"normal": 0, "abnormal": 1, "unknown": -1}[one.label] for one in studies])
    nothing = torch.full((len(studies),), -1)
    return Table(Cases.of(studies), film, torch.zeros(0, 4), nothing, label, ())


def mixed() -> list[Study]:
    kinds = [("abnormal", "Effusion"), ("abnormal", "Mass"), ("normal", "No Finding"), ("unknown",)]
    return [study(i, *kinds[i % 4]) for i in range(4 * FEWEST)]


def test_who_has_what() -> None:
    heads = FindingHeads(table([*mixed(), study(999, "abnormal", "Rare", "Mass")]), 6)
    assert heads.names == ("Effusion", "Mass")
    assert heads.wanted[:4].tolist() == [[1, 0], [0, 1], [0, 0], [-1, -1]]
    assert heads.wanted[-1].tolist() == [0, 1]  # a finding too rare for a head leaves the others known


def test_the_loss_by_hand() -> None:
    heads = FindingHeads(table(mixed()), 6)
    torch.nn.init.zeros_(heads.heads.weight)
    with torch.no_grad():
        heads.heads.bias.copy_(torch.tensor([0.0, 2.0]))
    film = torch.nn.functional.normalize(torch.ones(3, 6), dim=1)
    # rows: effusion, unknown (masked), normal
    found = heads.loss(film, torch.tensor([0, 3, 2]))
    p = 1 / (1 + np.exp(-2.0))
    assert found.item() == pytest.approx(-(2 * np.log(0.5) + 2 * np.log(1 - p)) / 4, rel=1e-5)
    assert heads.loss(film[:1], torch.tensor([3])).item() == 0.0


def fit(**more: object) -> Fit:
    config = TrainConfig(**{"epochs": 8, "batch_size": 20, "lr": 5e-3, "dropout": 0.1, "clip": 0.0, **more})
    return Fit(config, SHAPE, 14.0, table(mixed()), table(mixed(), 1), CPU)


def test_the_heads_learn_and_are_not_kept(tmp_path: Path) -> None:
    done = fit(findings=1.0).run(tmp_path, False, lambda _: None)
    losses = [entry["train"]["findings"] for entry in done.history]
    assert losses[-1] < losses[0] - 0.05
    assert set(done.best) == set(fit().space.state_dict())
    assert set(fit().run(None, False, lambda _: None).history[0]["train"]) == {"supcon", "bce", "loss"}


def test_they_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    whole = fit(findings=1.0).run(None, False, lambda _: None)

    def stop(line: str) -> None:
        if line.startswith("epoch 3/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(findings=1.0).run(tmp_path, False, stop)
    assert any(name.startswith("findings/") for name in load_tensors(tmp_path / CHECKPOINT)[0])
    again = fit(findings=1.0).run(tmp_path, True, lambda _: None)
    for name, weight in whole.finding_weights().items():
        torch.testing.assert_close(again.finding_weights()[name], weight, rtol=0, atol=0)
    for name, weight in whole.best.items():
        torch.testing.assert_close(again.best[name], weight, rtol=0, atol=0)


def test_a_set_without_findings_is_refused() -> None:
    bare = table([replace(one, finding_labels=()) for one in mixed()])
    with pytest.raises(WrongOption, match="no finding has 20 films in train"):
        Fit(TrainConfig(findings=1.0, clip=0.0), SHAPE, 14.0, bare, bare, CPU)
