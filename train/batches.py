"""The order in which an epoch goes through its rows."""

import torch
from torch import Tensor


def epoch_order(label: Tensor, balanced: bool) -> Tensor:
    """Row numbers of one epoch, int64 [rows], drawn from torch's generator. ``label`` as in the losses.

    Balanced: as many normal as abnormal rows, spread evenly, so that every batch holds both classes in like numbers; the epoch keeps its
    length, the smaller class is repeated and of the larger a part is left out, another one each time. Unknown rows keep their share.
    """
    normal, abnormal, unknown = ((label.cpu() == code).nonzero().squeeze(1) for code in (0, 1, -1))
    if not balanced or not len(normal) or not len(abnormal):
        return torch.randperm(len(label))
    half = (len(normal) + len(abnormal)) // 2
    parts = [_drawn(normal, half), _drawn(abnormal, len(normal) + len(abnormal) - half), _drawn(unknown, len(unknown))]
    place = torch.cat([(torch.arange(len(part)) + torch.rand(len(part))) / max(1, len(part)) for part in parts])
    return torch.cat(parts)[place.argsort()]


def _drawn(rows: Tensor, count: int) -> Tensor:
    """``count`` of some rows in random order; each is used again only after all the others."""
    if not count:
        return rows[:0]
    rounds = -(-count // len(rows))
    return torch.cat([rows[torch.randperm(len(rows))] for _ in range(rounds)])[:count]
