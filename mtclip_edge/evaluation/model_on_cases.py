"""What a model makes of some cases, and what all figures of it need: scores, views, subsets, and how often
each patient counts.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..evidence.calibration import Calibration
from ..evidence.verdict import FilmVerdicts
from .bootstrap import ANECDOTE, Figure, Measure
from .cases import Cases
from .metrics import weighted_mean

Array = np.ndarray


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
    score: Array | None = None  # float [films, reports] that reports are ranked by instead of the cosines
    prefixes: tuple[int, ...] = ()  # widths whose first numbers serve alone
    trusted: FilmVerdicts | None = None  # what a bundle says of each film

    def dealt(self, order: Array) -> "ModelOutput":
        """The same with each film given the output of another, by ``order``, int [films]."""
        trusted = self.trusted and FilmVerdicts(self.trusted.trust[order], self.trusted.verdict[order])
        return replace(
            self,
            film=self.film[order],
            logit=None if self.logit is None else self.logit[order],
            score=None if self.score is None else self.score[order],
            trusted=trusted,
        )

    def first(self, dim: int) -> "ModelOutput":
        """The same with the first numbers of each vector only, without the head, which reads them all."""
        report = None if self.report is None else _unit(self.report[:, :dim])
        return ModelOutput(_unit(self.film[:, :dim]), None, report)


@dataclass(frozen=True)
class ModelOnCases:
    """One model on some cases. ``train_reports``: ids of the reports that stand verbatim in train."""

    cases: Cases
    embedded: ModelOutput
    train_reports: frozenset[str] = frozenset()

    @cached_property
    def scores(self) -> Array | None:
        """What reports are ranked by for a film, float [films, reports]; None where nothing is searched."""
        return self.cosines if self.embedded.score is None else self.embedded.score

    @cached_property
    def cosines(self) -> Array | None:
        """What films are ranked by for a report, float [films, reports]: nothing re-ranks them."""
        report = self.embedded.report
        return (
            self.embedded.film @ report.T
            if report is not None and len(report) and len(self.embedded.film)
            else self.embedded.score
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
            films = np.array([study.report_id not in self.train_reports for study in cases.studies], bool)
            return films, np.array(
                [report.report_id not in self.train_reports for report in cases.reports], bool
            )
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


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)
