"""All figures of films against reports, both ways, with intervals: a run, a bundle, a baseline and the export
gate share it.

Every figure is a function of how often each patient counts. Once each gives the figure; a bootstrap over
patients (1,000 draws with replacement) gives its 95 % interval; the same draws for two models give the
interval of their difference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..evidence.calibration import Calibration, sigmoid
from ..evidence.verdict import FilmVerdicts
from .bootstrap import ANECDOTE, Bootstrapped, Figure, Measure, drawn
from .cases import Cases
from .metrics import (
    average_precision_at,
    ceiling_recall_at,
    chance_recall_at,
    first_hit_rank,
    ndcg_at,
    precision_at,
    weighted_auroc,
    weighted_average_precision,
    weighted_calibration_error,
    weighted_mean,
    weighted_median,
)
from .risk_coverage import Decisions

Array = np.ndarray
KS = (1, 5, 10)
DRAWS, SEED = 1000, 0
DIRECTIONS = ("film_to_report", "report_to_film")


@dataclass(frozen=True)
class ModelOutput:
    """What a model makes of the cases: unit vectors float32 [films, dim] and [reports, dim], logits float32
    [films].

    None where the model has no such part; ``calibration`` is what was fitted on validation.
    """

    film: Array
    logit: Array | None
    report: Array | None
    calibration: Calibration | None = None
    score: Array | None = None  # float [films, reports] instead of the cosines
    prefixes: tuple[int, ...] = ()  # widths whose first numbers serve alone
    trusted: FilmVerdicts | None = None  # what a bundle says of each film

    def first(self, dim: int) -> "ModelOutput":
        """The same with the first numbers of each vector only, without the head, which reads them all."""
        report = None if self.report is None else _unit(self.report[:, :dim])
        return ModelOutput(_unit(self.film[:, :dim]), None, report)


@dataclass(frozen=True)
class Judged:
    """One model on some cases. ``known``: ids of the reports that stand verbatim in train."""

    cases: Cases
    embedded: ModelOutput
    known: frozenset[str] = frozenset()

    def draw(self, draws: int = DRAWS, seed: int = SEED) -> list[Bootstrapped]:
        """Every figure with its interval."""
        return self.drawn(self.measures(), draws, seed)

    def drawn(self, measures: Sequence[Measure], draws: int = DRAWS, seed: int = SEED) -> list[Bootstrapped]:
        """Some of the figures with their intervals."""
        films, reports = self._weights(draws, seed)
        return [drawn(measure, films, reports) for measure in measures]

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
            *recalls,
            *self.prefixes(),
            *views,
            *self.per_finding(),
        ]

    def prefixes(self) -> list[Measure]:
        """Macro P@10 and Recall@10 of embeddings cut to their first numbers."""
        measures = []
        for dim in self.embedded.prefixes:
            cut = Judged(self.cases, self.embedded.first(dim))
            every = (*cut.precisions((10,)), *cut.recalls("all"))
            wanted = [m for m in every if m.figure.name.startswith(("precision@10.macro", "recall@10"))]
            measures += [replace(m, figure=replace(m.figure, subset=f"first {dim}")) for m in wanted]
        return measures

    def head(self, view: str | None = None) -> list[Measure]:
        """The abnormal head. Calibration and operating point come from validation."""
        logit, label = self.embedded.logit, self._asked(view)
        abnormal, normal = (label == 1).sum(), (label == 0).sum()
        if logit is None or not abnormal or not normal:
            return []
        share = float(abnormal / (abnormal + normal))

        def of(name: str, draw: Callable[[Array], Array], **more: Any) -> Measure:
            return Measure(
                Figure(
                    name, f"view {view}" if view else "all", None, studies=self._studies(label >= 0), **more
                ),
                lambda f, _: draw(f),
            )

        measures = [
            of("auroc", lambda f: weighted_auroc(label, logit, f), chance=0.5, ceiling=1.0),
            of("auprc", lambda f: weighted_average_precision(label, logit, f), chance=share, ceiling=1.0),
        ]
        if view:
            return measures
        measures.append(of("ece", lambda f: weighted_calibration_error(label, sigmoid(logit), f)))
        if calibration := self.embedded.calibration:
            called = (logit >= calibration.threshold).astype(float)
            sick, well = np.where(label == 1, called, np.nan), np.where(label == 0, 1 - called, np.nan)
            measures += [
                of(
                    "ece.calibrated",
                    lambda f: weighted_calibration_error(label, calibration.probability(logit), f),
                ),
                of("sensitivity", lambda f: weighted_mean(sick, f), ceiling=1.0),
                of("specificity", lambda f: weighted_mean(well, f), ceiling=1.0),
            ]
        return measures

    @cached_property
    def decisions(self) -> Decisions | None:
        """The abnormal head's; None where it was not trained, or no film has a label."""
        logit, labels = self.embedded.logit, self.cases.labels
        return (
            Decisions(labels, logit, self.embedded.trusted)
            if logit is not None and (labels >= 0).any()
            else None
        )

    def selective(self) -> list[Measure]:
        """Risk against coverage, and what each verdict is worth."""
        if (decisions := self.decisions) is None:
            return []
        measures = [self._mean(name, values) for name, values in decisions.means()]
        measures = [
            replace(m, figure=replace(m.figure, ceiling=0.0 if m.figure.name.startswith("risk") else None))
            for m in measures
        ]
        chance, ceiling = decisions.bounds()
        for name in decisions.orders:
            figure = Figure(
                f"aurc.{name}",
                "all",
                None,
                chance=chance,
                ceiling=ceiling,
                studies=self._studies(decisions.known),
            )
            measures.append(Measure(figure, lambda f, _, order=name: decisions.area(order, f)))  # type: ignore[misc]
        return measures

    def precisions(self, ks: Sequence[int] = KS, view: str | None = None) -> list[Measure]:
        """Precision by class; chance is a random order, and a constant answer has a macro mean of 0.5 too."""
        if self._score is None:
            return []
        label, labels = self._asked(view), self.cases.report_labels
        labelled = (labels >= 0).sum(axis=1)
        share = np.divide(
            (labels == 1).sum(axis=1), labelled, out=np.full(len(label), np.nan), where=labelled > 0
        )
        measures = []
        for k in ks:
            value = precision_at(self._score, label, labels, k)
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
        if self._score is None:
            return []
        cases, labels = self.cases, self.cases.report_labels
        same = labels == cases.labels[:, None]
        measures = []
        if (cases.labels >= 0).any():
            value = average_precision_at(self._score, same, 10, labels >= 0)
            measures.append(self._mean("map@10", np.where(cases.labels >= 0, value, np.nan)))
        if cases.findings:
            gain, allowed = np.nan_to_num(cases.gains), cases.foreign & ~np.isnan(cases.gains)
            chance = _expected_ndcg(gain, allowed)
            measures.append(self._mean("ndcg@10", ndcg_at(self._score, gain, 10, allowed), chance=chance))
        return measures

    def per_finding(self) -> list[Measure]:
        """For each finding: of the first ten reports for a film that has it, the share that names it.

        A finding that no report names (two sources rarely spell alike) has no figure.
        """
        if self._score is None:
            return []
        measures = []
        for column, name in enumerate(self.cases.findings):
            having = self.cases.film_findings[:, column]
            carriers, allowed = self.cases.carriers(name), self.cases.foreign
            count, there = (carriers & allowed).sum(axis=1), np.maximum(allowed.sum(axis=1), 1)
            if not count[having].any():
                continue
            value = precision_at(
                self._score, np.where(having, 1, -1), np.where(allowed, carriers, -1).astype(int), 10
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
        if self._score is None or (subset == "fresh" and films.all() and reports.all()):
            return []
        score, own = self._score[np.ix_(films, reports)], self.cases.own_report[np.ix_(films, reports)]
        asked_films, asked_reports = own.any(axis=1), own.any(axis=0)
        if not own.any():
            return []
        forth, back = (
            _spread(first_hit_rank(score, own), films),
            _spread(first_hit_rank(score.T, own.T), reports),
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
        gap = Figure("balance_gap@10", subset, None, chance=0.0, ceiling=0.0, studies=min(studies))
        a, b = _within(forth, 10), _within(back, 10)
        measures.append(Measure(gap, lambda f, r: weighted_mean(a, f) - weighted_mean(b, r)))
        return measures

    @cached_property
    def _score(self) -> Array | None:
        report = self.embedded.report
        if self.embedded.score is not None:
            return self.embedded.score
        return (
            self.embedded.film @ report.T
            if report is not None and len(report) and len(self.embedded.film)
            else None
        )

    @cached_property
    def _views(self) -> list[str]:
        """The views to tell apart: where films of more than one are many enough."""
        names, counts = np.unique(self.cases.views.astype(str), return_counts=True)
        large = [str(name) for name, count in zip(names, counts, strict=True) if count >= ANECDOTE]
        return large if len(large) > 1 else []

    def _asked(self, view: str | None) -> Array:
        """Labels of the films of a view, -1 for all others."""
        labels = self.cases.labels
        return labels if view is None else np.where(self.cases.views == view, labels, -1)

    def _subset(self, name: str) -> tuple[Array, Array]:
        cases = self.cases
        if name == "abnormal":
            return cases.labels == 1, np.array([report.label == "abnormal" for report in cases.reports], bool)
        if name == "fresh":
            films = np.array([study.report_id not in self.known for study in cases.studies], bool)
            return films, np.array([report.report_id not in self.known for report in cases.reports], bool)
        return np.ones(len(cases.films), bool), np.ones(len(cases.reports), bool)

    def _studies(self, films: Array) -> int:
        return len(
            {study.study_id for study, counted in zip(self.cases.studies, films, strict=True) if counted}
        )

    def _mean(
        self, name: str, values: Array, view: str | None = None, chance: Array | None = None
    ) -> Measure:
        counted = ~np.isnan(values)
        expected = float(chance[counted].mean()) if chance is not None and counted.any() else None
        figure = Figure(
            name,
            f"view {view}" if view else "all",
            None,
            chance=expected,
            ceiling=1.0,
            studies=self._studies(counted),
        )
        return Measure(figure, lambda f, _: weighted_mean(values, f))

    def _weights(self, draws: int, seed: int) -> tuple[Array, Array]:
        """How often each film and report counts: once each in the first row, by drawn patients in the
        others.
        """
        patients = self.cases.patients
        count = len(patients)
        drawn = (
            np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws)
            if count
            else np.zeros((draws, 0))
        )
        weight = np.vstack([np.ones((1, count)), drawn])
        place = {patient: i for i, patient in enumerate(patients)}
        films = [place[study.patient_id] for study in self.cases.studies]
        return weight[:, films], weight[:, [place[report.first.patient_id] for report in self.cases.reports]]


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
        float(np.median(positive.shape[1] * (1 - 0.5 ** (1 / count[count > 0]))))
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


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


def _value(figure: Figure | None) -> float | None:
    return figure.value if figure else None


def _recall_row(figure: Figure | None) -> dict[str, float | None] | None:
    return (
        {"value": figure.value, "chance": figure.chance, "lift": figure.lift, "ceiling": figure.ceiling}
        if figure
        else None
    )
