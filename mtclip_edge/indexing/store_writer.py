"""Writing report stores: studies, distinct reports, films and findings in one SQLite file, and the words of
the reports in another.

A file is written whole before it is renamed into a generation and never changes after that. Report row r is
row r of the vector array; film row f is row R + f, where R is the number of reports. A study that is removed
is left out of a new file, never deleted from an old one, so that no page of it holds what was there.
"""

import errno
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from ..files import replace_with
from ..index.store_schema import (
    FILL_DENIED,
    INDEXES,
    SCHEMA,
    SCHEMA_VERSION,
    migrate,
    open_store,
    read_denials,
)
from ..studies import LABELS, Film, Study

_LABEL = "CASE WHEN normal = abnormal THEN 'unknown' WHEN normal > abnormal THEN 'normal' ELSE 'abnormal' END"


@contextmanager
def new_database(path: Path) -> Iterator[sqlite3.Connection]:
    """An unpublished file, written without a journal: nobody reads it before it is renamed.

    A full disk comes as OSError.
    """
    db = sqlite3.connect(path)
    try:
        # foreign_keys says nothing inside a transaction, so it stands before the first.
        db.executescript(
            "PRAGMA foreign_keys = ON; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA "
            "temp_store = MEMORY"
        )
        read_denials(db)
        with db:
            yield db
    except sqlite3.OperationalError as error:
        raise OSError(errno.ENOSPC, str(error), str(path)) from None
    finally:
        db.close()


def write_store(
    path: Path, model_id: str, studies: Iterable[Study], films: Iterable[tuple[Film, Study]]
) -> Path:
    """Write a new store: reports get their rows in the order in which the studies bring them, films in
    theirs.
    """

    def write(file: Path) -> None:
        file.unlink(missing_ok=True)
        with new_database(file) as db:
            _create(db, model_id)
            insert(db, studies, films)
            db.executescript(INDEXES)

    return replace_with(path, write)


def extend_store(
    path: Path, old: Path, studies: Iterable[Study], films: Iterable[tuple[Film, Study]]
) -> Path:
    """Write a store that holds the old one's rows, unchanged, and the new studies after them."""

    def write(file: Path) -> None:
        shutil.copyfile(old, file)
        with new_database(file) as db:
            (version,) = db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
            migrate(db, int(version))
            insert(db, studies, films)

    return replace_with(path, write)


def insert(db: sqlite3.Connection, studies: Iterable[Study], films: Iterable[tuple[Film, Study]]) -> None:
    """Add studies and the films whose vectors are known; a study whose report is there already joins it.

    What the new findings' reports deny is read and stored.
    """
    touched: set[int] = set()
    (reports,) = db.execute("SELECT count(*) FROM report").fetchone()
    for study in studies:
        assert study.label in LABELS, study.label
        if study.report_id:
            report = db.execute(
                "SELECT row, text FROM report WHERE report_id = ?", (study.report_id,)
            ).fetchone()
            if report is None:
                report = (reports, study.text)
                values = (
                    reports,
                    study.report_id,
                    study.text,
                    study.findings,
                    study.impression,
                    "unknown",
                    0,
                    0,
                    0,
                )
                db.execute("INSERT INTO report VALUES (?,?,?,?,?,?,?,?,?)", values)
                reports += 1
            db.execute(f"UPDATE report SET {study.label} = {study.label} + 1 WHERE row = ?", report[:1])
            touched.add(report[0])
        _insert_study(db, study, report if study.report_id else None)
    db.executemany(f"UPDATE report SET label = {_LABEL} WHERE row = ?", [(row,) for row in touched])
    (first,) = db.execute("SELECT count(*) FROM film").fetchone()
    for row, (film, study) in enumerate(films, first):
        db.execute("INSERT INTO film VALUES (?,?,?,?)", (row, study.study_id, film.name, film.view))
    db.execute(FILL_DENIED)


def _insert_study(db: sqlite3.Connection, study: Study, report: tuple[int, str] | None) -> None:
    values = (
        study.study_id,
        study.patient_id,
        report and report[0],
        study.label,
        study.source,
        study.split,
        study.date,
    )
    db.execute("INSERT INTO study VALUES (?,?,?,?,?,?,?)", values)
    if report and report[1] != study.text:
        db.execute(
            "INSERT INTO wording VALUES (?,?,?,?)",
            (study.study_id, study.text, study.findings, study.impression),
        )
    db.executemany(
        "INSERT INTO finding VALUES (?,?,NULL)", [(study.study_id, name) for name in study.finding_labels]
    )


def _create(db: sqlite3.Connection, model_id: str) -> None:
    db.executescript(SCHEMA)
    db.executemany(
        "INSERT INTO meta VALUES (?, ?)", [("schema_version", str(SCHEMA_VERSION)), ("model_id", model_id)]
    )


