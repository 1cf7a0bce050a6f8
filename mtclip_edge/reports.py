"""The report store: studies and distinct reports in one immutable SQLite file. Row numbers are rows of the vector array.

Reports have rows 0..R-1, films R..R+F-1. The file is written once and read with ``immutable=1``, from a read-only medium too.
"""

import errno
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .durable import replace_with
from .errors import ArtefactDamaged, ArtefactIncompatible
from .studies import DistinctReport, Film, Study

SCHEMA_VERSION = 1
_SCHEMA = """
PRAGMA foreign_keys = ON;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE report (
    row INTEGER PRIMARY KEY, report_id TEXT NOT NULL UNIQUE, text TEXT NOT NULL, findings TEXT NOT NULL, impression TEXT NOT NULL,
    label TEXT NOT NULL, normal INTEGER NOT NULL, abnormal INTEGER NOT NULL, unknown INTEGER NOT NULL
);
CREATE TABLE study (
    study_id TEXT PRIMARY KEY, patient_id TEXT NOT NULL, report_row INTEGER REFERENCES report(row), label TEXT NOT NULL,
    source TEXT NOT NULL, split TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE film (row INTEGER PRIMARY KEY, study_id TEXT NOT NULL REFERENCES study(study_id), name TEXT NOT NULL, view TEXT NOT NULL);
CREATE TABLE finding (study_id TEXT NOT NULL REFERENCES study(study_id), name TEXT NOT NULL);
CREATE INDEX film_by_study ON film(study_id);
CREATE INDEX study_by_report ON study(report_row);
CREATE INDEX finding_by_study ON finding(study_id);
"""
STUDY_IDS_SHOWN = 10


@dataclass(frozen=True)
class StoredReport:
    """A distinct report as a hit shows it; ``study_ids`` are the first ten."""

    row: int
    report_id: str
    text: str
    findings: str
    impression: str
    label: str
    studies: int
    study_ids: tuple[str, ...]


@dataclass(frozen=True)
class StoredFilm:
    row: int
    study_id: str
    name: str
    view: str
    label: str


def write_store(path: Path, model_id: str, reports: Sequence[DistinctReport], films: Sequence[tuple[Film, Study]]) -> Path:
    """Write a store: distinct reports in the order of their rows, then the films in the order of theirs."""
    return replace_with(path, lambda file: _write(file, model_id, reports, films))


def _write(path: Path, model_id: str, reports: Sequence[DistinctReport], films: Sequence[tuple[Film, Study]]) -> None:
    path.unlink(missing_ok=True)
    db = sqlite3.connect(path)
    try:
        # Nobody reads this file before it is renamed into place, so a journal would protect nothing.
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.executescript(_SCHEMA)
        with db:
            db.executemany("INSERT INTO meta VALUES (?, ?)", [("schema_version", str(SCHEMA_VERSION)), ("model_id", model_id)])
            db.executemany("INSERT INTO report VALUES (?,?,?,?,?,?,?,?,?)", _report_rows(reports))
            row_of = {report.report_id: row for row, report in enumerate(reports)}
            studies = {s.study_id: s for report in reports for s in report.studies} | {s.study_id: s for _, s in films}
            db.executemany("INSERT INTO study VALUES (?,?,?,?,?,?)", [_study_row(s, row_of) for s in studies.values()])
            db.executemany(
                "INSERT INTO film VALUES (?,?,?,?)",
                [(len(reports) + i, study.study_id, film.name, film.view) for i, (film, study) in enumerate(films)],
            )
            db.executemany("INSERT INTO finding VALUES (?,?)", [(s.study_id, name) for s in studies.values() for name in s.finding_labels])
    except sqlite3.OperationalError as error:  # a full disk comes as this
        raise OSError(errno.ENOSPC, str(error), str(path)) from None
    finally:
        db.close()


def _report_rows(reports: Sequence[DistinctReport]) -> Iterable[tuple[Any, ...]]:
    for row, report in enumerate(reports):
        first, counts = report.first, report.counts
        yield (
            row,
            report.report_id,
            first.text,
            first.findings,
            first.impression,
            report.label,
            counts["normal"],
            counts["abnormal"],
            counts["unknown"],
        )


def _study_row(study: Study, row_of: dict[str, int]) -> tuple[Any, ...]:
    report_row = row_of.get(study.report_id) if study.report_id else None
    return study.study_id, study.patient_id, report_row, study.label, study.source, study.split


class ReportStore:
    """Read access to a store file. Any thread may use it, or be the one in which a forgotten store is collected."""

    def __init__(self, path: Path, model_id: str):
        self._path = path
        self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        meta = dict(self._rows("SELECT key, value FROM meta"))
        if int(meta["schema_version"]) > SCHEMA_VERSION:
            raise ArtefactIncompatible(f"{path}: report store version {meta['schema_version']}", hint="pip install --upgrade mtclip-edge")
        if meta["model_id"] != model_id:
            raise ArtefactIncompatible(f"{path}: made for another model", f"expected {model_id[:23]}…, found {meta['model_id'][:23]}…")

    def counts(self) -> tuple[int, int, int]:
        """Studies, distinct reports, films."""
        return self._rows("SELECT (SELECT count(*) FROM study), (SELECT count(*) FROM report), (SELECT count(*) FROM film)")[0]

    def report_ids(self, rows: Sequence[int]) -> dict[int, str]:
        return dict(self._of_rows("SELECT row, report_id FROM report WHERE row IN (SELECT value FROM json_each(?))", rows))

    def reports(self, rows: Sequence[int]) -> list[StoredReport]:
        """Reports in the order of ``rows``."""
        query = (
            "SELECT row, report_id, text, findings, impression, label, normal + abnormal + unknown FROM report"
            " WHERE row IN (SELECT value FROM json_each(?))"
        )
        found: dict[int, tuple[Any, ...]] = {values[0]: tuple(values) for values in self._of_rows(query, rows)}
        return [StoredReport(*(*found[row], self._study_ids(row))) for row in rows]

    def films(self, rows: Sequence[int]) -> list[StoredFilm]:
        """Films in the order of ``rows``."""
        query = (
            "SELECT film.row, film.study_id, film.name, film.view, study.label FROM film JOIN study USING (study_id)"
            " WHERE film.row IN (SELECT value FROM json_each(?))"
        )
        found = {values[0]: StoredFilm(*values) for values in self._of_rows(query, rows)}
        return [found[row] for row in rows]

    def films_of(self, reports: Sequence[int]) -> list[tuple[int, int]]:
        """Report row and film row of every film of some reports."""
        query = (
            "SELECT study.report_row, film.row FROM study JOIN film USING (study_id)"
            " WHERE study.report_row IN (SELECT value FROM json_each(?)) ORDER BY film.row"
        )
        return [(report, film) for report, film in self._of_rows(query, reports)]

    def close(self) -> None:
        self._db.close()

    def __del__(self) -> None:
        """A store that was forgotten, or refused while it was opened, does not keep its file."""
        if hasattr(self, "_db"):
            self._db.close()

    def _study_ids(self, row: int) -> tuple[str, ...]:
        query = "SELECT study_id FROM study WHERE report_row = ? ORDER BY study_id LIMIT ?"
        return tuple(study_id for (study_id,) in self._rows(query, (row, STUDY_IDS_SHOWN)))

    def _of_rows(self, query: str, rows: Sequence[int]) -> list[Any]:
        return self._rows(query, (json.dumps([int(row) for row in rows]),))  # one value, however many rows

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise ArtefactDamaged(f"{self._path}: {error}") from None
