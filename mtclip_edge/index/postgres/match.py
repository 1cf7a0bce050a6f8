"""FTS5's query language in PostgreSQL: a search's words as a tree, and that as a tsquery.

FTS5 itself says whether an expression is one, so that a mistake reads the same in both stores. Stems are
FTS5's (``tokens``), so a tsquery is cast, never made by to_tsquery.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from ...errors import Refused, WrongOption
from ..words import TABLES, TEXT
from .tokens import quoted, tokens_of

# As in ``words``: a beginning of three letters is spelt out, a shorter one is one of stems, as in FTS5.
_BEGINNING = re.compile(r'("[^"]*"\*?)|([^\W_]{3,})\*')
_NOT = re.compile(r"\s*NOT\s+(?=\S)")
_LEXEME = re.compile(r'[ \t\r\n]*(?:("(?:[^"]|"")*")|([A-Za-z0-9_\x1a\x80-\U0010ffff]+)|(\S))')
_NOWHERE = "'\x01'"  # a sign that no stem has
_NEAR, _MOST_NEAR = 10, 64  # FTS5's own distance; beyond ours a tsquery would be very long
AND, OR, NOT = "AND", "OR", "NOT"


@dataclass(frozen=True)
class Phrase:
    """Stems one after another, each with whether it is a beginning; without any it stands nowhere."""

    stems: tuple[tuple[str, bool], ...]

    @property
    def tsquery(self) -> str:
        words = (f"{quoted(stem)}:*" if begins else quoted(stem) for stem, begins in self.stems)
        return f"({' <-> '.join(words) or _NOWHERE})"


@dataclass(frozen=True)
class Near:
    """Two different stems with at most some tokens between them, in either order."""

    first: str
    second: str
    most: int

    @property
    def phrases(self) -> tuple[Phrase, Phrase]:
        return Phrase(((self.first, False),)), Phrase(((self.second, False),))

    @property
    def tsquery(self) -> str:
        one, other = quoted(self.first), quoted(self.second)
        places = (
            f"{a} <{apart}> {b}" for apart in range(1, self.most + 2) for a, b in ((one, other), (other, one))
        )
        return f"({' | '.join(places)})"


@dataclass(frozen=True)
class Joined:
    """Parts joined by ``AND`` or ``OR``; of ``NOT`` the first and none of the others."""

    how: str
    parts: "tuple[Node, ...]"

    @property
    def tsquery(self) -> str:
        sign = {AND: " & ", OR: " | ", NOT: " & !"}[self.how]
        return f"({sign.join(part.tsquery for part in self.parts)})"


Node = Phrase | Near | Joined


def matching(words: str, option: str, beginning_so: Callable[[str], Sequence[str]]) -> str:
    """The tsquery of the reports that ``ReportWords.matching`` finds.

    ``beginning_so`` gives the words, as they are written, that begin with some small letters, at most 1,000.
    Errors: WrongOption, also for what is not searched in PostgreSQL; Refused where SQLite has no FTS5.
    """
    inverted = _NOT.match(words)

    def spelt(beginning: "re.Match[str]") -> str:
        if beginning[1]:
            return beginning[1]
        first = beginning[2].lower()
        quoted_words = (f'"{word}"' for word in beginning_so(first) or [first])
        return f"({' OR '.join(quoted_words)})"

    expression = _BEGINNING.sub(spelt, words[inverted.end() :] if inverted else words)
    tree = parsed(expression, f"{option} {words!r}")
    return f"!{tree.tsquery}" if inverted else tree.tsquery


def parsed(expression: str, said: str) -> Node:
    """The tree of an FTS5 expression; ``said`` begins the message of an error.

    Errors: WrongOption, Refused.
    """
    _check(expression, said)
    return _Parser(expression, said).whole()


def _check(expression: str, said: str) -> None:
    """FTS5 reads the expression."""
    query = "SELECT rowid FROM terms WHERE terms MATCH ?"
    try:
        with closing(sqlite3.connect(":memory:")) as memory:
            memory.executescript(TABLES)
            memory.execute(query, (f"{{{TEXT}}} : ({expression})",)).fetchall()
    except sqlite3.OperationalError as error:
        if "no such module" in str(error):
            raise Refused(f"{said}: this Python's SQLite has no full-text search (FTS5)") from None
        raise WrongOption(
            f"{said}: {error}",
            'expected words, "a phrase", a beginning*, or words joined by AND, OR, NOT',
            "quote other signs: '\"T-spine\"'",
        ) from None


@dataclass(frozen=True)
class _Lexeme:
    """A sign or a word; ``stems`` of a word or of words in quotes, None of AND, OR, NOT and signs."""

    text: str
    stems: Sequence[str] | None


def _lexemes(expression: str) -> Iterator[_Lexeme]:
    found = [match.groups() for match in _LEXEME.finditer(expression)]
    strings = [inner[1:-1].replace('""', '"') if inner else word or "" for inner, word, _ in found]
    for (inner, word, sign), stems in zip(found, tokens_of(strings), strict=True):
        text = inner or word or sign
        yield _Lexeme(text, None if sign or text in (AND, OR, NOT) else stems)
    yield _Lexeme("", None)


class _Parser:
    """Reads what FTS5 has found well formed: NOT binds tighter than AND, and AND tighter than OR; words side
    by side are one operand.
    """

    def __init__(self, expression: str, said: str):
        self._lexemes, self._at, self._said = list(_lexemes(expression)), 0, said

    def whole(self) -> Node:
        return self._joined(OR, lambda: self._joined(AND, lambda: self._joined(NOT, self._operand)))

    def _joined(self, how: str, part: Callable[[], Node]) -> Node:
        parts = [part()]
        while self._took(how):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(how, tuple(parts))

    def _operand(self) -> Node:
        if self._took("("):
            inside = self.whole()
            self._at += 1  # its end
            return inside
        parts = [self._near_or_phrase()]
        while self._next.stems is not None or self._next.text in ("^", "{", "-"):
            parts.append(self._near_or_phrase())
        # FTS5 leaves out what has no token, but only between words side by side.
        some = tuple(part for part in parts if part != Phrase(())) or parts[:1]
        return some[0] if len(some) == 1 else Joined(AND, tuple(some))

    def _near_or_phrase(self) -> Node:
        if self._next.text == "^":
            raise self._unknown("^ (the first word)")
        if self._next.text in ("{", "-") or self._lexemes[self._at + 1].text == ":":
            raise self._unknown("a column (text:, {text}:)")
        if self._next.text == "NEAR" and self._lexemes[self._at + 1].text == "(":
            return self._near()
        return self._phrase()

    def _phrase(self) -> Phrase:
        stems: list[tuple[str, bool]] = []
        while True:
            stems += ((stem, False) for stem in self._taken().stems or ())
            begins = self._took("*")
            if stems:  # also of a word before, where the last has no token
                stems[-1] = (stems[-1][0], begins)
            if not self._took("+"):
                return Phrase(tuple(stems))

    def _near(self) -> Node:
        self._at += 2  # its name and bracket
        phrases, most = [], _NEAR
        while not self._took(")"):
            if self._took(","):
                most = int(self._taken().text)
            else:
                phrases.append(self._phrase())
        phrases = [phrase for phrase in phrases if phrase.stems] or phrases[:1]
        if len(phrases) == 1:
            return phrases[0]
        single = [
            phrase.stems[0][0] for phrase in phrases if len(phrase.stems) == 1 and not phrase.stems[0][1]
        ]
        if not len(phrases) == len(single) == 2 or most > _MOST_NEAR:
            raise self._unknown(f"NEAR of more than two words, or further apart than {_MOST_NEAR},")
        if single[0] == single[1]:
            return Joined(AND, tuple(phrases))
        return Near(single[0], single[1], most)

    @property
    def _next(self) -> _Lexeme:
        return self._lexemes[self._at]

    def _taken(self) -> _Lexeme:
        self._at += 1
        return self._lexemes[self._at - 1]

    def _took(self, text: str) -> bool:
        """Whether the next is this keyword or sign, which is then passed."""
        if self._next.text != text or self._next.stems is not None:
            return False
        self._at += 1
        return True

    def _unknown(self, what: str) -> WrongOption:
        return WrongOption(
            f"{self._said}: {what} is not searched in PostgreSQL",
            'expected words, "a phrase", a beginning*, or words joined by AND, OR, NOT',
            "a bundle's own search has it",
        )
