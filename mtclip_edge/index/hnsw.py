"""The HNSW graph of the distinct reports: built, grown, measured against exact search, saved and loaded.
Derived from the vectors.

hnswlib saves neither checksum, dimension nor metric, and damaged bytes crash the process, so it is given a
file only after its hash was checked; it does not look whether its writes succeeded, so the size of what it
saved is.
"""

import errno
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.records import HnswRecord
from ..files import replace_with
from ..progress import Progress, silent

TARGET_RECALL = 0.99
EF_CONSTRUCTION, EF_START, EF_MOST = 200, 64, 512
_BLOCK = 10_000  # entries between two looks at the progress
MS = (
    16,
    32,
    48,
)  # links of each entry; more only where the widest search among fewer does not reach the recall
_SEED = 100


def load_graph(path: Path, dim: int, reports: int, room: int = 0) -> Any:
    """An hnswlib index from a file whose hash was checked, with room for more.

    Errors: ImportError, RuntimeError.
    """
    import hnswlib

    graph = hnswlib.Index("ip", dim)
    graph.load_index(str(path), max_elements=reports + room)
    if graph.get_current_count() != reports:
        raise RuntimeError(f"{graph.get_current_count()} entries, expected {reports}")
    return graph


def build_graph(
    path: Path, vectors: np.ndarray, queries: np.ndarray, progress: Progress = silent
) -> HnswRecord | None:
    """Build and save the graph of distinct reports [reports, dim], and measure it against exact search.

    ``ef`` is doubled, then M raised, until recall@10 on ``queries`` [n, dim] reaches 0.99. Returns what the
    manifest stores, None without hnswlib.
    """
    try:
        import hnswlib
    except ImportError:
        return None
    truth = _nearest(vectors, queries)
    for m in MS:
        graph = hnswlib.Index("ip", vectors.shape[1])
        graph.init_index(len(vectors), ef_construction=EF_CONSTRUCTION, M=m, random_seed=_SEED)
        _insert(graph, vectors, 0, progress)
        ef, recall = _tuned(graph, vectors, queries, truth, EF_START)
        if recall >= TARGET_RECALL:
            break
    return _saved(path, graph, m, ef, recall, len(queries))


def grow_graph(
    path: Path,
    old: Path,
    record: HnswRecord,
    vectors: np.ndarray,
    held: int,
    queries: np.ndarray,
    progress: Progress = silent,
) -> HnswRecord | None:
    """The saved graph of the first ``held`` vectors with the others added, measured again; built anew where
    that is not enough.

    Errors: RuntimeError for a file that is not what it should be.
    """
    try:
        graph = load_graph(old, vectors.shape[1], held, len(vectors) - held)
    except ImportError:
        return None
    graph.set_ef(record.ef)
    _insert(graph, vectors, held, progress)
    ef, recall = _tuned(graph, vectors, queries, _nearest(vectors, queries), record.ef)
    if recall < TARGET_RECALL:
        return build_graph(path, vectors, queries, progress)
    return _saved(path, graph, record.m, ef, recall, len(queries))


def _insert(graph: Any, vectors: np.ndarray, held: int, progress: Progress) -> None:
    """The rows from ``held`` on; by one thread, so that the same vectors give the same file."""
    for start in range(held, len(vectors), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(vectors)))
        graph.add_items(vectors[rows[0] : rows[-1] + 1], rows, num_threads=1)
        progress("graph", int(rows[-1]) + 1, len(vectors))


def _tuned(
    graph: Any, vectors: np.ndarray, queries: np.ndarray, truth: np.ndarray, ef: int
) -> tuple[int, float]:
    """The smallest doubling of ``ef`` that reaches the recall, and what it reaches."""
    recall = _recall(graph, vectors, queries, truth, ef)
    while recall < TARGET_RECALL and ef < EF_MOST:
        ef *= 2
        recall = _recall(graph, vectors, queries, truth, ef)
    return ef, recall


def _nearest(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The exact score of each query's tenth nearest (or last), float32 [queries]; in blocks, so that a
    million fits.
    """
    best = np.full((len(queries), 0), -np.inf, np.float32)
    for start in range(0, len(vectors), 65_536):
        scores = np.concatenate([best, queries @ vectors[start : start + 65_536].T], axis=1)
        best = np.partition(scores, -min(10, scores.shape[1]), axis=1)[:, -10:]
    return best.min(axis=1)


def _recall(graph: Any, vectors: np.ndarray, queries: np.ndarray, tenth: np.ndarray, ef: int) -> float:
    """Share of the exact first ten that the graph finds too; ties at the tenth place count as found."""
    k = min(10, len(vectors))
    graph.set_ef(max(ef, k))
    nearest = graph.knn_query(queries, k, num_threads=1)[0].astype(np.int64)
    scores = np.einsum("qd,qkd->qk", queries, vectors[nearest])
    return float((scores >= tenth[:, None] - 1e-6).mean())


def _saved(path: Path, graph: Any, m: int, ef: int, recall: float, queries: int) -> HnswRecord:
    replace_with(path, lambda file: _save(graph, file))
    return HnswRecord(path.name, m, EF_CONSTRUCTION, ef, round(recall, 4), queries)


def _save(graph: Any, path: Path) -> None:
    graph.save_index(str(path))
    if path.stat().st_size != graph.index_file_size():
        raise OSError(errno.ENOSPC, "No space left on device (the graph was not written whole)", str(path))
