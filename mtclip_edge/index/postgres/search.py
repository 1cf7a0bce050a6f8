"""Which reports and films of a library are nearest: PostgreSQL proposes, the vectors decide, as for a bundle.

What passes is counted first. Few are compared one and all; of many the HNSW index proposes some more than are
wanted, and where these are too few, or the last of them may be as good as the last that is wanted, all are
compared after all. That all are compared stands in the SQL itself (a materialised table): a setting would not
change a statement that is prepared already.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..index import DECIMALS, Hits, SearchChoice, checked_direction, ranked
from .conditions import Where
from .connect import Readers

Ask = Callable[..., list[Any]]
EF = 256
EXACT_REPORTS = 20_000  # that pass: compared in some 10 to 150 ms
MARGIN = 32  # more candidates than are wanted, for ties
_STEP = 2 * 10.0**-DECIMALS


@dataclass(frozen=True)
class Candidates:
    """Rows int64 [n] with their ids and vectors float32 [n, dim]."""

    rows: np.ndarray
    ids: tuple[str, ...]
    vectors: np.ndarray

    @classmethod
    def of(cls, found: Sequence[tuple[int, str, object]], dim: int) -> "Candidates":
        rows, ids, vectors = zip(*found, strict=True) if found else ((), (), ())
        table = np.array([as_array(vector) for vector in vectors], np.float32).reshape(-1, dim)
        return cls(np.array(rows, np.int64), tuple(ids), table)


def as_array(vector: object) -> np.ndarray:
    """What psycopg gives for a vector, float32 [dim]."""
    return np.asarray(vector.to_numpy() if hasattr(vector, "to_numpy") else vector, np.float32)


class Search:
    """Searches the vectors of one model. ``choice``: how all reports are searched."""

    def __init__(
        self, readers: Readers, stem: str, dim: int, asked: Callable[[Ask], tuple[int, SearchChoice]]
    ):
        """``asked`` tells how widely the graph is searched, and whether there is one."""
        self._readers, self.stem, self._dim, self._asked = readers, stem, dim, asked
        self._ef, self.choice = EF, SearchChoice("exact", "")

    def look_again(self) -> None:
        """The library has changed: its graph may have been built, or gone."""
        self._ef, self.choice = self._asked(self._readers.rows)

    def reports(
        self, query: np.ndarray, k: int, where: Where, passing: int, exact: bool = False, each: bool = False
    ) -> Hits:
        """The k nearest of the ``passing`` reports of a condition on ``report r``; ``each``: also where
        several sites have the same.
        """
        wanted, k = checked_direction(query), min(k, passing)
        if k < 1:
            return Hits((), (), self.choice)
        choice = self._choice(where, passing, exact)
        most = k
        while True:
            found = self._proposed(wanted, most, where, passing) if choice.used == "hnsw" else None
            if found is None and choice.used == "hnsw":
                choice = SearchChoice(
                    "exact", f"{choice.why}; too few or equal ones: all of them are compared"
                )
            hits = self._ranked(found or self._compared(wanted, most, where), wanted, k, choice, each)
            if len(hits.rows) == k or most >= passing:
                return hits
            most = min(passing, 4 * most)  # several sites have the same reports

    def _choice(self, where: Where, passing: int, exact: bool) -> SearchChoice:
        why = "" if where.sql == "true" else f"{passing} reports pass the filter"
        if exact or self.choice.used == "exact":
            return SearchChoice(
                "exact", "; ".join(filter(None, (self.choice.why, why))), self.choice.fallback
            )
        if passing <= EXACT_REPORTS:
            return SearchChoice("exact", f"{why or f'{passing} reports'}: all of them are compared")
        return SearchChoice("hnsw", "; ".join(filter(None, (self.choice.why, why))))

    def _proposed(self, query: np.ndarray, k: int, where: Where, passing: int) -> Candidates | None:
        """What the graph finds of what passes, some more than k; None where that may not be all."""
        wanted = min(passing, k + MARGIN)
        self._readers.set_ef(min(1000, max(self._ef, wanted)))
        join = "" if where.sql == "true" else "JOIN report r ON r.row = v.row"
        nearest = (
            f"SELECT v.row, v.vec FROM report_vector_{self.stem} v {join} WHERE {where.as_filter} ORDER BY"
            f" v.vec::halfvec({self._dim}) <#> %(query)s::vector({self._dim})::halfvec({self._dim})"
            " LIMIT %(wanted)s"
        )
        found = Candidates.of(self._rows(_with_ids(nearest), query, where, wanted=wanted), self._dim)
        if len(found.rows) < wanted:
            return None
        scores = np.sort(found.vectors @ query)
        return None if wanted < passing and scores[0] >= scores[-k] - _STEP else found

    def _compared(self, query: np.ndarray, k: int, where: Where) -> Candidates:
        """All that may be among the k best of what passes, once rounded."""
        passes = f"SELECT r.row FROM report r WHERE {where.sql}"
        wanted, found = k + MARGIN, None
        while found is None:
            nearest = (
                f"SELECT v.row, v.vec FROM pass JOIN report_vector_{self.stem} v ON v.row = pass.row"
                " ORDER BY v.vec <#> %(query)s LIMIT %(wanted)s"
            )
            sql = f"WITH pass AS MATERIALIZED ({passes}), nearest AS ({nearest})\n{_IDS}"
            some = Candidates.of(self._rows(sql, query, where, wanted=wanted), self._dim)
            scores = np.sort(some.vectors @ query)
            whole = len(some.rows) < wanted or scores[0] < scores[-k] - _STEP
            found, wanted = some if whole else None, 4 * wanted
        return found

    def _ranked(self, found: Candidates, query: np.ndarray, k: int, choice: SearchChoice, each: bool) -> Hits:
        """Of a report that several sites have, one stands for all: the nearest, of equal ones the first."""
        rows, scores = ranked(found.rows, found.ids, found.vectors, query)
        if each:
            return Hits(rows[:k], scores[:k], choice)
        id_of = dict(zip(found.rows.tolist(), found.ids, strict=True))
        first: dict[str, tuple[int, float]] = {}
        for row, score in zip(rows, scores, strict=True):
            first.setdefault(id_of[row], (row, score))
        best = list(first.values())[:k]
        return Hits(tuple(row for row, _ in best), tuple(score for _, score in best), choice)

    def films(self, query: np.ndarray, k: int, where: Where) -> Hits:
        """The k nearest films of a condition on ``film f``, ``study s`` and ``report r``; always exact."""
        wanted, choice = checked_direction(query), SearchChoice("exact", "films are always all compared")
        if k < 1:
            return Hits((), (), choice)
        join = ""
        if where.sql != "true":
            join = (
                "JOIN film f ON f.row = v.row JOIN study s ON s.key = f.study JOIN report r ON r.row ="
                " s.report_row"
            )
        limit, found = k + MARGIN, None
        while found is None:
            sql = (
                f"WITH scored AS MATERIALIZED (SELECT v.row, v.vec, v.vec <#> %(query)s AS apart FROM"
                f" film_vector_{self.stem} v {join} WHERE {where.sql} ORDER BY apart LIMIT %(wanted)s)"
                " SELECT row, lpad(row::text, 20, '0'), vec FROM scored"
            )
            some = Candidates.of(self._rows(sql, wanted, where, wanted=limit), self._dim)
            scores = np.sort(some.vectors @ wanted)
            whole = len(some.rows) < limit or scores[0] < scores[-k] - _STEP
            found, limit = some if whole else None, 4 * limit
        best, values = ranked(found.rows, found.ids, found.vectors, wanted)
        return Hits(best[:k], values[:k], choice)

    def _rows(
        self, sql: str, query: np.ndarray, where: Where, **more: object
    ) -> list[tuple[int, str, object]]:
        from pgvector import Vector

        return self._readers.rows(sql, {**where.values, "query": Vector(query), **more})


_IDS = "SELECT n.row, r.report_id, n.vec FROM nearest n JOIN report r ON r.row = n.row"


def _with_ids(nearest: str) -> str:
    return f"WITH nearest AS MATERIALIZED ({nearest})\n{_IDS}"
