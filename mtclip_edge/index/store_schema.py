"""The report store's tables: one schema, what turns an older store into it, and how a store is opened."""

import sqlite3
from pathlib import Path

from ..errors import ArtefactDamaged, ArtefactIncompatible

SCHEMA_VERSION = 3
# A report shows the wording of the study that brought it. A study whose words differ from that (in case,
# punctuation or de-identification marks: else it would be another report) keeps its own in ``wording``.
# ``finding.denied``: 1 where the report names a label's finding only to deny it; NULL where never read.
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE report (
    row INTEGER PRIMARY KEY, report_id TEXT NOT NULL UNIQUE, text TEXT NOT NULL, findings TEXT NOT NULL,
    impression TEXT NOT NULL,
    label TEXT NOT NULL, normal INTEGER NOT NULL, abnormal INTEGER NOT NULL, unknown INTEGER NOT NULL
);
CREATE TABLE study (
    study_id TEXT PRIMARY KEY, patient_id TEXT NOT NULL, report_row INTEGER REFERENCES report(row),
    label TEXT NOT NULL,
    source TEXT NOT NULL, split TEXT NOT NULL, date TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE wording (
    study_id TEXT PRIMARY KEY REFERENCES study(study_id), text TEXT NOT NULL, findings TEXT NOT NULL,
    impression TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE film (row INTEGER PRIMARY KEY, study_id TEXT NOT NULL REFERENCES study(study_id),
name TEXT NOT NULL, view TEXT NOT NULL);
CREATE TABLE finding (study_id TEXT NOT NULL REFERENCES study(study_id), name TEXT NOT NULL,
denied INTEGER);
"""
INDEXES = """
CREATE INDEX IF NOT EXISTS film_by_study ON film(study_id);
CREATE INDEX IF NOT EXISTS report_by_label ON report(label);
CREATE INDEX IF NOT EXISTS study_by_report ON study(report_row);
CREATE INDEX IF NOT EXISTS study_by_patient ON study(patient_id);
CREATE INDEX IF NOT EXISTS finding_by_study ON finding(study_id);
CREATE INDEX IF NOT EXISTS finding_by_name ON finding(name COLLATE NOCASE);
"""
# What turns a store of each version into one of the next.
_MIGRATIONS = {
    1: """
    ALTER TABLE study ADD COLUMN date TEXT NOT NULL DEFAULT '';
    CREATE TABLE wording (
        study_id TEXT PRIMARY KEY REFERENCES study(study_id), text TEXT NOT NULL, findings TEXT NOT NULL,
        impression TEXT NOT NULL
    ) WITHOUT ROWID;
    UPDATE film SET row = row - (SELECT count(*) FROM report);
    """,
    2: "ALTER TABLE finding ADD COLUMN denied INTEGER;",
}
# Whether a finding is denied, in SQL that joins finding, study and report: as it was stored, else as the
# report is read now.
IS_DENIED = "coalesce(finding.denied, denies(report.text, finding.name))"
FILL_DENIED = """
UPDATE finding SET denied = (
    SELECT denies(report.text, finding.name) FROM study LEFT JOIN report ON report.row = study.report_row
    WHERE study.study_id = finding.study_id
) WHERE denied IS NULL
"""


def read_denials(db: sqlite3.Connection) -> None:
    """Give a connection the function ``denies(text, finding)``; the reader is loaded with the first
    row that needs it.
    """

    def denies(text: str | None, finding: str) -> int:
        from .finding_words import denies

        return int(text is not None and denies(text, finding))

    db.create_function("denies", 2, denies, deterministic=True)


def open_store(path: Path) -> sqlite3.Connection:
    """Read access to a store of any version up to ours; an older one is brought up to date in memory, its
    file stays as it is.

    Any thread may use it. Errors: ArtefactDamaged, ArtefactIncompatible.
    """
    try:
        db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise ArtefactDamaged(f"{path}: {error}") from None
    try:
        version = int(dict(db.execute("SELECT key, value FROM meta"))["schema_version"])
        if version > SCHEMA_VERSION:
            from ..installation import upgrade_hint

            raise ArtefactIncompatible(f"{path}: report store version {version}", hint=upgrade_hint())
        read_denials(db)
        if version == SCHEMA_VERSION:
            return db
        memory = _migrated(db, version)
        db.close()
        return memory
    except (sqlite3.Error, KeyError, ValueError) as error:
        db.close()
        raise ArtefactDamaged(f"{path}: {error}") from None
    except ArtefactIncompatible:
        db.close()
        raise


def _migrated(db: sqlite3.Connection, version: int) -> sqlite3.Connection:
    """A copy in memory, brought up to ours."""
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    try:
        db.backup(memory)
        read_denials(memory)
        migrate(memory, version)
    except BaseException:
        memory.close()
        raise
    return memory


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Bring an open store from ``version`` up to ours."""
    for step in range(version, SCHEMA_VERSION):
        db.executescript(_MIGRATIONS[step] + INDEXES)
    db.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(SCHEMA_VERSION),))
    db.commit()
