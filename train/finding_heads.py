"""Heads beside the abnormal one, a finding each: they help the film side while it is trained and go then.

A finding that fewer than ``FEWEST`` films of train have gets no head. Films of a study that is labelled
normal have none of the findings; those of a study without a label and without findings count for no head.
"""

from collections import Counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtclip_edge.studies import LABEL_CODES, Study

from .split_tensors import Table

FEWEST = 20
_NOTHING = ("No Finding", "normal")


class FindingHeads(nn.Module):
    """Logits of each finding from unit film embeddings, and what they should be.

    ``wanted`` int8 [rows of train, findings]: 1 has it, 0 has not, -1 unknown.
    """

    def __init__(self, train: Table, dim: int):
        """Errors: ValueError where no finding has films enough."""
        super().__init__()
        films = Counter(name for study in train.cases.studies for name in _named(study))
        self.names = tuple(sorted(name for name, count in films.items() if count >= FEWEST))
        if not self.names:
            raise ValueError(f"no finding has {FEWEST} films in train")
        column = {name: i for i, name in enumerate(self.names)}
        self.wanted = torch.full((len(train.label), len(column)), -1, dtype=torch.int8)
        for row, study in enumerate(train.cases.studies):
            named = _named(study)
            if named or study.label == "normal":
                self.wanted[row] = 0
                self.wanted[row, [column[name] for name in named if name in column]] = 1
        self.scale = dim**0.5
        self.heads = nn.Linear(dim, len(column))

    def loss(self, film: Tensor, rows: Tensor) -> Tensor:
        """Mean binary cross-entropy of unit embeddings [batch, dim] of some rows of train; 0 where none of
        them is known.
        """
        wanted = self.wanted[rows.cpu()].to(film.device)
        known = wanted[:, 0] >= 0
        if not bool(known.any()):
            return film.new_zeros(())
        logits: Tensor = self.heads(film[known] * self.scale)
        return F.binary_cross_entropy_with_logits(logits, wanted[known].to(logits.dtype))


def _named(study: Study) -> set[str]:
    if LABEL_CODES[study.label] == 0:
        return set()
    return set(study.finding_labels) - set(_NOTHING)
