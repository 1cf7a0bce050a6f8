"""The words of a store's reports for full-text search, in a file of their own, by what is said of them."""

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ..files import replace_with
from ..index.store_schema import open_store
from ..index.words import TABLES, insert_words, knows_denial
from .store_writer import new_database

READING = "reading what reports affirm and deny"  # what write_terms does, for a bar


def write_terms(path: Path, store: Path, old: Path | None = None) -> Path:
    """Write the words of a store's reports for full-text search, row by row, with what each report affirms,
    denies and asks about; those of an older file of its first rows are taken over where it knows that.
    """

    def write(file: Path) -> None:
        file.unlink(missing_ok=True)
        taken = old is not None and _knows_denial(old)
        if taken and old is not None:
            shutil.copyfile(old, file)
        with closing(open_store(store)) as source, new_database(file) as db:
            if not taken:
                db.executescript(TABLES)
            (written,) = db.execute("SELECT coalesce(max(rowid) + 1, 0) FROM terms").fetchone()
            insert_words(db, source.execute(_TEXTS, (written,)))

    return replace_with(path, write)


def _knows_denial(terms: Path) -> bool:
    with closing(sqlite3.connect(f"{terms.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as db:
        return knows_denial(db)


_TEXTS = "SELECT row, text FROM report WHERE row >= ? ORDER BY row"


def texts_of(store: Path, rows: Sequence[int]) -> list[str]:
    """The shown wordings of some reports, in the order of ``rows``."""
    with closing(open_store(store)) as db:
        return [db.execute("SELECT text FROM report WHERE row = ?", (row,)).fetchone()[0] for row in rows]
