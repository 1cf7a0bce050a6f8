"""Full-text search of a store's reports that knows what they affirm and what they deny.

A file of words has a column for each, and one for all: what an indexing run read of every report
(``denial``). A bundle of before has the last alone; its reports are then read when words are first asked
for, in memory.
"""

import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import numpy as np

from ..errors import ArtefactDamaged, Refused, WrongOption
from .denial import AFFIRMED, ASKED, DENIED, by_stance
from .finding_words import TypedFinding
from .report_store import ReportStore

TEXT = "text"  # all words as they stand
COLUMNS = (TEXT, AFFIRMED, DENIED, ASKED)
# ``other_language`` are the rows of reports that are not English: their words count as affirmed. ``spelt``
# holds every word as it is written, in small letters: full-text search knows stems, which ``opaci*`` begins
# none of.
TABLES = f"""
CREATE VIRTUAL TABLE terms USING
    fts5({", ".join(COLUMNS)}, content='', tokenize='porter unicode61 remove_diacritics 2');
CREATE TABLE other_language (row INTEGER PRIMARY KEY);
CREATE TABLE spelt (word TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_INSERT = f"INSERT INTO terms(rowid, {', '.join(COLUMNS)}) VALUES (?,?,?,?,?)"
WORD = re.compile(r"[^\W_]{3,}")
_BEGINNING = re.compile(r'("[^"]*"\*?)|([^\W_]{3,})\*')
_NOT = re.compile(r"\s*NOT\s+(?=\S)")


def insert_words(db: sqlite3.Connection, texts: Iterable[tuple[int, str]]) -> None:
    """Read reports, row and text, into the tables of ``TABLES``."""
    spelt: set[str] = set()
    for row, text in texts:
        new = set(WORD.findall(text.lower())) - spelt
        spelt |= new
        db.executemany("INSERT OR IGNORE INTO spelt VALUES (?)", ((word,) for word in new))
        stances = by_stance(text)
        db.execute(_INSERT, (row, text, *(stances or (text, "", ""))))
        if stances is None:
            db.execute("INSERT INTO other_language VALUES (?)", (row,))


def knows_denial(db: sqlite3.Connection) -> bool:
    """Whether a file of words has the columns of today."""
    columns = [name for _, name, *_ in db.execute("PRAGMA table_info(terms)")]
    return columns == list(COLUMNS)


class ReportWords:
    """The words of the reports of one store. Any thread may ask."""

    def __init__(self, db: sqlite3.Connection, where: str, reports: int, stored: bool):
        self._db, self._where, self._reports = db, where, reports
        self.stored = stored

    @classmethod
    def open(cls, terms: Path | None, store: ReportStore) -> "ReportWords":
        """``terms`` is the checked file of words, None where the bundle has none.

        Errors: ArtefactDamaged; Refused where SQLite has no full-text search.
        """
        _, reports, _ = store.counts()
        if terms is not None:
            try:
                uri = f"{terms.resolve().as_uri()}?mode=ro&immutable=1"
                db = sqlite3.connect(uri, uri=True, check_same_thread=False)
                if knows_denial(db):
                    return cls(db, str(terms), reports, True)
                db.close()
            except sqlite3.DatabaseError as error:
                raise _said(error, str(terms)) from None
        memory = sqlite3.connect(":memory:", check_same_thread=False)
        try:
            memory.executescript(TABLES)
            insert_words(memory, store.texts())
        except sqlite3.DatabaseError as error:
            raise _said(error, "the words of the reports") from None
        return cls(memory, "the words of the reports", reports, False)

    def matching(self, words: str, any_stance: bool) -> np.ndarray:
        """Rows of the reports that affirm some words, or with ``any_stance`` have them at all, ascending,
        int64.

        ``words`` are FTS5's query language; with NOT before all of it: the reports that do not.
        """
        option = "--match-any" if any_stance else "--match"
        inverted = _NOT.match(words)
        wanted = words[inverted.end() :] if inverted else words
        try:
            spelt = _BEGINNING.sub(self._words_of, wanted)
            rows = self._rows(f"{{{TEXT if any_stance else AFFIRMED}}} : ({spelt})")
        except sqlite3.OperationalError as error:
            if "no such module" in str(error):
                raise _said(error, option) from None
            raise WrongOption(
                f"{option} {words!r}: {error}",
                'expected words, "a phrase", a beginning*, or words joined by AND, OR, NOT',
                "quote other signs: '\"T-spine\"'",
            ) from None
        except sqlite3.DatabaseError as error:
            raise ArtefactDamaged(f"{self._where}: {error}") from None
        return np.setdiff1d(np.arange(self._reports, dtype=np.int64), rows) if inverted else rows

    def _words_of(self, beginning: "re.Match[str]") -> str:
        """The words that begin so, as they are written, for one of them; a phrase as it stands."""
        if beginning[1]:
            return beginning[1]
        first = beginning[2].lower()
        query = "SELECT word FROM spelt WHERE word >= ? AND word < ? LIMIT 1000"
        words = [word for (word,) in self._db.execute(query, (first, f"{first}\U0010ffff"))]
        quoted = (f'"{word}"' for word in words or [first])
        return f"({' OR '.join(quoted)})"

    def stances(self, finding: TypedFinding) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the reports that affirm a finding, and of those that only deny it, ascending, int64."""
        try:
            affirming, denying = (
                self._rows(f"{{{column}}} : ({finding.expression})") for column in (AFFIRMED, DENIED)
            )
        except sqlite3.DatabaseError as error:
            raise _said(error, self._where) from None
        return affirming, np.setdiff1d(denying, affirming)

    def relevance(self, expression: str, denied: bool = False) -> np.ndarray:
        """How well each report affirms (or denies) what an FTS5 expression says, float [reports]: BM25, large
        is well; NaN where it does not.
        """
        if "NEAR(" in expression and " OR " in expression:
            # Below an OR, FTS5 gives words that are near the count of a row before; the sum of parts does
            # not.
            parts = np.stack([self.relevance(part, denied) for part in expression.split(" OR ")])
            return np.where(np.isnan(parts).all(axis=0), np.nan, np.nansum(parts, axis=0))
        found = np.full(self._reports, np.nan)
        query = "SELECT rowid, -bm25(terms) FROM terms WHERE terms MATCH ?"
        words = f"{{{DENIED if denied else AFFIRMED}}} : ({expression})"
        try:
            with closing(self._db.execute(query, (words,))) as rows:
                for row, value in rows:
                    found[row] = value
        except sqlite3.DatabaseError as error:
            raise _said(error, self._where) from None
        return found

    @property
    def other_language(self) -> int:
        """How many reports are not English: of them words alone are known."""
        ((count,),) = self._db.execute("SELECT count(*) FROM other_language").fetchall()
        return int(count)

    @property
    def note(self) -> str | None:
        """One line on what is not known of denial here."""
        parts = []
        if not self.stored:
            parts.append(
                f"what {self._reports} reports deny was read just now, not when they were indexed: mtclip"
                f" index "
                "rebuild BUNDLE stores it"
            )
        if other := self.other_language:
            parts.append(
                f"{other} of {self._reports} reports are not read as English: there words alone count,"
                f" denied or not"
            )
        return "; ".join(parts) or None

    def close(self) -> None:
        self._db.close()

    def __del__(self) -> None:
        if hasattr(self, "_db"):
            self._db.close()

    def _rows(self, query: str) -> np.ndarray:
        with closing(self._db.execute("SELECT rowid FROM terms WHERE terms MATCH ?", (query,))) as found:
            return np.sort(np.fromiter((row for (row,) in found), np.int64))


def _said(error: sqlite3.DatabaseError, what: str) -> ArtefactDamaged | Refused:
    if "no such module" in str(error):
        return Refused(f"{what}: this Python's SQLite has no full-text search (FTS5)")
    return ArtefactDamaged(f"{what}: {error}")
