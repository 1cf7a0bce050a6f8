"""Nearest reports: an HNSW graph proposes, the stored vectors decide.

Scores are recomputed from the vectors and rounded to four decimals, ties broken by report id, so exact search and HNSW print the
same. The HNSW file is derived: where it or hnswlib is missing or damaged, search is exact and says why. hnswlib saves neither
checksum, dimension nor metric, and damaged bytes crash the process, so it is given a file only after its hash was checked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .durable import replace_with
from .errors import ZeroQuery

DECIMALS = 4
TARGET_RECALL = 0.99
_M, _EF_CONSTRUCTION, _EF_START, _EF_MOST = 16, 200, 64, 1024
_SEED = 100


@dataclass(frozen=True)
class Choice:
    """What searched, ``hnsw`` or ``exact``, and why."""

    used: str
    why: str


@dataclass(frozen=True)
class Hits:
    """Rows of the vector array and their scores (rounded cosines), best first."""

    rows: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Index:
    """``vectors`` float32 [rows, dim], unit length; the first ``reports`` rows are distinct reports, the rest films."""

    vectors: np.ndarray
    reports: int
    graph: Any
    ef: int
    choice: Choice

    def search_reports(self, query: np.ndarray, k: int, names: Callable[[Sequence[int]], dict[int, str]]) -> Hits:
        """The k nearest distinct reports of a unit vector [dim]; ``names`` gives the report ids of rows, which break ties."""
        query, k = _checked(query), min(k, self.reports)
        if k < 1:
            return Hits((), ())
        candidates = _exact(self.vectors[: self.reports], query, k) if self.graph is None else self._proposed(query, k)
        return _ranked(self.vectors, candidates, query, k, names)

    def fused(
        self,
        query: np.ndarray,
        k: int,
        names: Callable[[Sequence[int]], dict[int, str]],
        films_of: Callable[[Sequence[int]], list[tuple[int, int]]],
        weight: float,
    ) -> Hits:
        """The k best reports by report and film together, of the best 200 by report alone, which are always found exactly."""
        from .fusion import CANDIDATES, fused, most_similar

        first = replace(self, graph=None).search_reports(query, CANDIDATES, names)
        pairs = np.array(films_of(first.rows), np.int64).reshape(-1, 2)
        likeness = (self.vectors[pairs[:, 1]].astype(np.float64) * query.astype(np.float64)).sum(axis=1)
        film = most_similar(first.rows, pairs[:, 0], likeness)
        scores = np.round(fused(np.array(first.scores), film, weight), DECIMALS)
        name_of = names(first.rows)
        order = sorted(range(len(first.rows)), key=lambda i: (-scores[i], name_of[first.rows[i]]))[:k]
        return Hits(tuple(first.rows[i] for i in order), tuple(float(scores[i]) + 0.0 for i in order))

    def _proposed(self, query: np.ndarray, k: int) -> np.ndarray:
        """The graph's candidates, a margin more than k for ties at the k-th place; all rows within reach if the ties go on."""
        wanted = min(self.reports, k + 32)
        self.graph.set_ef(max(self.ef, wanted))
        found = self.graph.knn_query(query, wanted, num_threads=1)[0][0].astype(np.int64)
        scores = np.sort(self.vectors[found] @ query)
        if wanted < self.reports and scores[0] >= scores[-k] - 2 * 10.0**-DECIMALS:
            return _exact(self.vectors[: self.reports], query, k)
        return found

    def search_films(self, query: np.ndarray, k: int) -> Hits:
        """The k nearest films; always exact."""
        query, films = _checked(query), len(self.vectors) - self.reports
        if min(k, films) < 1:
            return Hits((), ())
        candidates = self.reports + _exact(self.vectors[self.reports :], query, min(k, films))
        return _ranked(self.vectors, candidates, query, k, lambda rows: {row: f"{row:012d}" for row in rows})


def load_graph(path: Path, dim: int, reports: int) -> Any:
    """An hnswlib index from a file whose hash was checked. Errors: ImportError, RuntimeError."""
    import hnswlib

    graph = hnswlib.Index("ip", dim)
    graph.load_index(str(path), max_elements=reports)
    if graph.get_current_count() != reports:
        raise RuntimeError(f"{graph.get_current_count()} entries, expected {reports}")
    return graph


def build_graph(path: Path, vectors: np.ndarray, queries: np.ndarray) -> dict[str, Any] | None:
    """Build and save the HNSW graph of distinct reports [reports, dim], and measure it against exact search.

    ``ef`` is doubled until recall@10 on ``queries`` [n, dim] reaches 0.99. Returns what the manifest stores, None without hnswlib.
    """
    try:
        import hnswlib
    except ImportError:
        return None
    graph = hnswlib.Index("ip", vectors.shape[1])
    graph.init_index(len(vectors), ef_construction=_EF_CONSTRUCTION, M=_M, random_seed=_SEED)
    graph.add_items(vectors, np.arange(len(vectors)), num_threads=1)  # one thread: the same vectors give the same file
    ef, recall = _EF_START, _recall(graph, vectors, queries, _EF_START)
    while recall < TARGET_RECALL and ef < _EF_MOST:
        ef *= 2
        recall = _recall(graph, vectors, queries, ef)
    replace_with(path, lambda file: _save(graph, file))
    return {
        "file": path.name,
        "M": _M,
        "ef_construction": _EF_CONSTRUCTION,
        "ef": ef,
        "recall@10": round(recall, 4),
        "queries": len(queries),
    }


def _save(graph: Any, path: Path) -> None:
    graph.save_index(str(path))
    if path.stat().st_size != graph.index_file_size():  # hnswlib does not look whether its writes succeeded
        raise OSError(28, "the index was not written completely", str(path))


def _recall(graph: Any, vectors: np.ndarray, queries: np.ndarray, ef: int) -> float:
    """Share of the exact first ten that the graph finds too; ties at the tenth place count as found."""
    k = min(10, len(vectors))
    graph.set_ef(max(ef, k))
    found = graph.knn_query(queries, k, num_threads=1)[0].astype(np.int64)
    scores = queries @ vectors.T
    tenth = np.sort(scores, axis=1)[:, -k]
    return float((np.take_along_axis(scores, found, axis=1) >= tenth[:, None] - 1e-6).mean())


def _checked(query: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(query))
    if not np.isfinite(length) or length < 1e-6:
        raise ZeroQuery("the query's embedding is not a direction (zero or not finite)")
    return np.asarray(query, np.float32)


def _exact(vectors: np.ndarray, query: np.ndarray, k: int) -> np.ndarray:
    """Rows that may be among the k best once rounded: all within a rounding step of the k-th."""
    scores = vectors @ query
    threshold = np.partition(scores, -k)[-k] - 2 * 10.0**-DECIMALS
    return np.flatnonzero(scores >= threshold)


def _ranked(
    vectors: np.ndarray, candidates: np.ndarray, query: np.ndarray, k: int, names: Callable[[Sequence[int]], dict[int, str]]
) -> Hits:
    """Score in double precision, row by row, so that a row's score does not depend on which others were candidates."""
    rows = np.sort(candidates)
    scores = np.round((vectors[rows].astype(np.float64) * query.astype(np.float64)).sum(axis=1), DECIMALS)
    name_of = names([int(row) for row in rows])
    order = sorted(range(len(rows)), key=lambda i: (-scores[i], name_of[int(rows[i])]))[:k]
    return Hits(tuple(int(rows[i]) for i in order), tuple(float(scores[i]) + 0.0 for i in order))
