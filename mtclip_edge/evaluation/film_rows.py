"""``films.csv`` and ``reports.csv``: one row a film, for statistics that we do not compute.

``films.csv`` says of each model and film what AUROC, P@10 and recall are made of; ``reports.csv`` whose
reports were searched. Both are UTF-8 with a header, cells quoted where CSV needs it. Ids stand as the source
spells them, but for a text that a spreadsheet would take for a formula: it gets an apostrophe before it.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..files import replace_with
from ..studies import LABEL_CODES, DistinctReport
from .bundle_models import Model
from .metrics import first_hit_rank, top_k
from .model_on_cases import ModelOnCases

FILMS, REPORTS = "films.csv", "reports.csv"
HITS = 10
FILM_COLUMNS = (
    *(
        "model",
        "precision",
        "part",
        "study_id",
        "patient_id",
        "film",
        "view",
        "label",
        "logit",
        "probability",
    ),
    *("own_report", "own_rank"),
    *(f"{what}_{rank}" for rank in range(1, HITS + 1) for what in ("report", "score", "label")),
)
REPORT_COLUMNS = ("report_id", "study_id", "patient_id", "label", "finding_labels")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")
_WORDS = {code: name for name, code in LABEL_CODES.items()}


def write_rows(folder: Path, models: Sequence[Model]) -> tuple[str, ...]:
    """Write both files, readable by their owner only; gives the names of what was written.

    ``reports.csv`` holds the reports of all cases, each once. Errors: OSError.
    """
    replace_with(
        folder / FILMS, lambda file: _write(file, FILM_COLUMNS, (row for m in models for row in film_rows(m)))
    )
    reports = {report.report_id: report for model in models for report in model.cases.reports}
    if not reports:
        return (FILMS,)
    replace_with(folder / REPORTS, lambda file: _write(file, REPORT_COLUMNS, report_rows(reports.values())))
    return FILMS, REPORTS


def film_rows(model: Model) -> Iterator[list[str]]:
    """A row for each film that could be read, by ``FILM_COLUMNS``; what a model lacks is empty.

    The ten reports are those that P@10 counts: of other patients, with a label. Where no report has a label
    at all they are the first ten of other patients.
    """
    cases, embedded = model.cases, model.embedded
    ranked = _Ranked(ModelOnCases(cases, embedded))
    probability = None
    if embedded.logit is not None and embedded.calibration is not None:
        probability = embedded.calibration.probability(embedded.logit)
    for row, (film, study) in enumerate(zip(cases.films, cases.studies, strict=True)):
        yield [
            *(
                model.name,
                model.precision or "",
                model.part,
                study.study_id,
                study.patient_id,
                film.name,
                film.view,
            ),
            study.label,
            *("" if values is None else _number(values[row]) for values in (embedded.logit, probability)),
            study.report_id or "",
            *ranked.cells(row),
        ]


def report_rows(reports: Iterable[DistinctReport]) -> Iterator[list[str]]:
    """A row for each study of each distinct report, by ``REPORT_COLUMNS``."""
    for report in reports:
        for study in report.studies:
            names = "|".join(study.finding_labels)
            yield [report.report_id, study.study_id, study.patient_id, study.label, names]


class _Ranked:
    """The first reports of each film, and the rank of its own among all."""

    def __init__(self, judged: ModelOnCases):
        self._cases, self._scores = judged.cases, judged.scores
        if self._scores is None:
            return
        labels = self._cases.report_labels
        allowed = labels >= 0 if (labels >= 0).any() else self._cases.foreign
        self._labels = labels
        self._best = top_k(self._scores, HITS, allowed)
        self._own = first_hit_rank(self._scores, self._cases.own_report)

    def cells(self, row: int) -> list[str]:
        """``own_rank``, then id, score and label of each report; the label as this film's query counts it."""
        if self._scores is None:
            return [""] * (1 + 3 * HITS)
        own = self._own[row]
        cells = [str(int(own)) if np.isfinite(own) else ""]
        for column in (int(c) for c in self._best[row] if c >= 0):
            cells += [
                self._cases.reports[column].report_id,
                _number(self._scores[row, column]),
                _WORDS[int(self._labels[row, column])],
            ]
        return cells + [""] * (1 + 3 * HITS - len(cells))


def _number(value: float) -> str:
    """Nine digits: a float32 read back is the same."""
    return format(float(value), ".9g")


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    # A film's name may hold bytes that are no UTF-8: they are shown, rather than that nothing is written.
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([_safe(cell) for cell in row] for row in rows)


def _safe(cell: str) -> str:
    """Spreadsheets run what begins with one of these; a number may."""
    return f"'{cell}" if cell[:1] in tuple("=+-@\t\r") and not _NUMBER.fullmatch(cell) else cell
