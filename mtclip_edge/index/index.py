"""Nearest reports: an HNSW graph proposes, or all are compared; the stored vectors decide.

Scores are recomputed from the vectors and rounded to four decimals, ties broken by report id, so exact search
and HNSW print the same. Which of them searches is chosen with a reason; where the graph is missing or
damaged, search is exact and says why.
"""

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import ZeroQuery

DECIMALS = 4
# docs/results/results.md, "A million reports": to compare one number takes 0.2 to 0.4 ns, to hash and load it
# with its graph 2.5 ns and more.
EXACT_NUMBERS = 12_800_000  # 50,000 reports of 256 numbers: compared in under 5 ms
WORTH_LOADING = 10  # queries in one process from which on the graph of a larger index pays
_FETCHED_MOST = 4096  # candidates of a filtered search before all that pass are compared instead
_BLOCK = 4096  # rows compared before their pages are let go, where a graph takes the memory


@dataclass(frozen=True)
class SearchChoice:
    """What searched, ``hnsw`` or ``exact``, and why; ``fallback``: the other was wanted and could not be
    had.
    """

    used: str
    why: str
    fallback: bool = False


def choose_search(reports: int, dim: int, queries: int | None) -> SearchChoice:
    """How to search a whole index with a graph, for a number of queries (None: not known, many)."""
    if reports * dim <= EXACT_NUMBERS:
        return SearchChoice(
            "exact", f"comparing all of {reports} reports takes some milliseconds and misses none"
        )
    if queries is not None and queries < WORTH_LOADING:
        return SearchChoice(
            "exact",
            f"comparing all of {reports} reports takes less than loading their graph for so few queries",
        )
    return SearchChoice("hnsw", "")


@dataclass(frozen=True)
class Hits:
    """Rows of the vector array and their scores (rounded cosines), best first, and what found them."""

    rows: tuple[int, ...]
    scores: tuple[float, ...]
    choice: SearchChoice

    def then(self, others: "Hits") -> "Hits":
        """These, then others."""
        return Hits(self.rows + others.rows, self.scores + others.scores, self.choice)

    def first(self, k: int) -> "Hits":
        return Hits(self.rows[:k], self.scores[:k], self.choice)


@dataclass(frozen=True)
class Index:
    """``vectors`` float32 [rows, dim], unit length; the first ``reports`` rows are distinct reports, the
    rest films.
    """

    vectors: np.ndarray
    reports: int
    graph: Any
    ef: int
    choice: SearchChoice

    @property
    def common(self) -> np.ndarray:
        """The mean of all reports, float32 [dim], not of unit length: what a film shares with every
        report.
        """
        return np.asarray(self.vectors[: self.reports].mean(axis=0, dtype=np.float64), np.float32)

    def search_reports(
        self,
        query: np.ndarray,
        k: int,
        names: Callable[[Sequence[int]], dict[int, str]],
        only: np.ndarray | None = None,
    ) -> Hits:
        """The k nearest distinct reports of a unit vector [dim], of all or of the rows ``only`` (ascending).

        ``names`` gives the report ids of rows, which break ties.
        """
        query, k = checked_direction(query), min(k, self.reports if only is None else len(only))
        if k < 1:
            return Hits((), (), self.choice)
        candidates, choice = self._candidates(query, k, only)
        hits = _ranked(self.vectors, candidates, query, k, names, choice)
        if self.graph is not None:
            self._let_go()
        return hits

    def _candidates(
        self, query: np.ndarray, k: int, only: np.ndarray | None
    ) -> tuple[np.ndarray, SearchChoice]:
        reports = self.vectors[: self.reports]
        if only is None:
            return (
                self._proposed(query, k) if self.graph is not None else _exact(reports, query, k)
            ), self.choice
        why = f"{len(only)} of {self.reports} reports pass the filter"
        if self.graph is None:
            return _exact(reports, query, k, only), replace(self.choice, why=f"{self.choice.why}; {why}")
        if len(only) * self.vectors.shape[1] <= EXACT_NUMBERS:
            return _exact(reports, query, k, only, self._let_go), SearchChoice(
                "exact", f"{why}: all of them are compared"
            )
        if (passing := self._filtered(query, k, only)) is not None:
            return passing, replace(self.choice, why=f"{self.choice.why}; {why}")
        return _exact(reports, query, k, only, self._let_go), SearchChoice(
            "exact", f"{why}, and too few of them are among the nearest of all"
        )

    def _filtered(self, query: np.ndarray, k: int, only: np.ndarray) -> np.ndarray | None:
        """Candidates from the graph that pass, a margin more than k; None where it would take too many to
        find them.
        """
        wanted = int((k + 32) * 1.5 * self.reports / len(only))
        if wanted > min(_FETCHED_MOST, self.reports):
            return None
        nearest = self._nearest(query, wanted)
        places = np.minimum(np.searchsorted(only, nearest), len(only) - 1)
        passing = np.sort(
            nearest[only[places] == nearest]
        )  # ``only`` may be half a million: not sorted again
        if len(passing) <= k or self._tied(query, passing, k):
            return None
        return passing

    def _proposed(self, query: np.ndarray, k: int) -> np.ndarray:
        """The graph's candidates, a margin more than k for ties at the k-th place; all rows within reach
        if the ties go on.
        """
        candidates = self._nearest(query, min(self.reports, k + 32))
        if len(candidates) < self.reports and self._tied(query, candidates, k):
            return _exact(self.vectors[: self.reports], query, k, None, self._let_go)
        return candidates

    def _nearest(self, query: np.ndarray, wanted: int) -> np.ndarray:
        self.graph.set_ef(max(self.ef, wanted))
        return np.asarray(self.graph.knn_query(query, wanted, num_threads=1)[0][0].astype(np.int64))

    def _tied(self, query: np.ndarray, candidates: np.ndarray, k: int) -> bool:
        """Whether the last of the candidates may, once rounded, be as good as the k-th: then others that
        were not found may be too.
        """
        scores = np.sort(self.vectors[candidates] @ query)
        return bool(scores[0] >= scores[-k] - 2 * 10.0**-DECIMALS)

    def _let_go(self) -> None:
        """Unmap the pages that comparing candidates touched; they stay in the system's cache, so that the
        next touch costs a microsecond.

        Each row touched maps 64 KB and more around it: after some thousand queries the whole file would count
        as this process's memory, beside the graph, which holds its own copy of the vectors.
        """
        mapping = getattr(self.vectors.base, "_mmap", None)
        if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)

    def search_films(self, query: np.ndarray, k: int, only: np.ndarray | None = None) -> Hits:
        """The k nearest films, of all or of the film rows ``only``; always exact.

        Rows are rows among the films.
        """
        query, films = checked_direction(query), self.vectors[self.reports :]
        k, choice = (
            min(k, len(films) if only is None else len(only)),
            SearchChoice("exact", "films are always all compared"),
        )
        if k < 1:
            return Hits((), (), choice)
        return _ranked(
            films,
            _exact(films, query, k, only),
            query,
            k,
            lambda rows: {row: f"{row:012d}" for row in rows},
            choice,
        )


