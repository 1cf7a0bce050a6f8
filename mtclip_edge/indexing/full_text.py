"""The words of a store's reports for full-text search, in a file of their own."""

import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ..files import replace_with
from ..index.store_schema import open_store
from .store_writer import new_database

TERMS = (
    "CREATE VIRTUAL TABLE terms USING fts5(text, content='', tokenize='porter unicode61 remove_diacritics 2')"
)


def write_terms(path: Path, store: Path, old: Path | None = None) -> Path:
    """Write the words of a store's reports for full-text search, row by row; those of an older file of
    its first rows are taken over.
    """

    def write(file: Path) -> None:
        file.unlink(missing_ok=True)
        if old:
            shutil.copyfile(old, file)
        with closing(open_store(store)) as source, new_database(file) as db:
            if not old:
                db.execute(TERMS)
            (written,) = db.execute("SELECT coalesce(max(rowid) + 1, 0) FROM terms").fetchone()
            db.executemany("INSERT INTO terms(rowid, text) VALUES (?, ?)", source.execute(_TEXTS, (written,)))

    return replace_with(path, write)


_TEXTS = "SELECT row, text FROM report WHERE row >= ? ORDER BY row"


def texts_of(store: Path, rows: Sequence[int]) -> list[str]:
    """The shown wordings of some reports, in the order of ``rows``."""
    with closing(open_store(store)) as db:
        return [db.execute("SELECT text FROM report WHERE row = ?", (row,)).fetchone()[0] for row in rows]
