"""HNSW proposes, the vectors decide: both ways print the same."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mtclip_edge.errors import ZeroQuery
from mtclip_edge.index import Choice, Index, build_graph, load_graph


def names(rows: Sequence[int]) -> dict[int, str]:
    """Report ids in an order that is not that of the rows."""
    return {row: f"{(row * 7919) % 10007:05d}" for row in rows}


def clustered(random: np.random.Generator, rows: int, dim: int = 32) -> np.ndarray:
    centres = random.normal(size=(40, dim))
    vectors = centres[random.integers(0, 40, rows)] + 0.4 * random.normal(size=(rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def vectors(random: np.random.Generator) -> np.ndarray:
    return clustered(random, 1200)


def indexes(vectors: np.ndarray, reports: int, folder: Path) -> tuple[Index, Index, dict]:
    record = build_graph(folder / "i.hnsw", vectors[:reports], vectors[reports:][:50])
    assert record is not None
    graph = load_graph(folder / "i.hnsw", vectors.shape[1], reports)
    return (
        Index(vectors, reports, graph, record["ef"], Choice("hnsw", "")),
        Index(vectors, reports, None, 0, Choice("exact", "")),
        record,
    )


def test_both_ways_give_the_same(vectors: np.ndarray, tmp_path: Path) -> None:
    hnsw, exact, record = indexes(vectors, 1000, tmp_path)
    assert record["recall@10"] >= 0.99
    for query in vectors[1000:1100]:
        assert hnsw.search_reports(query, 10, names) == exact.search_reports(query, 10, names)


def test_exact_search_is_what_numpy_says(vectors: np.ndarray, tmp_path: Path) -> None:
    _, exact, _ = indexes(vectors, 1000, tmp_path)
    query = vectors[1100]
    hits = exact.search_reports(query, 5, names)
    assert list(hits.rows) == np.argsort(-(vectors[:1000] @ query))[:5].tolist()
    np.testing.assert_allclose(hits.scores, np.sort(vectors[:1000] @ query)[::-1][:5], atol=6e-5)
    assert all(round(s, 4) == s for s in hits.scores)


def test_ties_are_broken_by_report_id_in_both_ways(tmp_path: Path, random: np.random.Generator) -> None:
    """Vectors closer than the rounding step are ties, many more of them than k."""
    base = clustered(random, 1)
    vectors = base + random.normal(0, 1e-6, (300, base.shape[1])).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    hnsw, exact, _ = indexes(vectors, 250, tmp_path)
    expected = sorted(range(250), key=lambda row: names([row])[row])[:5]
    assert list(exact.search_reports(base[0], 5, names).rows) == expected
    assert hnsw.search_reports(base[0], 5, names) == exact.search_reports(base[0], 5, names)


def test_k_is_clamped(vectors: np.ndarray, tmp_path: Path) -> None:
    hnsw, exact, _ = indexes(vectors[:30], 20, tmp_path)
    for index in (hnsw, exact):
        assert len(index.search_reports(vectors[0], 500, names).rows) == 20
        assert sorted(index.search_films(vectors[0], 500).rows) == list(range(20, 30))


def test_films_are_searched_among_films(vectors: np.ndarray, tmp_path: Path) -> None:
    hnsw, _, _ = indexes(vectors, 1000, tmp_path)
    assert hnsw.search_films(vectors[1050], 1).rows == (1050,)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_query_without_a_direction_is_refused(vectors: np.ndarray, tmp_path: Path, value: float) -> None:
    hnsw, exact, _ = indexes(vectors, 1000, tmp_path)
    for index in (hnsw, exact):
        with pytest.raises(ZeroQuery):
            index.search_reports(np.full(32, value, np.float32), 3, names)


def test_the_same_vectors_give_the_same_file(vectors: np.ndarray, tmp_path: Path) -> None:
    for name in ("a", "b"):
        build_graph(tmp_path / name, vectors[:200], vectors[200:250])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_ef_is_raised_until_recall_is_reached(tmp_path: Path, random: np.random.Generator) -> None:
    """Unclustered vectors of high dimension are hard: 64 is not enough for them."""
    hard = random.normal(size=(3000, 128)).astype(np.float32)
    hard /= np.linalg.norm(hard, axis=1, keepdims=True)
    record = build_graph(tmp_path / "h", hard[:2900], hard[2900:])
    assert record is not None
    assert record["ef"] > 64
    assert record["recall@10"] >= 0.95
