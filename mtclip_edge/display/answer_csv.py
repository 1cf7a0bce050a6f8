"""Answers as CSV: a row for each report of each film, one row for a film that has none; then a row for each
report of its own patient, where these were asked for.

docs/reference/json.md names the columns.
"""

import csv
import sys
from typing import Any

from ..errors import MtclipError, printable
from ..index.hits import ReportHit
from ..retrieval.results import QueryResult
from .film_order import verdict_of

FILM = (
    "film",
    "status",
    "film_verdict",
    "reasons",
    "probability_abnormal",
    "threshold",
    "call",
    "verdict",
    "why",
)
REPORT = (
    "rank",
    "score",
    "percentile",
    "label",
    "report_id",
    "studies",
    "study_id",
    "date",
    "finding_labels",
    "impression",
    "findings",
    "text",
    "list",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute


class CsvWriter:
    """The columns never change; ``bom``: begin with the mark by which Excel knows UTF-8."""

    def __init__(self, bom: bool = False):
        self._rows = csv.writer(sys.stdout, lineterminator="\n")
        self._begun, self._bom = False, bom

    def add(self, result: QueryResult) -> None:
        film = _film(result)
        for hit in result.reports:
            self._write([*film, *_report(hit, "similar")])
        if not result.reports:
            self._write([*film, *[None] * len(REPORT)])
        for hit in result.own_priors.hits if result.own_priors else ():
            self._write([*film, *_report(hit, "own")])

    def failed(self, name: str, error: MtclipError) -> None:
        self._write([name, "unreadable", None, error.what, *[None] * (len(FILM) - 4 + len(REPORT))])

    def close(self) -> None:
        sys.stdout.flush()

    def _write(self, values: list[Any]) -> None:
        if not self._begun:
            sys.stdout.write("\ufeff" if self._bom else "")
            self._rows.writerow([*FILM, *REPORT])
            self._begun = True
        self._rows.writerow([_safe(value) for value in values])


def _report(hit: ReportHit, among: str) -> list[Any]:
    return [
        *(hit.rank, hit.score, hit.percentile, hit.label, hit.report_id, hit.studies),
        *("|".join(hit.study_ids), hit.date, "|".join(hit.finding_labels)),
        *(hit.impression, hit.findings, hit.text, among),
    ]


def _film(result: QueryResult) -> list[Any]:
    read, abnormal, evidence = result.input, result.abnormal, result.evidence
    status = "rejected" if verdict_of(result) == "rejected" else "answered"
    return [
        *(result.value, status, read and read.verdict, "; ".join(read.reasons) if read else None),
        *((abnormal.probability, abnormal.threshold, abnormal.call) if abnormal else (None, None, None)),
        *((evidence.judgement.verdict, evidence.judgement.why) if evidence else (None, None)),
    ]


def _safe(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    words = printable(" ".join(value.split()))
    return f"'{words}" if value.startswith(_FORMULA) or words.startswith(_FORMULA) else words
