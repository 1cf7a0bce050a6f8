"""HNSW proposes, the vectors decide: both ways print the same."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mtclip_edge.errors import ZeroQuery
from mtclip_edge.index import hnsw as graph_module
from mtclip_edge.index import index
from mtclip_edge.index.hnsw import build_graph, grow_graph, load_graph
from mtclip_edge.index.index import Hits, Index, SearchChoice


def same(a: Hits, b: Hits) -> bool:
    return (a.rows, a.scores) == (b.rows, b.scores)


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
        Index(vectors, reports, graph, record.ef, SearchChoice("hnsw", "")),
        Index(vectors, reports, None, 0, SearchChoice("exact", "")),
        record,
    )


def test_both_ways_give_the_same(vectors: np.ndarray, tmp_path: Path) -> None:
    hnsw, exact, record = indexes(vectors, 1000, tmp_path)
    assert record.recall >= 0.99
    for query in vectors[1000:1100]:
        assert same(hnsw.search_reports(query, 10, names), exact.search_reports(query, 10, names))


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
    assert same(hnsw.search_reports(base[0], 5, names), exact.search_reports(base[0], 5, names))


def test_k_is_clamped(vectors: np.ndarray, tmp_path: Path) -> None:
    hnsw, exact, _ = indexes(vectors[:30], 20, tmp_path)
    for found in (hnsw, exact):
        assert len(found.search_reports(vectors[0], 500, names).rows) == 20
        assert sorted(found.search_films(vectors[0], 500).rows) == list(range(10))


def test_films_are_searched_among_films(vectors: np.ndarray, tmp_path: Path) -> None:
    hnsw, _, _ = indexes(vectors, 1000, tmp_path)
    assert hnsw.search_films(vectors[1050], 1).rows == (50,)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_query_without_a_direction_is_refused(vectors: np.ndarray, tmp_path: Path, value: float) -> None:
    hnsw, exact, _ = indexes(vectors, 1000, tmp_path)
    for found in (hnsw, exact):
        with pytest.raises(ZeroQuery):
            found.search_reports(np.full(32, value, np.float32), 3, names)


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
    assert record.ef > 64
    assert record.recall >= 0.95


def test_a_filtered_search_equals_exact_filtered_search(
    vectors: np.ndarray, tmp_path: Path, random: np.random.Generator, monkeypatch
) -> None:
    """From one report in a hundred to all of them, however it is found."""
    monkeypatch.setattr(index, "_BLOCK", 48)
    hnsw, exact, _ = indexes(vectors, 1000, tmp_path)
    used = set()
    for exact_up_to in (0, 10**9):
        monkeypatch.setattr(index, "EXACT_NUMBERS", exact_up_to)
        for share in (0.01, 0.1, 0.5, 0.9, 1.0):
            only = np.flatnonzero(random.random(1000) < share)
            for query in vectors[1000:1040]:
                found = hnsw.search_reports(query, 10, names, only)
                assert same(found, exact.search_reports(query, 10, names, only))
                assert len(found.rows) == min(10, len(only)) and set(found.rows) <= set(only.tolist())
                used.add((exact_up_to, found.choice.used, "too few" in found.choice.why))
    assert used == {(0, "hnsw", False), (0, "exact", True), (10**9, "exact", False)}


def test_a_filter_that_nothing_passes_finds_nothing(vectors: np.ndarray, tmp_path: Path) -> None:
    hnsw, exact, _ = indexes(vectors, 1000, tmp_path)
    for found in (hnsw, exact):
        assert found.search_reports(vectors[0], 5, names, np.zeros(0, np.int64)).rows == ()
        assert found.search_films(vectors[0], 5, np.zeros(0, np.int64)).rows == ()


def test_films_are_filtered_too(vectors: np.ndarray, tmp_path: Path) -> None:
    _, exact, _ = indexes(vectors, 1000, tmp_path)
    only = np.array([3, 70, 120, 199])
    best = only[np.argmax(vectors[1000 + only] @ vectors[5])]
    assert exact.search_films(vectors[5], 1, only).rows == (best,)


@pytest.mark.parametrize(
    ("reports", "queries", "used", "why"),
    [
        (50_000, None, "exact", "misses none"),
        (50_001, None, "hnsw", ""),
        (50_001, 1, "exact", "so few queries"),
        (50_001, 10, "hnsw", ""),
    ],
)
def test_how_to_search_is_chosen_with_a_reason(
    reports: int, queries: int | None, used: str, why: str
) -> None:
    choice = index.choose_search(reports, 256, queries)
    assert choice.used == used and why in choice.why and not choice.fallback


def test_a_graph_grows_and_is_measured_again(vectors: np.ndarray, tmp_path: Path) -> None:
    record = build_graph(tmp_path / "old", vectors[:800], vectors[1000:])
    grown = grow_graph(tmp_path / "new", tmp_path / "old", record, vectors[:1000], 800, vectors[1000:])
    assert grown.recall >= 0.99 and grown.file == "new"
    graph = load_graph(tmp_path / "new", vectors.shape[1], 1000)
    found = Index(vectors, 1000, graph, grown.ef, SearchChoice("hnsw", ""))
    hits = [found.search_reports(query, 1, names).rows[0] for query in vectors[800:1000]]
    assert np.mean(np.array(hits) == np.arange(800, 1000)) >= 0.99


def test_a_graph_that_grew_too_poor_is_built_anew(vectors: np.ndarray, tmp_path: Path, monkeypatch) -> None:
    record = build_graph(tmp_path / "old", vectors[:800], vectors[1000:])
    tuned, seen = graph_module._tuned, []

    def poor_at_first(*parts):
        seen.append(tuned(*parts))
        return (64, 0.5) if len(seen) == 1 else seen[-1]

    monkeypatch.setattr(graph_module, "_tuned", poor_at_first)
    grown = grow_graph(tmp_path / "new", tmp_path / "old", record, vectors[:1000], 800, vectors[1000:])
    build_graph(tmp_path / "anew", vectors[:1000], vectors[1000:])
    assert grown.recall >= 0.99
    assert (tmp_path / "new").read_bytes() == (tmp_path / "anew").read_bytes()


def test_the_tenth_score_is_found_in_blocks(random: np.random.Generator) -> None:
    vectors, queries = clustered(random, 70_000, 8), clustered(random, 5, 8)
    expected = np.sort(queries @ vectors.T, axis=1)[:, -10]
    np.testing.assert_allclose(graph_module._nearest(vectors, queries), expected, atol=1e-6)


def held(file: Path) -> int:
    """Kilobytes of a mapped file that count as this process's memory."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.endswith(str(file)))
    return next(int(line.split()[1]) for line in lines[at:] if line.startswith("Rss:"))


