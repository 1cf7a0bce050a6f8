"""Reading the report store: studies and distinct reports in one immutable SQLite file, from a read-only
medium too.

Report row r is row r of the vector array, film row f is row R + f.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..errors import ArtefactDamaged, ArtefactIncompatible, Refused
from ..studies import LABELS
from .filters import ALL, FilteredRows, Filters, Matching, Where, allowed
from .store_schema import IS_DENIED, open_store

if TYPE_CHECKING:
    from .patient_reports import PatientReports
    from .report_details import Details

STUDY_IDS_SHOWN = 10


@dataclass(frozen=True)
class StoredReport:
    """A distinct report as a hit shows it; ``study_ids`` and ``study_dates`` (empty where not told) are the
    first ten, ``date`` is the last of all.
    """

    row: int
    report_id: str
    text: str
    findings: str
    impression: str
    label: str
    studies: int
    date: str
    study_ids: tuple[str, ...]
    study_dates: tuple[str, ...]


@dataclass(frozen=True)
class StoredFilm:
    row: int
    study_id: str
    name: str
    view: str
    label: str


class ReportStore:
    """Read access to a store file.

    Any thread may use it, or be the one in which a forgotten store is collected.
    """

    def __init__(self, path: Path, model_id: str):
        self._path = path
        self._db = open_store(path)
        ((made_for,),) = self._rows("SELECT value FROM meta WHERE key = 'model_id'")
        if made_for != model_id:
            raise ArtefactIncompatible(
                f"{path}: made for another model", f"expected {model_id[:23]}…, found {made_for[:23]}…"
            )

    def counts(self) -> tuple[int, int, int]:
        """Studies, distinct reports, films."""
        return self._rows(
            "SELECT (SELECT count(*) FROM study), (SELECT count(*) FROM report), (SELECT count(*) FROM film)"
        )[0]

    def report_ids(self, rows: Sequence[int]) -> dict[int, str]:
        return dict(
            self._of_rows(
                "SELECT row, report_id FROM report WHERE row IN (SELECT value FROM json_each(?))", rows
            )
        )

    def reports(self, rows: Sequence[int], where: Where = ALL) -> list[StoredReport]:
        """Reports in the order of ``rows``; of their studies those that pass a filter are counted and
        named.
        """
        query = (
            "SELECT row, report_id, text, findings, impression, label FROM report WHERE row IN (SELECT "
            "value FROM json_each(?))"
        )
        values_of: dict[int, tuple[Any, ...]] = {
            values[0]: tuple(values) for values in self._of_rows(query, rows)
        }
        return [StoredReport(*(*values_of[row], *self._studies(row, where))) for row in rows]

    def labels(self, rows: Sequence[int]) -> dict[int, str]:
        """The label of some reports."""
        return dict(
            self._of_rows("SELECT row, label FROM report WHERE row IN (SELECT value FROM json_each(?))", rows)
        )

    def labelled(self, label: str) -> np.ndarray:
        """The rows of all reports with a label, ascending, int64."""
        return np.fromiter(
            (row for (row,) in self._rows("SELECT row FROM report WHERE label = ? ORDER BY row", (label,))),
            np.int64,
        )

    def count_labelled(self, label: str) -> int:
        """How many reports have a label."""
        return int(self._rows("SELECT count(*) FROM report WHERE label = ?", (label,))[0][0])

    def only_of(self, patient: str) -> np.ndarray:
        """The rows of reports that no other patient has, ascending, int64."""
        query = (
            "SELECT report_row FROM study WHERE report_row IN (SELECT report_row FROM study WHERE "
            "patient_id = ?)"
            " GROUP BY report_row HAVING sum(patient_id != ?) = 0 ORDER BY report_row"
        )
        return np.fromiter((row for (row,) in self._rows(query, (patient, patient))), np.int64)

    def unread_denials(self) -> int:
        """How many findings of studies were never compared with what their report denies."""
        return int(self._rows("SELECT count(*) FROM finding WHERE denied IS NULL")[0][0])

    def whose(self) -> list[tuple[str, str, str]]:
        """Study, patient and source of every study with a report."""
        return self._rows("SELECT study_id, patient_id, source FROM study WHERE report_row IS NOT NULL")

    def patients(self) -> Iterator[str]:
        """Every patient with a report, once."""
        query = "SELECT DISTINCT patient_id FROM study WHERE report_row IS NOT NULL"
        yield from (patient for (patient,) in self._rows(query))

    def counts_without(self, patient: str) -> list[tuple[int, int, int, int]]:
        """Of each report of a patient its row, and how many studies of others that have it are normal,
        abnormal, unknown.
        """
        query = (
            "SELECT row, normal - sum(study.label = 'normal'), abnormal - sum(study.label = 'abnormal'), "
            "unknown - sum(study.label = 'unknown') FROM study JOIN report ON report.row = report_row "
            "WHERE patient_id = ? GROUP BY row"
        )
        return self._rows(query, (patient,))

    def abnormal_share(self) -> float:
        """The share of abnormal among the labelled distinct reports; half where none is."""
        normal, abnormal = (self.count_labelled(label) for label in LABELS[:2])
        return abnormal / (normal + abnormal) if normal + abnormal else 0.5

    def findings(self, rows: Sequence[int], where: Where = ALL) -> list[tuple[int, str]]:
        """Row and name of every finding of some reports: what a study of theirs names that passes a
        filter and is not normal, and what the report's words do not deny.
        """
        query = (
            "SELECT DISTINCT report_row, name FROM study JOIN finding USING (study_id) JOIN report ON "
            "report.row = report_row WHERE report_row IN (SELECT value FROM json_each(?)) AND study.label != "
            f"'normal' AND NOT {IS_DENIED} AND {where.sql} ORDER BY report_row, name"
        )
        return self._rows(query, (json.dumps([int(row) for row in rows]), *where.values))

    def naming(self, finding: str, where: Where = ALL) -> np.ndarray:
        """The rows of all reports that ``findings`` would name a finding of, in capitals or not,
        ascending, int64.
        """
        query = (
            "SELECT DISTINCT report_row FROM study JOIN finding USING (study_id) JOIN report ON report.row = "
            "report_row WHERE name = ? COLLATE NOCASE AND study.label != 'normal' AND NOT "
            f"{IS_DENIED} AND {where.sql} ORDER BY report_row"
        )
        return np.fromiter((row for (row,) in self._rows(query, (finding, *where.values))), np.int64)

    def films(self, rows: Sequence[int]) -> list[StoredFilm]:
        """Films in the order of ``rows``."""
        query = (
            "SELECT film.row, film.study_id, film.name, film.view, study.label FROM film JOIN study "
            "USING (study_id)"
            " WHERE film.row IN (SELECT value FROM json_each(?))"
        )
        film_of = {values[0]: StoredFilm(*values) for values in self._of_rows(query, rows)}
        return [film_of[row] for row in rows]

    def films_of(self, reports: Sequence[int]) -> list[tuple[int, int]]:
        """Report row and film row of every film of some reports."""
        query = (
            "SELECT study.report_row, film.row FROM study JOIN film USING (study_id)"
            " WHERE study.report_row IN (SELECT value FROM json_each(?)) ORDER BY film.row"
        )
        return [(report, film) for report, film in self._of_rows(query, reports)]

    def films_by_report(self, rows: Sequence[int]) -> np.ndarray:
        """The rows of all films of some reports, ascending, int64."""
        return np.unique(np.array([film for _, film in self.films_of(rows)], np.int64))

    def films_with_report(self) -> np.ndarray:
        """The rows of all films whose study has a report, ascending, int64."""
        query = (
            "SELECT film.row FROM film JOIN study USING (study_id) WHERE report_row IS NOT NULL ORDER BY "
            "film.row"
        )
        return np.fromiter((row for (row,) in self._rows(query)), np.int64)

    def texts(self) -> Iterator[tuple[int, str]]:
        """Row and text of every report, by row."""
        yield from self._rows("SELECT row, text FROM report ORDER BY row")

    def allowed(self, filters: Filters, matching: Matching) -> FilteredRows:
        """The rows that pass; ``matching`` finds reports by words.

        Errors: WrongOption for a value that nothing in the bundle has, and those of ``matching``.
        """
        return allowed(self._rows, filters, matching)

    def why_nothing_passes(self, filters: Filters, matching: Matching) -> str:
        """One line on filters that leave no report."""
        from .filter_reasons import why_nothing_passes

        return why_nothing_passes(
            lambda query: int(self._rows(query)[0][0]),
            lambda some: len(self.allowed(some, matching).reports),
            filters,
        )

    def of_studies(self, study_ids: Iterable[str]) -> dict[str, tuple[str | None, str]]:
        """Of some studies those that are here: the report id and the patient of each."""
        query = (
            "SELECT study_id, report_id, patient_id FROM study LEFT JOIN report ON report.row = report_row"
            " WHERE study_id IN (SELECT value FROM json_each(?))"
        )
        return {
            study: (report, patient)
            for study, report, patient in self._rows(query, (json.dumps(list(study_ids)),))
        }

    def passes(self, study_id: str, where: Where) -> bool:
        """Whether a study is here and passes a filter."""
        query = f"SELECT 1 FROM study WHERE study_id = ? AND {where.sql}"
        return bool(self._rows(query, (study_id, *where.values)))

    def row_of(self, report_ids: Iterable[str]) -> dict[str, int]:
        """Of some reports those that are here, with their rows."""
        query = "SELECT report_id, row FROM report WHERE report_id IN (SELECT value FROM json_each(?))"
        return dict(self._rows(query, (json.dumps(list(report_ids)),)))

    def all_report_ids(self) -> Iterator[str]:
        """In the order of their bytes."""
        yield from (name for (name,) in self._db.execute("SELECT report_id FROM report ORDER BY report_id"))

    def film_rows(self) -> dict[tuple[str, str], int]:
        """The row of each film by its study and name."""
        return {(study, name): row for study, name, row in self._rows("SELECT study_id, name, row FROM film")}

    def named(
        self,
        studies: Sequence[str],
        patients: Sequence[str],
        sources: Sequence[str],
        missing_ok: bool = False,
    ) -> tuple[list[str], int]:
        """The ids of the studies that some names mean, and how many names nothing here has.

        Errors: Refused for a name that nothing has, unless ``missing_ok``.
        """

        def find(column: str, name: str) -> list[str]:
            return [
                study for (study,) in self._rows(f"SELECT study_id FROM study WHERE {column} = ?", (name,))
            ]

        given = {"study": studies, "patient": patients, "source": sources}
        return meant(given, find, f"{self._path.parent}", "this bundle", missing_ok)

    def held_by(self, study_ids: Sequence[str]) -> dict[str, int]:
        """What would go with some studies: how many patients' studies, reports that no other study has,
        and films.
        """
        ids = "SELECT value FROM json_each(?)"
        gone = (json.dumps(list(study_ids)),)
        counts = {
            "patients": f"SELECT count(DISTINCT patient_id) FROM study WHERE study_id IN ({ids})",
            "reports": "SELECT count(*) FROM report WHERE row NOT IN (SELECT report_row FROM study"
            f" WHERE report_row IS NOT NULL AND study_id NOT IN ({ids}))",
            "films": f"SELECT count(*) FROM film WHERE study_id IN ({ids})",
        }
        return {
            "studies": len(study_ids),
            **{name: self._rows(query, gone)[0][0] for name, query in counts.items()},
        }

    def unknown_patients(self, patients: Sequence[str]) -> int:
        """How many of some patients have no study here."""
        (here,) = self._rows(
            (
                "SELECT count(DISTINCT patient_id) FROM study WHERE patient_id IN (SELECT value FROM "
                "json_each(?))"
            ),
            (json.dumps(patients),),
        )[0]
        return len(set(patients)) - int(here)

    def statistics(self) -> dict[str, Any]:
        """Counts of everything; what is counted by name, the most frequent first."""
        studies, reports, films = self.counts()
        ((patients, with_report, first, last, without),) = self._rows(
            "SELECT count(DISTINCT patient_id), count(report_row), min(nullif(date, '')), max(nullif(date, "
            "'')), sum(date = '') FROM study"
        )
        return {
            "studies": studies,
            "reports": reports,
            "films": films,
            "patients": patients,
            "with_report": with_report,
            "labels": self._counted("SELECT label, count(*) FROM report GROUP BY label ORDER BY 2 DESC, 1"),
            "views": self._counted("SELECT view, count(*) FROM film GROUP BY view ORDER BY 2 DESC, 1"),
            "sources": self._counted("SELECT source, count(*) FROM study GROUP BY source ORDER BY 2 DESC, 1"),
            "findings": self._counted(
                "SELECT name, count(DISTINCT study_id) FROM finding GROUP BY name ORDER BY 2 DESC, 1"
            ),
            "dates": {"first": first, "last": last, "without": without or 0},
        }

    def _counted(self, query: str) -> dict[str, int]:
        return dict(self._rows(query))

    def __enter__(self) -> "ReportStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def __del__(self) -> None:
        """A store that was forgotten, or refused while it was opened, does not keep its file."""
        if hasattr(self, "_db"):
            self._db.close()

    def _studies(self, row: int, where: Where) -> tuple[int, str, tuple[str, ...], tuple[str, ...]]:
        """How many studies have a report, the last date, ids and dates of the first ten."""
        query = (
            "SELECT study_id, date, count(*) OVER (), max(date) OVER () FROM study WHERE report_row = ? AND "
            f"{where.sql} ORDER BY study_id LIMIT ?"
        )
        studies = self._rows(query, (row, *where.values, STUDY_IDS_SHOWN))
        if not studies:
            return 0, "", (), ()
        ids, dates = (tuple(study[place] for study in studies) for place in (0, 1))
        return studies[0][2], studies[0][3], ids, dates

    def details(self, name: str) -> "Details":
        """A report with its studies and films, by its own id or that of a study. Errors: Refused."""
        from .report_details import details_of

        return details_of(self._rows, name, self._path.parent)

    def reports_of(self, name: str) -> "PatientReports":
        """All reports of one patient, by their own id or that of a study. Errors: Refused."""
        from .patient_reports import reports_of

        return reports_of(self._rows, name, self._path.parent)

    def _of_rows(self, query: str, rows: Sequence[int]) -> list[Any]:
        return self._rows(query, (json.dumps([int(row) for row in rows]),))  # one value, however many rows

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise ArtefactDamaged(f"{self._path}: {error}") from None


Key = TypeVar("Key")
COLUMNS = {"study": "study_id", "patient": "patient_id", "source": "source"}


def meant(
    given: Mapping[str, Sequence[str]],
    find: Callable[[str, str], list[Key]],
    where: str,
    among: str,
    missing_ok: bool,
) -> tuple[list[Key], int]:
    """What ``find`` gives by column and name for all names of studies, patients and sources, each once, and
    how many names nothing has.

    Errors: Refused for such a name, unless ``missing_ok``.
    """
    keys: dict[Key, None] = {}
    missing = 0
    for kind, names in given.items():
        for name in names:
            found = find(COLUMNS[kind], name)
            if not found and not missing_ok:
                what = f"{where}: no {kind} {name!r} in {among}"
                raise Refused(what, "nothing was removed", "or add --missing-ok")
            missing += not found
            keys |= dict.fromkeys(found)
    return list(keys), missing
