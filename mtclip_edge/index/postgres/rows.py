"""Studies as rows of a library's tables: what is computed of a report before it is written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...studies import LABELS, Study
from ..denial import by_stance
from ..finding_words import denies
from ..words import WORD
from .tokens import literal, tokens_of


@dataclass(frozen=True)
class Words:
    """A report as it is shown: of the study that brought it first."""

    text: str
    findings: str
    impression: str

    @classmethod
    def of(cls, study: Study) -> "Words":
        return cls(study.text, study.findings, study.impression)


@dataclass(frozen=True)
class FilmVector:
    """A film of a study with its unit vector float32 [dim]."""

    study_id: str
    name: str
    view: str
    vector: np.ndarray


@dataclass(frozen=True)
class Batch:
    """Studies with a report, and what belongs to them: the words of each of their reports by its id, its
    unit vector float32 [dim], and the films in their order.
    """

    studies: Sequence[Study]
    shown: Mapping[str, Words]
    vectors: Mapping[str, np.ndarray]
    films: Sequence[FilmVector] = ()


@dataclass(frozen=True)
class ReadWords:
    """What full-text search knows of a report: three tsvectors as text, how many tokens in all four columns
    (``bm25``), whether it was read as English, and the words as they are written.
    """

    words: str
    affirmed: str
    denied: str
    length: int
    english: bool
    spelt: frozenset[str] = field(default=frozenset())


def read_words(texts: Sequence[str]) -> list[ReadWords]:
    """Errors: Refused where SQLite has no full-text search."""
    texts = [storable(text) for text in texts]
    stances = [by_stance(text) for text in texts]
    columns = [(text, *(stance or (text, "", ""))) for text, stance in zip(texts, stances, strict=True)]
    stems = tokens_of([column for four in columns for column in four])
    read = []
    for place, (text, stance) in enumerate(zip(texts, stances, strict=True)):
        four = stems[4 * place : 4 * place + 4]
        words, affirmed, denied = (literal(column) for column in four[:3])
        spelt = frozenset(word[:LONGEST] for word in WORD.findall(text.lower()))
        length, english = sum(map(len, four)), stance is not None
        read.append(ReadWords(words, affirmed, denied, length, english, spelt))
    return read


LONGEST = 500  # letters of a name or a word that an index holds


def storable(text: str) -> str:
    """Without what no text of a database may have: NUL, and halves of characters."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def folded(name: str) -> str:
    """A finding's name in small letters as SQLite's NOCASE compares: of ASCII alone."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name[:LONGEST])


def votes(studies: Iterable[Study]) -> dict[str, list[int]]:
    """How many studies of each report are normal, abnormal, unknown."""
    counted: dict[str, list[int]] = {}
    for study in studies:
        counted.setdefault(study.report_id or "", [0, 0, 0])[LABELS.index(study.label)] += 1
    return counted


def findings_in(named: Iterable[tuple[int, str]], shown: str) -> Iterator[tuple[int, bool]]:
    """Of findings by their keys, whether a report only denies each."""
    for key, name in named:
        yield key, bool(denies(shown, name))


def findings_of(study: Study, shown: str) -> Iterator[tuple[str, bool]]:
    """Each finding label of a study, and whether its report only denies it."""
    for name in study.finding_labels:
        yield name, bool(denies(shown, name))
