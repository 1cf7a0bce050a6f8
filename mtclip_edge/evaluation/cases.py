"""What an evaluation asks and what it searches: films, distinct reports, and which report may count for which
film.

A film is never judged against its own patient: reports that only the query's patient has are left out, and
shared ones count without that patient's studies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..studies import LABEL_CODES, DistinctReport, Film, Study, distinct_reports, majority


@dataclass(frozen=True)
class Cases:
    """Films with their studies, and the distinct reports that are searched."""

    films: tuple[Film, ...]
    studies: tuple[Study, ...]  # of each film
    reports: tuple[DistinctReport, ...]

    @classmethod
    def of(cls, studies: Sequence[Study], searched: Sequence[Study] | None = None) -> "Cases":
        """All films of some studies against the reports of ``searched``, or else of the same studies."""
        pairs = [(film, study) for study in studies for film in study.films]
        reports = distinct_reports(studies if searched is None else searched)
        return cls(tuple(f for f, _ in pairs), tuple(s for _, s in pairs), tuple(reports))

    def only(self, keep: Sequence[int] | np.ndarray) -> "Cases":
        """The same reports, asked by some of the films only."""
        return replace(
            self, films=tuple(self.films[i] for i in keep), studies=tuple(self.studies[i] for i in keep)
        )

    @property
    def texts(self) -> list[str]:
        return [report.first.tower_text for report in self.reports]

    @cached_property
    def patients(self) -> tuple[str, ...]:
        """Every patient asked about or, by the first study of a report, searched: what a bootstrap draws
        from.
        """
        return tuple(
            sorted({s.patient_id for s in self.studies} | {r.first.patient_id for r in self.reports})
        )

    @cached_property
    def labels(self) -> np.ndarray:
        """0 normal, 1 abnormal, -1 unknown for each film, int [films]."""
        return np.array([LABEL_CODES[study.label] for study in self.studies], np.int64)

    @cached_property
    def views(self) -> np.ndarray:
        """The view of each film, str [films]."""
        return np.array([film.view for film in self.films], dtype=object)

    @cached_property
    def own_report(self) -> np.ndarray:
        """Whether a report is the film's own, bool [films, reports]."""
        column = {report.report_id: i for i, report in enumerate(self.reports)}
        own = np.zeros((len(self.films), len(self.reports)), bool)
        for row, study in enumerate(self.studies):
            if study.report_id in column:
                own[row, column[study.report_id]] = True
        return own

    @cached_property
    def report_labels(self) -> np.ndarray:
        """Labels of the reports as each film's query may count them, int [films, reports]: without the
        query's own patient.
        """
        labels = np.array([LABEL_CODES[report.label] for report in self.reports], np.int64)
        table = np.tile(labels, (len(self.films), 1))
        for row, column, others in self._shared():
            table[row, column] = LABEL_CODES[_majority(others)]
        return table

    @cached_property
    def told_labels(self) -> np.ndarray:
        """Labels that an index tells each film of the reports, int [films, reports]: without the query's own
        patient, but of a report that nobody else has its own.
        """
        labels = np.array([LABEL_CODES[report.label] for report in self.reports], np.int64)
        return np.where(self.foreign, self.report_labels, labels[None, :])

    @cached_property
    def foreign(self) -> np.ndarray:
        """Whether a report belongs to a patient other than the film's, bool [films, reports]."""
        allowed = np.ones((len(self.films), len(self.reports)), bool)
        for row, column, others in self._shared():
            allowed[row, column] = bool(others)
        return allowed

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """Every finding that a film's study names, in order; empty where the source names none."""
        return tuple(sorted({name for study in self.studies for name in _findings(study)}))

    @cached_property
    def film_findings(self) -> np.ndarray:
        """Whether a film's study names a finding, bool [films, findings]."""
        return np.array([_row(self.findings, [study]) for study in self.studies], bool).reshape(
            len(self.films), len(self.findings)
        )

    def carriers(self, finding: str) -> np.ndarray:
        """Whether a report names a finding, as each film's query may count it, bool [films, reports]."""
        table = np.tile(
            [any(finding in _findings(s) for s in report.studies) for report in self.reports],
            (len(self.films), 1),
        )
        for row, column, others in self._shared():
            table[row, column] = any(finding in _findings(s) for s in others)
        return table

    @cached_property
    def gains(self) -> np.ndarray:
        """Likeness of a report's finding set to the film's: their Jaccard index, float [films, reports]; two
        empty sets are equal.

        A study of unknown label that names nothing has no set: its row or column is NaN.
        """
        names = tuple(sorted({name for s in self._everyone() for name in _findings(s)}))
        of_films = np.array([_row(names, [study]) for study in self.studies], float).reshape(
            len(self.films), len(names)
        )
        of_reports = np.array([_row(names, report.studies) for report in self.reports], float).reshape(
            len(self.reports), len(names)
        )
        gain = _jaccard(of_films, of_reports)
        gain[[not _known([study]) for study in self.studies], :] = np.nan
        gain[:, [not _known(report.studies) for report in self.reports]] = np.nan
        for row, column, others in self._shared():
            comparable = _known(others) and _known([self.studies[row]])
            gain[row, column] = (
                _jaccard(of_films[[row]], np.array([_row(names, others)], float))[0, 0]
                if comparable
                else np.nan
            )
        return gain

    def _everyone(self) -> Iterator[Study]:
        yield from self.studies
        for report in self.reports:
            yield from report.studies

    def _shared(self) -> Iterator[tuple[int, int, list[Study]]]:
        """Film, report and the report's other studies, wherever the film's patient has that report."""
        for row, study in enumerate(self.studies):
            for column in self._columns.get(study.patient_id, ()):
                yield (
                    row,
                    column,
                    [s for s in self.reports[column].studies if s.patient_id != study.patient_id],
                )

    @cached_property
    def _columns(self) -> dict[str, tuple[int, ...]]:
        """The reports of each patient."""
        columns: dict[str, dict[int, None]] = {}
        for column, report in enumerate(self.reports):
            for study in report.studies:
                columns.setdefault(study.patient_id, {})[column] = None
        return {patient: tuple(places) for patient, places in columns.items()}


def _majority(studies: Sequence[Study]) -> str:
    labels = [study.label for study in studies]
    return majority(labels.count("normal"), labels.count("abnormal"))


def _findings(study: Study) -> frozenset[str]:
    """The findings of a study; a normal one has none, whatever its source calls that (``No Finding``)."""
    return frozenset() if study.label == "normal" else frozenset(study.finding_labels)


def _known(studies: Sequence[Study]) -> bool:
    """Whether what the studies show is on record: a label or a finding."""
    return any(study.label != "unknown" or study.finding_labels for study in studies)


def _row(names: Sequence[str], studies: Sequence[Study]) -> list[bool]:
    findings = frozenset().union(*(_findings(study) for study in studies))
    return [name in findings for name in names]


def _jaccard(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Jaccard index of sets given as 0/1 rows: float [rows of a, rows of b]."""
    both = a @ b.T
    either = a.sum(axis=1)[:, None] + b.sum(axis=1)[None, :] - both
    return np.divide(both, either, out=np.ones_like(both), where=either > 0)
