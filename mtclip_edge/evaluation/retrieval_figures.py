"""Figures of films against reports, both ways: precision by label and finding, graded likeness, and a film's
own report among all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .bootstrap import Figure, Measure
from .metrics import (
    average_precision_at,
    ceiling_recall_at,
    chance_recall_at,
    first_hit_rank,
    ndcg_at,
    precision_at,
    weighted_mean,
    weighted_median,
)
from .model_on_cases import ModelOnCases

Array = np.ndarray
KS = (1, 5, 10)
DIRECTIONS = ("film_to_report", "report_to_film")


@dataclass(frozen=True)
class RetrievalFigures(ModelOnCases):
    """The retrieval figures of one model on some cases."""

    def precisions(self, ks: Sequence[int] = KS, view: str | None = None) -> list[Measure]:
        """Precision by class; chance is a random order, and a constant answer has a macro mean of 0.5 too."""
        if self.scores is None:
            return []
        label, labels = self._asked(view), self.cases.report_labels
        labelled = (labels >= 0).sum(axis=1)
        share = np.divide(
            (labels == 1).sum(axis=1), labelled, out=np.full(len(label), np.nan), where=labelled > 0
        )
        measures = []
        for k in ks:
            value = precision_at(self.scores, label, labels, k)
            parts = {"normal": (0, 1 - share), "abnormal": (1, share)}
            by_class = {
                name: (np.where(label == code, value, np.nan), chance)
                for name, (code, chance) in parts.items()
            }
            for name, (values, chance) in by_class.items():
                measures.append(self._mean(f"precision@{k}.{name}", values, view, chance))
            measures.append(
                self._mean(f"precision@{k}.micro", value, view, np.where(label == 1, share, 1 - share))
            )
            normal, abnormal = by_class["normal"][0], by_class["abnormal"][0]
            figure = Figure(
                f"precision@{k}.macro", f"view {view}" if view else "all", None, chance=0.5, ceiling=1.0
            )
            figure = replace(figure, studies=self._studies(~np.isnan(value)))
            measures.append(Measure(figure, _mean_of_both(normal, abnormal)))
        return measures

    def gradings(self) -> list[Measure]:
        """mAP@10 by label, and nDCG@10 graded by the likeness of finding sets."""
        if self.scores is None:
            return []
        cases, labels = self.cases, self.cases.report_labels
        same = labels == cases.labels[:, None]
        measures = []
        if (cases.labels >= 0).any():
            value = average_precision_at(self.scores, same, 10, labels >= 0)
            measures.append(self._mean("map@10", np.where(cases.labels >= 0, value, np.nan)))
        if cases.findings:
            gain, allowed = np.nan_to_num(cases.gains), cases.foreign & ~np.isnan(cases.gains)
            chance = _expected_ndcg(gain, allowed)
            measures.append(self._mean("ndcg@10", ndcg_at(self.scores, gain, 10, allowed), chance=chance))
        return measures

    def per_finding(self) -> list[Measure]:
        """For each finding: of the first ten reports for a film that has it, the share that names it.

        A finding that no report names (two sources rarely spell alike) has no figure.
        """
        if self.scores is None:
            return []
        measures = []
        for column, name in enumerate(self.cases.findings):
            having = self.cases.film_findings[:, column]
            carriers, allowed = self.cases.carriers(name), self.cases.foreign
            count, there = (carriers & allowed).sum(axis=1), np.maximum(allowed.sum(axis=1), 1)
            if not count[having].any():
                continue
            value = precision_at(
                self.scores, np.where(having, 1, -1), np.where(allowed, carriers, -1).astype(int), 10
            )
            measure = self._mean(f"finding@10.{name}", value, None, count / there)
            ceiling = float((np.minimum(count, 10) / np.minimum(there, 10))[having].mean())
            measures.append(replace(measure, figure=replace(measure.figure, ceiling=ceiling)))
        return measures

    def recalls(self, subset: str) -> list[Measure]:
        """A film's own report among all, and a report's own films; twins are one entry and hits.

        ``abnormal`` searches abnormal studies alone; ``fresh`` leaves out what stands verbatim in train, as
        query and as answer.
        """
        films, reports = self._subset(subset)
        if (
            self.scores is None
            or self.cosines is None
            or (subset == "fresh" and films.all() and reports.all())
        ):
            return []
        asked = np.ix_(films, reports)
        score, cosine, own = self.scores[asked], self.cosines[asked], self.cases.own_report[asked]
        asked_films, asked_reports = own.any(axis=1), own.any(axis=0)
        if not own.any():
            return []
        forth, back = (
            _spread(first_hit_rank(score, own), films),
            _spread(first_hit_rank(cosine.T, own.T), reports),
        )
        forth[~_spread(asked_films, films, False)] = np.nan
        back[~_spread(asked_reports, reports, False)] = np.nan
        studies = self._studies(~np.isnan(forth)), int((~np.isnan(back)).sum())
        measures = []
        for name, rank, positive, count in zip(
            DIRECTIONS, (forth, back), (own[asked_films], own.T[asked_reports]), studies, strict=True
        ):
            for k in KS:
                figure = Figure(
                    f"recall@{k}.{name}",
                    subset,
                    None,
                    None,
                    None,
                    chance_recall_at(positive, k),
                    ceiling_recall_at(positive, k),
                    count,
                )
                measures.append(Measure(figure, _of(name, weighted_mean, _within(rank, k))))
            measures.append(
                Measure(
                    Figure(
                        f"median_rank.{name}",
                        subset,
                        None,
                        chance=_median_chance(positive),
                        ceiling=1.0,
                        studies=count,
                    ),
                    _of(name, weighted_median, rank),
                )
            )
        measures.append(_rsum(measures, subset))
        gap = Figure("balance_gap@10", subset, None, chance=0.0, ceiling=0.0, studies=min(studies))
        a, b = _within(forth, 10), _within(back, 10)
        measures.append(Measure(gap, lambda f, r: weighted_mean(a, f) - weighted_mean(b, r)))
        return measures


def _rsum(measures: Sequence[Measure], subset: str) -> Measure:
    """The sum of Recall@1, 5 and 10 both ways in percent, 0 to 600 (Faghri et al. 2018 and after)."""
    recalls = [m for m in measures if m.figure.name.startswith("recall@")]

    def total(name: str) -> float | None:
        values = [getattr(m.figure, name) for m in recalls]
        return None if None in values else 100 * sum(values)

    figure = Figure(
        "rsum",
        subset,
        None,
        chance=total("chance"),
        ceiling=total("ceiling"),
        studies=min(m.figure.studies for m in recalls),
    )
    return Measure(figure, lambda f, r: 100 * np.sum([m.draw(f, r) for m in recalls], axis=0))


def _of(
    direction: str, statistic: Callable[[Array, Array], Array], values: Array
) -> Callable[[Array, Array], Array]:
    """A statistic of films' or of reports' values, by direction."""
    return (
        (lambda f, _: statistic(values, f))
        if direction == DIRECTIONS[0]
        else (lambda _, r: statistic(values, r))
    )


def _within(rank: Array, k: int) -> Array:
    return np.where(np.isnan(rank), np.nan, rank <= k)


def _mean_of_both(normal: Array, abnormal: Array) -> Callable[[Array, Array], Array]:
    """The mean of two classes' weighted means, as a measure of films' (and reports') weights."""
    return lambda films, _: (weighted_mean(normal, films) + weighted_mean(abnormal, films)) / 2


def _spread(values: Array, keep: Array, empty: Any = np.nan) -> Array:
    """Values of the kept places in an array of all places."""
    full = np.full(len(keep), empty, dtype=np.result_type(values.dtype, type(empty)))
    full[keep] = values
    return full


def _median_chance(positive: Array) -> float | None:
    """Median rank that a random order gives to the first of m positives among n, averaged over queries: n
    (1 - 2^(-1/m)) roughly.
    """
    count = positive.sum(axis=1)
    return (
        float(np.median(np.maximum(1, positive.shape[1] * (1 - 0.5 ** (1 / count[count > 0])))))
        if (count > 0).any()
        else None
    )


def _expected_ndcg(gain: Array, allowed: Array) -> Array:
    """What a random order gives each query: its mean gain in every place."""
    k = min(10, gain.shape[1])
    discount = 1 / np.log2(np.arange(2, k + 2))
    count = allowed.sum(axis=1)
    mean = np.divide((gain * allowed).sum(axis=1), count, out=np.zeros(len(gain)), where=count > 0)
    ideal = -np.sort(-np.where(allowed, gain, 0.0), axis=1)[:, :k] @ discount
    return np.divide(mean * discount.sum(), ideal, out=np.full(len(gain), np.nan), where=ideal > 0)
