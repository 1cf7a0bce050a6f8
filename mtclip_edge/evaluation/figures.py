"""All figures of films against reports, both ways, with intervals: a run, a bundle, a baseline and the export
gate share it.

Every figure is a function of how often each patient counts. Once each gives the figure; a bootstrap over
patients (1,000 draws with replacement) gives its 95 % interval; the same draws for two models give the
interval of their difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .bootstrap import Bootstrapped, Figure, Measure, drawn
from .cases import Cases
from .head_figures import HeadFigures
from .model_on_cases import ModelOutput
from .retrieval_figures import DIRECTIONS, KS, RetrievalFigures

Array = np.ndarray
DRAWS, SEED = 1000, 0


@dataclass(frozen=True)
class Judged(HeadFigures, RetrievalFigures):
    """One model on some cases. ``known``: ids of the reports that stand verbatim in train."""

    def draw(self, draws: int = DRAWS, seed: int = SEED) -> list[Bootstrapped]:
        """Every figure with its interval."""
        return self.drawn(self.measures(), draws, seed)

    def drawn(self, measures: Sequence[Measure], draws: int = DRAWS, seed: int = SEED) -> list[Bootstrapped]:
        """Some of the figures with their intervals."""
        films, reports = self._weights(draws, seed)
        return [drawn(measure, films, reports) for measure in measures]

    def control(self, draws: int = DRAWS, seed: int = SEED) -> list[Bootstrapped]:
        """Every figure again with films dealt to reports and labels at random, by ``seed``: what a model that
        knows nothing has on these cases. A figure that is not near its chance here is wrongly computed.
        """
        order = np.random.default_rng(seed).permutation(len(self.cases.films))
        return type(self)(self.cases, self.embedded.dealt(order), self.train_reports).draw(draws, seed)

    def summary(self) -> dict[str, Any]:
        """The few figures that choose an epoch and describe a run, without intervals; None for what
        cannot be computed.
        """
        one = np.ones((1, len(self.cases.films))), np.ones((1, len(self.cases.reports)))
        figures = {
            m.figure.name: drawn(m, *one).figure
            for m in (*self.head(), *self.precisions((10,)), *self.recalls("all"))
        }
        rows = {
            name: {f"recall@{k}": _recall_row(figures.get(f"recall@{k}.{name}")) for k in KS}
            for name in DIRECTIONS
        }
        precision = {
            part: _value(figures.get(f"precision@10.{part}")) for part in ("macro", "normal", "abnormal")
        }
        return {
            "films": len(self.cases.films),
            "reports": len(self.cases.reports),
            "auroc": _value(figures.get("auroc")),
            "precision@10": precision if any(value is not None for value in precision.values()) else None,
            **{name: row if row["recall@1"] else None for name, row in rows.items()},
        }

    def measures(self) -> list[Measure]:
        recalls = [measure for subset in ("all", "abnormal", "fresh") for measure in self.recalls(subset)]
        views = [
            measure for view in self._views for measure in (*self.head(view), *self.precisions((10,), view))
        ]
        decisions = self.selective()
        return [
            *self.head(),
            *decisions,
            *self.precisions(),
            *self.gradings(),
            *self.by_cosine(),
            *recalls,
            *self.prefixes(),
            *views,
            *self.per_finding(),
        ]

    def by_cosine(self) -> list[Measure]:
        """What re-ranking changes, in the order of before; nothing where nothing was re-ranked."""
        if self.embedded.score is None or self.embedded.report is None:
            return []
        plain = Judged(self.cases, replace(self.embedded, score=None), self.train_reports)
        changed = [m for m in plain.recalls("all") if m.figure.name.endswith(f".{DIRECTIONS[0]}")]
        every = (*plain.precisions(), *plain.gradings(), *changed)
        return [replace(m, figure=replace(m.figure, subset="by cosine")) for m in every]

    def prefixes(self) -> list[Measure]:
        """Macro P@10 and Recall@10 of embeddings cut to their first numbers."""
        measures = []
        for dim in self.embedded.prefixes:
            cut = Judged(self.cases, self.embedded.first(dim))
            every = (*cut.precisions((10,)), *cut.recalls("all"))
            wanted = [m for m in every if m.figure.name.startswith(("precision@10.macro", "recall@10"))]
            measures += [replace(m, figure=replace(m.figure, subset=f"first {dim}")) for m in wanted]
        return measures


def evaluate(cases: Cases, film: Array, logit: Array | None, report: Array | None) -> dict[str, Any]:
    """The summary of a model's embeddings of some cases."""
    return Judged(cases, ModelOutput(film, logit, report)).summary()


def selection_score(result: dict[str, Any]) -> float | None:
    """One figure to choose an epoch by: the mean of AUROC, macro P@10 and Recall@10 both ways, of those
    that could be computed.
    """
    precision, forth, back = result["precision@10"], result["film_to_report"], result["report_to_film"]
    values = [
        result["auroc"],
        precision and precision["macro"],
        forth and forth["recall@10"]["value"],
        back and back["recall@10"]["value"],
    ]
    computed = [value for value in values if value is not None]
    return sum(computed) / len(computed) if computed else None


def _value(figure: Figure | None) -> float | None:
    return figure.value if figure else None


def _recall_row(figure: Figure | None) -> dict[str, float | None] | None:
    return (
        {"value": figure.value, "chance": figure.chance, "lift": figure.lift, "ceiling": figure.ceiling}
        if figure
        else None
    )
