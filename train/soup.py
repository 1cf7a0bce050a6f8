"""Averages the weights of trainings that began alike and differ by their seed: one tower, as fast as any.

Source: Wortsman et al. 2022, model soups (the uniform one). All begin with the same projectors on the same
tower; weights that begin apart have no mean.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mtclip_edge.train.settings import TrainConfig

_APART = 1_000  # seeds of the others, so that two runs of near seeds share none
_MEMBER = "member-"


def members(config: TrainConfig, out: Path | None) -> Iterator[tuple[TrainConfig, Path | None]]:
    """The settings of each training, and the folder of its checkpoint: ``out`` itself for one alone."""
    if config.soup == 1:
        yield config, out
        return
    for number in range(config.soup):
        seeded = replace(config, seed=config.seed + _APART * number)
        yield seeded, out and out / f"{_MEMBER}{number + 1}"


def folders(out: Path) -> list[Path]:
    """Folders of checkpoints below a run's own that are there."""
    return sorted(out.glob(f"{_MEMBER}*"))


def mean(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each weight; what is no fraction (a counter) as the first has it."""
    first = states[0]
    return {
        name: torch.stack([state[name] for state in states]).mean(dim=0)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
    }
