"""What the reports of a bundle say of a typed text, row by row, from the words of its reports."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import Refused
from .denial import AFFIRMED, DENIED
from .library import Group, Scope, TypedText
from .rerank import first_places
from .words import ReportWords

RowsOf = Callable[[Scope], np.ndarray | None]


@dataclass(frozen=True)
class TypedRows:
    """The findings that a text names; ``affirming`` and ``denying`` are for each a bool array [reports].

    ``names`` and ``words``, float [reports]: how well each has the names of the findings, or any of the typed
    words, as the text has them, affirmed or denied (``ReportWords.relevance``); NaN where it has none.
    ``rows_of`` gives the rows of a scope, None for all.
    """

    text: TypedText
    affirming: tuple[np.ndarray, ...]
    denying: tuple[np.ndarray, ...]
    names: np.ndarray
    words: np.ndarray
    rows_of: RowsOf = field(repr=False, compare=False)

    @property
    def found(self) -> bool:
        return any(map(np.any, (*self.affirming, *self.denying)))

    @property
    def named_by_none(self) -> tuple[str, ...]:
        each = zip(self.text.findings, self.affirming, self.denying, strict=True)
        return tuple(finding.name for finding, a, d in each if not a.any() and not d.any())

    @property
    def _agreement(self) -> np.ndarray:
        """On how many more findings each report agrees with the text than not, int8 [reports]."""
        agreement = np.zeros(len(self.names), np.int8)
        for finding, affirming, denying in zip(self.text.findings, self.affirming, self.denying, strict=True):
            agree, differ = (denying, affirming) if finding.denied else (affirming, denying)
            agreement += agree.astype(np.int8) - differ.astype(np.int8)
        return agreement

    def groups(self, scope: Scope) -> Iterator[Scope]:
        passing, agreement = self.rows_of(scope), self._agreement
        for level in np.unique(agreement if passing is None else agreement[passing])[::-1]:
            yield replace(scope, group=Group(self.text, int(level)))

    def rows(self, level: int, passing: np.ndarray | None) -> np.ndarray:
        """Those of a group, ascending, int64."""
        agreement = self._agreement
        if passing is None:
            return np.flatnonzero(agreement == level)
        return passing[agreement[passing] == level]

    def places(self, scope: Scope, most: int) -> tuple[dict[int, int], dict[int, int]]:
        rows = self.rows_of(scope)
        assert rows is not None
        by_names, by_words = (
            first_places(rows.tolist(), np.round(values[rows], 6), most)
            for values in (self.names, self.words)
        )
        return by_names, by_words

    def stances(self, rows: Sequence[int]) -> dict[int, dict[str, str | None]]:
        return {row: self._of(row) for row in rows}

    def _of(self, row: int) -> dict[str, str | None]:
        each = zip(self.text.findings, self.affirming, self.denying, strict=True)
        return {
            finding.name: AFFIRMED if affirming[row] else DENIED if denying[row] else None
            for finding, affirming, denying in each
        }


def typed_rows(
    text: TypedText, words: Callable[[], ReportWords], reports: int, rows_of: RowsOf
) -> TypedRows | None:
    """None where SQLite has no full-text search. Errors: ArtefactDamaged."""
    try:
        known = words()
        stances = [known.stances(finding) for finding in text.findings]
    except Refused:
        return None
    relevance = [known.relevance(finding.expression, finding.denied) for finding in text.findings]
    with_names = ~np.isnan(relevance).all(axis=0)
    names = np.where(with_names, np.nansum(relevance, axis=0), np.nan)
    typed = np.full(reports, np.nan)
    if text.any_word is not None:
        typed = known.relevance(text.any_word, text.denied)
    flags: list[tuple[np.ndarray, ...]] = []
    for rows in zip(*stances, strict=True):
        table = np.zeros((len(text.findings), reports), bool)
        for place, some in enumerate(rows):
            table[place, some] = True
        flags.append(tuple(table))
    return TypedRows(text, flags[0], flags[1], names, typed, rows_of)
