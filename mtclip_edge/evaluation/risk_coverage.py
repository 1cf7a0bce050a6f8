"""The normal/abnormal decision where not every film must be decided: risk against coverage, and what each
verdict is worth.

A decision is abnormal from a logit of 0 on. Its risk is the share of wrong ones; the area under the
risk-coverage curve (AURC) says how well the doubtful films are told from the others: a random order has the
risk of all, small is good.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..evidence.verdict import ABSTAIN, CONFIDENT, VERDICTS, FilmVerdicts
from .metrics import best_aurc, risk_coverage, weighted_aurc, weighted_mean

Array = np.ndarray
CURVE = np.linspace(0.05, 1, 20)  # coverages at which a curve is told


@dataclass(frozen=True)
class Decisions:
    """``labels`` int [films], 0 normal, 1 abnormal, else unknown; ``logit`` float [films]; ``trusted``:
    what a bundle says of them.
    """

    labels: Array
    logit: Array
    trusted: FilmVerdicts | None

    @cached_property
    def labelled(self) -> Array:
        return (self.labels == 0) | (self.labels == 1)

    @cached_property
    def wrong(self) -> Array:
        """1 where a decision is wrong, float [films], NaN where the label is unknown."""
        return np.where(self.labelled, (self.logit >= 0) != (self.labels == 1), np.nan).astype(float)

    @cached_property
    def orders(self) -> dict[str, Array]:
        """What films may be ranked by, float [films] each: how sure the head is, and a bundle's trust."""
        trusts = {"head": np.abs(self.logit)}
        return trusts | ({"trust": self.trusted.trust} if self.trusted else {})

    def means(self) -> Iterator[tuple[str, Array]]:
        """Figures that are means over films: their names and values float [films], NaN where a film is
        not asked.
        """
        yield "risk.all", self.wrong
        if self.trusted is None:
            return
        verdict = self.trusted.verdict
        kept = {
            "decided": verdict != VERDICTS.index(ABSTAIN),
            "confident": verdict == VERDICTS.index(CONFIDENT),
        }
        for name, films in kept.items():
            yield f"risk.{name}", np.where(films, self.wrong, np.nan)
            yield f"coverage.{name}", np.where(self.labelled, films.astype(float), np.nan)

    def area(self, order: str, weight: Array) -> Array:
        """AURC by one of the orders, under float [draws, films]: float [draws]."""
        return weighted_aurc(self.orders[order], self.wrong, weight)

    def bounds(self) -> tuple[float, float | None]:
        """The AURC of a random order, and of one that knows which decisions are wrong."""
        return float(weighted_mean(self.wrong, np.ones((1, len(self.wrong))))[0]), best_aurc(self.wrong)

    def curves(self) -> dict[str, list[float]]:
        """Coverage, and the risk of as many films by each order."""
        columns = {"coverage": [round(float(c), 2) for c in CURVE]}
        for name, order in self.orders.items():
            coverage, risk = risk_coverage(order, self.wrong)
            columns[name] = [round(float(r), 4) for r in np.interp(CURVE, coverage, risk)]
        return columns
