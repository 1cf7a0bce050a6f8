"""What the reports of a library say of a typed text: ``index.library.TypedReports``, asked in SQL.

Relevance is FTS5's BM25 (``bm25``), of the reports that this login may read, so that both libraries put
reports in the same places.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..denial import AFFIRMED, DENIED
from ..library import Group, Scope, TypedText
from ..rerank import first_places
from .bm25 import Condition, Counts, relevance
from .conditions import Where, affirms_in_sql, agreement, denies_in_sql
from .connect import Readers
from .match import parsed

Condition_of = Callable[[Scope], Where]


@dataclass(frozen=True)
class TypedRows:
    """``where`` turns a scope into a condition on ``report r``; ``counts`` are those of the reports that may
    be read.
    """

    readers: Readers
    text: TypedText
    where: Condition_of
    counts: Counts

    @cached_property
    def _said(self) -> dict[str, bool]:
        """Of each finding whether any report affirms or denies it."""
        values = agreement(self.text).values
        said = {}
        for place, finding in enumerate(self.text.findings):
            sql = (
                f"SELECT EXISTS (SELECT 1 FROM matching('affirmed', %(finding_{place})s::tsquery)) OR"
                f" EXISTS (SELECT 1 FROM matching('denied', %(finding_{place})s::tsquery))"
            )
            ((any_,),) = self.readers.rows(sql, {f"finding_{place}": values[f"finding_{place}"]})
            said[finding.name] = bool(any_)
        return said

    @property
    def found(self) -> bool:
        return any(self._said.values())

    @property
    def named_by_none(self) -> tuple[str, ...]:
        return tuple(name for name, said in self._said.items() if not said)

    def groups(self, scope: Scope) -> Iterator[Scope]:
        """Whether a group is empty is asked when its turn comes: most answers are full before the last."""
        many = len(self.text.findings)
        for level in range(many, -many - 1, -1):
            group = replace(scope, group=Group(self.text, level))
            where = self.where(group)
            if self.readers.rows(f"SELECT 1 FROM report r WHERE {where.sql} LIMIT 1", where.values):
                yield group

    def places(self, scope: Scope, most: int) -> tuple[dict[int, int], dict[int, int]]:
        where = self.where(scope)
        by_names = self._best(self._names(), where, most)
        typed = self.text.any_word
        by_words = [] if typed is None else [(typed, DENIED if self.text.denied else AFFIRMED)]
        return by_names, self._best(by_words, where, most)

    def _names(self) -> list[tuple[str, str]]:
        return [(f.expression, DENIED if f.denied else AFFIRMED) for f in self.text.findings]

    def _best(self, asked: Sequence[tuple[str, str]], where: Where, most: int) -> dict[int, int]:
        """The first places by the sum of some relevances: of expressions, each in a column."""
        summed: dict[int, float] = {}
        for expression, column in asked:
            tree = parsed(expression, repr(expression))
            # Of several lists the last of a sum may be far behind in each, so each is read whole.
            first = most if len(asked) == 1 else None
            made = relevance(tree, column, self.counts, Condition(where.sql, where.values), first)
            for row, value in self.readers.rows(made.text, made.values):
                summed[row] = summed.get(row, 0.0) + value
        return first_places(list(summed), np.round(np.array(list(summed.values())), 6), most)

    def stances(self, rows: Sequence[int]) -> dict[int, dict[str, str | None]]:
        values = {**agreement(self.text).values, "rows": list(rows)}
        told: dict[int, dict[str, str | None]] = {row: {} for row in rows}
        places = range(len(self.text.findings))
        columns = ", ".join(f"{affirms_in_sql(place)}, {denies_in_sql(place)}" for place in places)
        sql = f"SELECT r.row, {columns} FROM report r WHERE r.row = ANY(%(rows)s)"
        for row, *said in self.readers.rows(sql, values):
            for place, finding in enumerate(self.text.findings):
                affirms, denies = said[2 * place : 2 * place + 2]
                told[row][finding.name] = AFFIRMED if affirms else DENIED if denies else None
        return told
