"""Tells which of our columns a table's columns are: as spelled by others (``Study ID``), and as ``--map``
says.

``--map TheirColumn=study_id`` names a column, ``--map label:sick=abnormal`` a value. In a source they stand
as one option, ``map=TheirColumn:study_id+label%3Asick:abnormal``, each word percent-encoded.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from urllib.parse import quote, unquote

from ..errors import SourceUnusable, WrongOption, not_among
from ..studies import LABELS
from .tables import plain_word

OPEN_CLIP = {"filepath": "image_path", "title": "report"}
# Words that others' names for a column hold, to ask whether it was meant.
_WORDS = {
    "study_id": ("study", "exam", "accession", "uid", "case", "id"),
    "patient_id": ("patient", "subject", "person", "mrn", "pid"),
    "image_path": ("image", "film", "file", "path", "dicom", "png"),
    "report": ("report", "text", "caption", "finding", "impression", "befund", "informe"),
}


@dataclass(frozen=True)
class ColumnMap:
    """``columns`` are theirs to ours; ``values`` their words in one of our columns, in small letters, to
    ours.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def renamed(self, row: dict[str, str], names: Mapping[str, str]) -> dict[str, str]:
        """A row by our columns' names, its values as the map says; columns of no meaning here keep their
        names.
        """
        if not names and not self.values:
            return row
        named = {name: value for name, value in row.items() if name not in names}
        named |= {names[name]: value for name, value in row.items() if name in names}
        for (column, word), value in self.values.items():
            if named.get(column, "").lower() == word:
                named[column] = value
        return named

    def names(self, theirs: Sequence[str], ours: Sequence[str]) -> dict[str, str]:
        """Which columns of a table are ours under another name: as mapped, as open_clip calls them, as
        squashed letters tell.
        """
        names = {name: column for name, column in self.columns.items() if name in theirs}
        squashed = {_squashed(name): name for name in ours}
        for name in theirs:
            column = OPEN_CLIP.get(name) or squashed.get(_squashed(name))
            if column and name not in names and column not in theirs and column not in names.values():
                names[name] = column
        return names


def parse(option: str, ours: Sequence[str]) -> ColumnMap:
    """The option of a source. Errors: WrongOption."""
    columns, values = dict[str, str](), dict[tuple[str, str], str]()
    for pair in filter(None, option.split("+")):
        left, _, right = (unquote(word) for word in pair.partition(":"))
        column, colon, word = left.partition(":")
        if colon:
            values[column, plain_word(word).lower()] = right
        elif right in ours:
            columns[left] = right
        elif left in ours:
            columns[right] = left
        else:
            raise not_among("map to column", right, ours)
    named = {(columns.get(column, column), word): value for (column, word), value in values.items()}
    for (column, word), value in named.items():
        if column not in ours:
            raise not_among(f"map of {word!r} in column", column, ours)
        if column == "label" and value not in LABELS:
            raise not_among("map to label", value, LABELS)
    return ColumnMap(columns, named)


def encoded(pairs: Sequence[str]) -> str:
    """The words of ``--map`` as a source's option. Errors: WrongOption."""
    for pair in pairs:
        if "=" not in pair:
            raise WrongOption(f"--map {pair}", "expected THEIR_COLUMN=OURS or label:VALUE=abnormal")
    halves = (pair.rpartition("=") for pair in pairs)
    return "+".join(f"{quote(left, safe='')}:{quote(right, safe='')}" for left, _, right in halves)


def check_mapped(columns: ColumnMap, theirs: Sequence[str], where: str) -> None:
    """Errors: SourceUnusable for a mapped column that the table lacks."""
    for name in columns.columns:
        if name not in theirs:
            close = get_close_matches(name, theirs, 1, 0.5)
            raise SourceUnusable(
                f"{where}: no column {name} to map",
                f"found: {', '.join(theirs)[:200]}",
                f"did you mean {close[0]}?"
                if close
                else "a table of other columns takes a map of its own: PATH,map=THEIRS:OURS+THEIRS:OURS",
            )


def meant_for(column: str, theirs: Sequence[str]) -> str | None:
    """The column that another table most likely has for one of ours, by its name."""
    words = _WORDS.get(column, ())
    return next(
        (name for word in words for name in theirs if word in re.split(r"[^a-z]+", _spaced(name))), None
    )


def _spaced(name: str) -> str:
    """``StudyUID`` as ``study uid``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _squashed(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()