def write_without(
    path: Path, old: Path, model_id: str, gone: Sequence[str]
) -> tuple[list[int], list[int], list[int]]:
    """Write a store without some studies; reports that nobody has any more go too.

    Returns the old rows of the reports and of the films that stay, in their new order, and the new rows of
    reports that have another wording now, because the study whose words they showed is gone.
    """
    with closing(open_store(old)) as source:
        source.execute("CREATE TEMP TABLE gone (study_id TEXT PRIMARY KEY) WITHOUT ROWID")
        source.executemany("INSERT OR IGNORE INTO gone VALUES (?)", [(study_id,) for study_id in gone])
        source.executescript(_NUMBERED)

        def write(file: Path) -> None:
            file.unlink(missing_ok=True)
            with new_database(file) as db:
                _create(db, model_id)
                for table, columns, query in _COPIES:
                    marks = ",".join("?" * columns)
                    db.executemany(f"INSERT INTO {table} VALUES ({marks})", source.execute(query))
                changed.extend(_reword(db))
                db.execute(FILL_DENIED)
                db.executescript(INDEXES)

        changed: list[int] = []
        replace_with(path, write)
        reports, films = (
            [row for (row,) in source.execute(f"SELECT old FROM kept_{kind} ORDER BY new")]
            for kind in ("report", "film")
        )
    return reports, films, changed


_NUMBERED = """
CREATE TEMP TABLE kept_study AS SELECT * FROM study WHERE study_id NOT IN (SELECT study_id FROM gone);
CREATE TEMP TABLE kept_report AS
    SELECT row AS old, row_number() OVER (ORDER BY row) - 1 AS new FROM report
    WHERE row IN (SELECT report_row FROM kept_study);
CREATE UNIQUE INDEX temp.kept_report_old ON kept_report(old);
CREATE TEMP TABLE kept_film AS
    SELECT row AS old, row_number() OVER (ORDER BY row) - 1 AS new FROM film
    WHERE study_id NOT IN (SELECT study_id FROM gone);
"""
_COPIES = (
    (
        "report",
        9,
        "SELECT k.new, r.report_id, r.text, r.findings, r.impression,"
        " CASE WHEN sum(s.label = 'normal') = sum(s.label = 'abnormal') THEN 'unknown'"
        " WHEN sum(s.label = 'normal') > sum(s.label = 'abnormal') THEN 'normal' ELSE 'abnormal' END,"
        " sum(s.label = 'normal'), sum(s.label = 'abnormal'), sum(s.label = 'unknown')"
        " FROM kept_report k JOIN report r ON r.row = k.old JOIN kept_study s ON s.report_row = k.old GROUP "
        "BY k.new ORDER BY k.new",
    ),
    (
        "study",
        7,
        "SELECT s.study_id, s.patient_id, k.new, s.label, s.source, s.split, s.date"
        " FROM kept_study s LEFT JOIN kept_report k ON k.old = s.report_row",
    ),
    ("wording", 4, "SELECT * FROM wording WHERE study_id NOT IN (SELECT study_id FROM gone)"),
    ("film", 4, "SELECT k.new, f.study_id, f.name, f.view FROM kept_film k JOIN film f ON f.row = k.old"),
    ("finding", 3, "SELECT * FROM finding WHERE study_id NOT IN (SELECT study_id FROM gone)"),
)


def _reword(db: sqlite3.Connection) -> list[int]:
    """Give a report whose shown words are no remaining study's those of its first study; returns the rows
    of such reports.
    """
    query = (
        "SELECT report_row, min(wording.study_id) FROM study LEFT JOIN wording USING (study_id) WHERE "
        "report_row IS NOT NULL"
        " GROUP BY report_row HAVING count(*) = count(wording.study_id)"
    )
    rows = db.execute(query).fetchall()
    for row, study_id in rows:
        text, findings, impression = db.execute(
            "SELECT text, findings, impression FROM wording WHERE study_id = ?", (study_id,)
        ).fetchone()
        db.execute(
            "UPDATE report SET text = ?, findings = ?, impression = ? WHERE row = ?",
            (text, findings, impression, row),
        )
        db.execute(
            (
                "DELETE FROM wording WHERE text = ? AND study_id IN (SELECT study_id FROM study WHERE "
                "report_row = ?)"
            ),
            (text, row),
        )
        db.execute(
            "UPDATE finding SET denied = NULL WHERE study_id IN (SELECT study_id FROM study WHERE"
            " report_row = ?)",
            (row,),
        )
    if rows:  # what was replaced must not stay on a free page
        db.commit()
        db.execute("VACUUM")
    return [row for row, _ in rows]


def stored_studies(store: Path) -> Iterator[Study]:
    """Every study of a store, with its own wording, the films that have a vector, and paths that mean
    nothing here.
    """
    query = (
        "SELECT s.study_id, patient_id, s.label, source, split, date, coalesce(w.text, r.text, ''), "
        "coalesce(w.findings, r.findings, ''),"
        " coalesce(w.impression, r.impression, '')"
        " FROM study s LEFT JOIN report r ON r.row = report_row LEFT JOIN wording w USING (study_id) ORDER "
        "BY s.study_id"
    )
    with closing(open_store(store)) as db:
        for study_id, patient, label, source, split, date, text, findings, impression in db.execute(query):
            films = db.execute(
                "SELECT name, view FROM film WHERE study_id = ? ORDER BY row", (study_id,)
            ).fetchall()
            labels = db.execute("SELECT name FROM finding WHERE study_id = ?", (study_id,)).fetchall()
            yield Study(
                study_id=study_id,
                patient_id=patient,
                films=tuple(Film(Path(name), name, view) for name, view in films),
                findings=findings,
                impression=impression,
                report=text,
                label=label,
                finding_labels=tuple(name for (name,) in labels),
                split=split,
                source=source,
                date=date,
            )
