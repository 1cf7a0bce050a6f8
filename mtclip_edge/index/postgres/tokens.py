"""The words of texts as SQLite's FTS5 makes them, for both stores have one tokeniser; and as a tsvector."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing

from ...errors import Refused

TOKENISER = "porter unicode61 remove_diacritics 2"
_TABLES = f"""
CREATE VIRTUAL TABLE piece USING fts5(text, content='', tokenize='{TOKENISER}');
CREATE VIRTUAL TABLE token USING fts5vocab(piece, 'instance');
"""
# What a tsvector can hold: PostgreSQL moves later places to the last one, and drops more of them.
LAST_PLACE, MOST_PLACES = 16383, 256
_LONGEST = 500  # letters: at most 2,000 bytes, and PostgreSQL takes 2,046
_LARGEST = 1_000_000  # bytes, of the 1,048,575 that PostgreSQL takes


def tokens_of(texts: Sequence[str]) -> list[list[str]]:
    """The stems of each text in their order: the place of one in its list is its position in FTS5.

    Errors: Refused where SQLite has no full-text search.
    """
    # No token goes across white space, so each piece between is read once, however often it stands.
    pieces = [text.split() for text in texts]
    stems = _stems(list({piece for of_text in pieces for piece in of_text}))
    return [[stem for piece in of_text for stem in stems[piece]] for of_text in pieces]


def _stems(pieces: Sequence[str]) -> dict[str, list[str]]:
    found: list[list[str]] = [[] for _ in pieces]
    with closing(sqlite3.connect(":memory:")) as memory:
        try:
            memory.executescript(_TABLES)
        except sqlite3.OperationalError as error:
            if "no such module" not in str(error):
                raise
            raise Refused("words: this Python's SQLite has no full-text search (FTS5)") from None
        memory.executemany("INSERT INTO piece(rowid, text) VALUES (?, ?)", enumerate(pieces))
        for row, stem in memory.execute("SELECT doc, term FROM token ORDER BY doc, offset"):
            found[row].append(stem)
    return dict(zip(pieces, found, strict=True))


def literal(stems: Sequence[str]) -> str:
    """The text of a tsvector of some stems with their places, the first is 1.

    A tsvector does not hold all: stems after the 16,383rd are left out, so that words which stand only there
    are not found; of one stem more than 256 times, the later ones, so that relevance counts it 256 times;
    of a stem what follows its 500th letter; and what comes after a megabyte of different stems.
    """
    places: dict[str, list[str]] = {}
    for place, stem in enumerate(stems[:LAST_PLACE], 1):
        places.setdefault(stem[:_LONGEST], []).append(str(place))
    if sum(map(len, places)) * 4 + len(stems) * 2 + len(places) * 5 > _LARGEST:
        places = _first(places)
    return " ".join(f"{quoted(stem)}:{','.join(at[:MOST_PLACES])}" for stem, at in places.items())


def _first(places: dict[str, list[str]]) -> dict[str, list[str]]:
    """As many stems as a tsvector holds."""
    kept, size = {}, 0
    for stem, at in places.items():
        size += len(stem.encode()) + 2 * min(len(at), MOST_PLACES) + 5
        if size > _LARGEST:
            break
        kept[stem] = at
    return kept


def quoted(stem: str) -> str:
    """A stem as it stands in the text of a tsvector or tsquery."""
    return "'" + stem[:_LONGEST].replace("\\", "\\\\").replace("'", "''") + "'"