def direction(vector: np.ndarray) -> np.ndarray:
    """A vector at unit length, float32 [dim]. Errors: ZeroQuery where it is none: zero or not finite."""
    return np.asarray(vector / _length(vector), np.float32)


def checked_direction(query: np.ndarray) -> np.ndarray:
    """A query as float32 [dim]. Errors: ZeroQuery where it is no direction."""
    _length(query)
    return np.asarray(query, np.float32)


def _length(vector: np.ndarray) -> float:
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length < 1e-6:
        raise ZeroQuery("the query's embedding is not a direction (zero or not finite)")
    return length


def _exact(
    vectors: np.ndarray,
    query: np.ndarray,
    k: int,
    only: np.ndarray | None = None,
    after_block: Callable[[], None] | None = None,
) -> np.ndarray:
    """Rows that may be among the k best once rounded: all within a rounding step of the k-th; of all rows
    or of some.
    """
    # Comparing all is faster than gathering many of them, and needs no copy.
    gathered = only if only is not None and len(only) * 8 < len(vectors) else None
    scores = np.empty(len(vectors) if gathered is None else len(gathered), np.float32)
    block = max(1, len(scores) if after_block is None else _BLOCK)
    for start in range(0, len(scores), block):
        part = slice(start, start + block)
        np.dot(vectors[part if gathered is None else gathered[part]], query, out=scores[part])
        if after_block is not None:
            after_block()
    if only is not None and gathered is None:
        scores = scores[only]
    passing = np.flatnonzero(scores >= np.partition(scores, -k)[-k] - 2 * 10.0**-DECIMALS)
    return passing if only is None else only[passing]


def _ranked(
    vectors: np.ndarray,
    candidates: np.ndarray,
    query: np.ndarray,
    k: int,
    names: Callable[[Sequence[int]], dict[int, str]],
    choice: SearchChoice,
) -> Hits:
    rows = np.sort(candidates)
    name_of = names([int(row) for row in rows])
    best, scores = ranked(rows, [name_of[int(row)] for row in rows], vectors[rows], query)
    return Hits(best[:k], scores[:k], choice)


def ranked(
    rows: np.ndarray, ids: Sequence[str], vectors: np.ndarray, query: np.ndarray
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Candidates and their scores, best first, equal ones by their ids: rows int64 [n], vectors float32
    [n, dim], query float32 [dim].

    Scored in double precision, row by row, so that a row's score does not depend on which others were
    candidates.
    """
    scores = np.round((vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1), DECIMALS)
    order = sorted(range(len(rows)), key=lambda i: (-scores[i], ids[i]))
    return tuple(int(rows[i]) for i in order), tuple(float(scores[i]) + 0.0 for i in order)
