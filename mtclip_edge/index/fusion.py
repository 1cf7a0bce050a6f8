"""``query --fuse``: re-score the best reports by how like their own films are to the film asked.

A report's text says what somebody chose to say; its film shows the rest. Where the index knows films of a
report, the most similar one counts too. On the test films of Open-I that raised mAP@10 and nDCG@10 by about
0.01 (docs/results/results.md), so it is there, and off by default.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bundle.records import FuseRecord
from ..errors import WrongOption

Array = np.ndarray
CANDIDATES = 200


@dataclass(frozen=True)
class Fusion:
    """The weight of the films, 0 for none, and why it is that."""

    weight: float
    why: str

    def record(self) -> FuseRecord:
        return FuseRecord(self.weight, self.why)

    def to_dict(self) -> dict[str, Any]:
        return {"weight": self.weight, "why": self.why}


def choose_fusion(wanted: str, tuned: FuseRecord | None) -> Fusion:
    """From ``off``, ``auto`` or a number above 0 and at most 1. Errors: WrongOption."""
    if wanted == "off":
        return Fusion(0.0, "not asked for")
    if wanted == "auto":
        return (
            Fusion(tuned.weight, tuned.why)
            if tuned
            else Fusion(0.0, "this bundle was exported without validation films to choose a weight by")
        )
    try:
        weight = float(wanted)
    except ValueError:
        weight = 0.0
    if not 0 < weight <= 1:
        raise WrongOption(f"--fuse {wanted}", "expected auto, off, or a number above 0 and at most 1")
    return Fusion(weight, "asked for")


def fused(report: Array, film: Array, weight: float) -> Array:
    """Scores float [n] of n candidates: report cosines, and film cosines brought to their mean and spread.

    ``film`` is the likeness of each report's most similar film, NaN where it has none: that one keeps its
    report score.
    """
    with_film = ~np.isnan(film)
    spread = film[with_film].std() if with_film.any() else 0.0
    if spread < 1e-9:
        return report
    scaled = report.mean() + report.std() * (film - film[with_film].mean()) / spread
    return np.where(with_film, (1 - weight) * report + weight * scaled, report)


def most_similar(reports: Sequence[int], owner: Array, likeness: Array) -> Array:
    """For each report row the highest likeness among its films, NaN without one: float [reports].

    ``owner`` int [films] names the report row of each film, ``likeness`` float [films].
    """
    best = dict.fromkeys(reports, -np.inf)
    for row, value in zip(owner.tolist(), likeness.tolist(), strict=True):
        if row in best:
            best[row] = max(best[row], value)
    likest = np.array([best[row] for row in reports])
    return np.where(np.isneginf(likest), np.nan, likest)
