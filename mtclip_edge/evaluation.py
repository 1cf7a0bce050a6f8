"""Films against the distinct reports of the same studies, both ways, from embeddings alone: a run, a bundle and the export gate share it.

A film is never judged against its own patient: class precision leaves out reports that only the query's patient has, and counts
the labels of shared ones without that patient. Instance recall asks for the film's own report; its twins are one entry and hits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .metrics import auroc, class_precision_at, recall_table
from .studies import DistinctReport, Film, Study, distinct_reports, majority

LABEL_CODES = {"normal": 0, "abnormal": 1, "unknown": -1}


@dataclass(frozen=True)
class Cases:
    """What is asked and what is searched: films with their studies, and those studies' distinct reports."""

    films: tuple[Film, ...]
    studies: tuple[Study, ...]  # of each film
    reports: tuple[DistinctReport, ...]

    @classmethod
    def of(cls, studies: Sequence[Study]) -> "Cases":
        pairs = [(film, study) for study in studies for film in study.films]
        return cls(tuple(f for f, _ in pairs), tuple(s for _, s in pairs), tuple(distinct_reports(studies)))

    def only(self, keep: Sequence[int] | np.ndarray) -> "Cases":
        """The same reports, asked by some of the films only."""
        return Cases(tuple(self.films[i] for i in keep), tuple(self.studies[i] for i in keep), self.reports)

    @property
    def texts(self) -> list[str]:
        return [report.first.tower_text for report in self.reports]

    @property
    def labels(self) -> np.ndarray:
        """0 normal, 1 abnormal, -1 unknown for each film, int [films]."""
        return np.array([LABEL_CODES[study.label] for study in self.studies], np.int64)

    def own_report(self) -> np.ndarray:
        """Whether a report is the film's own, bool [films, reports]."""
        column = {report.report_id: i for i, report in enumerate(self.reports)}
        own = np.zeros((len(self.films), len(self.reports)), bool)
        for row, study in enumerate(self.studies):
            if study.report_id is not None:
                own[row, column[study.report_id]] = True
        return own

    def report_labels(self) -> np.ndarray:
        """Labels of the reports as each film's query may count them, int [films, reports]: without the query's own patient."""
        labels = np.array([LABEL_CODES[report.label] for report in self.reports], np.int64)
        table = np.tile(labels, (len(self.films), 1))
        columns: dict[str, set[int]] = {}
        for column, report in enumerate(self.reports):
            for study in report.studies:
                columns.setdefault(study.patient_id, set()).add(column)
        for row, study in enumerate(self.studies):
            for column in columns.get(study.patient_id, ()):
                table[row, column] = LABEL_CODES[_label_without(self.reports[column], study.patient_id)]
        return table


def _label_without(report: DistinctReport, patient_id: str) -> str:
    others = [study.label for study in report.studies if study.patient_id != patient_id]
    return majority(others.count("normal"), others.count("abnormal"))


def evaluate(cases: Cases, film: np.ndarray, logit: np.ndarray | None, report: np.ndarray | None) -> dict[str, Any]:
    """All figures of a set of cases. Unit vectors float32 [films, dim] and [reports, dim]; logits float32 [films].

    What cannot be computed (no text tower, no head, no label) is None.
    """
    result: dict[str, Any] = {
        "films": len(cases.films),
        "reports": len(cases.reports),
        "auroc": None if logit is None else auroc(cases.labels, logit),
        "precision@10": None,
        "film_to_report": None,
        "report_to_film": None,
    }
    if report is None or not len(report) or not len(film):
        return result
    score, own = film @ report.T, cases.own_report()
    if (cases.labels >= 0).any():
        result["precision@10"] = class_precision_at(score, cases.labels, cases.report_labels(), 10)
    asked_films, asked_reports = own.any(axis=1), own.any(axis=0)
    if asked_films.any():
        result["film_to_report"] = recall_table(score[asked_films], own[asked_films])
        result["report_to_film"] = recall_table(score.T[asked_reports], own.T[asked_reports])
    return result


def selection_score(result: dict[str, Any]) -> float | None:
    """One figure to choose an epoch by: the mean of AUROC, macro P@10 and Recall@10 both ways, of those that could be computed."""
    precision, forth, back = result["precision@10"], result["film_to_report"], result["report_to_film"]
    values = [
        result["auroc"],
        precision and precision["macro"],
        forth and forth["recall@10"]["value"],
        back and back["recall@10"]["value"],
    ]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