@pytest.fixture
def mapped(tmp_path: Path, random: np.random.Generator) -> np.ndarray:
    """20,000 vectors in ``v.npy``, 10 MB, and a graph of the first 500 in ``g``."""
    vectors = clustered(random, 20_000, 128)
    np.save(tmp_path / "v.npy", vectors)
    build_graph(tmp_path / "g", vectors[:500], vectors[:9])
    return np.asarray(np.load(tmp_path / "v.npy", mmap_mode="r"))


linux = pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(), reason="Linux tells how much of a mapping is held"
)


@linux
def test_a_graphs_queries_do_not_gather_the_mapped_vectors(tmp_path: Path, mapped: np.ndarray) -> None:
    def ask(choice: SearchChoice) -> int:
        graph = load_graph(tmp_path / "g", 128, 500) if choice.used == "hnsw" else None
        Index(mapped, 500, graph, 64, choice).search_reports(mapped[7], 5, names)
        return held(tmp_path / "v.npy")

    assert float(mapped.sum()) != 0 and held(tmp_path / "v.npy") > 9000  # all of it was touched
    assert ask(SearchChoice("exact", "")) > 9000
    assert ask(SearchChoice("hnsw", "")) == 0


@linux
@pytest.mark.parametrize("every", [1, 2, 20])
@pytest.mark.slow
def test_a_filter_beside_a_graph_holds_a_part_of_the_vectors_at_a_time(
    tmp_path: Path, mapped: np.ndarray, every: int, monkeypatch
) -> None:
    monkeypatch.setattr(index, "_BLOCK", 100)
    most: list[int] = []

    class Watched(Index):
        def _let_go(self) -> None:
            most.append(held(tmp_path / "v.npy"))
            super()._let_go()

    graph, only, query = load_graph(tmp_path / "g", 128, 500), np.arange(0, 20_000, every), mapped[7].copy()
    Watched(mapped, 20_000, graph, 64, SearchChoice("hnsw", "")).search_reports(query, 5, names, only)
    *blocks, _ = most  # the last is of the candidates, each with its surroundings
    assert len(blocks) >= 10 and max(blocks) < 5000
    assert held(tmp_path / "v.npy") == 0
