"""Which way a library is searched: counted first, exactly where few pass, by the graph where many do, and what the server then does."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from library_studies import DIM, MODEL, batch_of, some_studies
from postgres import PostgresServer

from mtclip_edge.index.filters import Filters
from mtclip_edge.index.index import Hits
from mtclip_edge.index.library import Scope
from mtclip_edge.index.postgres import search as search_module
from mtclip_edge.index.postgres.connect import connected
from mtclip_edge.index.postgres.library import PostgresLibrary
from mtclip_edge.index.postgres.loading import load
from mtclip_edge.index.postgres.opening import open_library
from mtclip_edge.index.postgres.writing import Writer

REPORTS = 6_000
EVERY = {"Half": 2, "Tenth": 10, "Hundredth": 100, "Rare": 3_000}


@pytest.fixture(scope="module")
def url(postgres_server: PostgresServer) -> str:
    from any_library import made_library

    made = made_library(postgres_server)
    studies = [
        replace(s, finding_labels=tuple(name for name, every in EVERY.items() if n % every == 0))
        for n, s in enumerate(some_studies(REPORTS, texts=[f"Report {n} of a lung." for n in range(REPORTS)]))
    ]
    batch = batch_of(studies)
    random = np.random.default_rng(4)
    vectors = random.normal(size=(len(batch.vectors), DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    batch = replace(batch, vectors=dict(zip(batch.vectors, vectors, strict=True)))
    with Writer(made, "main") as writer:
        stem = writer.model(MODEL, DIM)
        load(writer, batch, MODEL, stem)
        writer.with_graph(stem, DIM)
        writer.measure(MODEL, stem, DIM)
    return made


@pytest.fixture
def library(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresLibrary]:
    """Where a graph is worth it from a hundred reports on."""
    monkeypatch.setattr(search_module, "EXACT_REPORTS", 100)
    with closing(open_library(url, MODEL, DIM)) as opened:
        yield opened


@pytest.fixture
def queries() -> np.ndarray:
    made = np.random.default_rng(5).normal(size=(25, DIM)).astype(np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def test_the_graph_is_measured_and_said(library: PostgresLibrary) -> None:
    assert library.choice.used == "hnsw" and "recall@10 against exact search was" in library.choice.why
    recall = float(library.choice.why.split("was ")[1].split()[0])
    assert recall >= 0.99


@pytest.mark.parametrize(
    ("name", "used"),
    [("all", "hnsw"), ("Half", "hnsw"), ("Tenth", "hnsw"), ("Hundredth", "exact"), ("Rare", "exact")],
)
def test_a_filter_loses_no_row(library: PostgresLibrary, queries: np.ndarray, name: str, used: str) -> None:
    scope = Scope() if name == "all" else Scope(Filters(finding=name.lower()))
    passing = REPORTS if name == "all" else -(-REPORTS // EVERY[name])
    assert library.count(scope) == passing
    same = 0
    for query in queries:
        found, truth = library.nearest(query, 10, scope), library.nearest(query, 10, scope, exact=True)
        assert truth.choice.used == "exact" and len(found.rows) == len(truth.rows) == min(10, passing)
        same += len(set(found.rows) & set(truth.rows))
        if used == "exact":
            assert found.choice.used == "exact" and found.rows == truth.rows and found.scores == truth.scores
    assert same >= 0.98 * len(queries) * min(10, passing)


def test_where_the_graph_comes_short_all_are_compared(library: PostgresLibrary, queries: np.ndarray) -> None:
    """Wanting nearly all that pass: the graph's walk ends before it has them."""
    scope = Scope(Filters(finding="tenth"))
    truth = library.nearest(queries[0], 590, scope, exact=True)

    def short() -> Hits:
        for setting in ("hnsw.max_scan_tuples = 50", "enable_sort = off"):
            library._readers._pinned.connection.execute(f"SET LOCAL {setting}")
        return library.nearest(queries[0], 590, scope)

    for found in (library.nearest(queries[0], 590, scope), library.reading(short)):
        assert len(found.rows) == 590 and found.scores == truth.scores
    assert found.choice.used == "exact" and "too few" in found.choice.why


def test_equal_reports_at_the_end_are_all_compared(url: str, library: PostgresLibrary) -> None:
    """More equal vectors than the margin: which of them come is decided by their ids, as in a bundle."""
    same = np.zeros(DIM, np.float32)
    same[0] = 1.0
    studies = some_studies(80, "eq", texts=[f"Equal {n}." for n in range(80)])
    batch = batch_of(studies)
    with Writer(url, "main") as writer:
        stem = writer.model(MODEL, DIM)
        load(writer, replace(batch, vectors=dict.fromkeys(batch.vectors, same)), MODEL, stem)
    found = library.nearest(same, 5, Scope())
    assert [library.report_ids(found.rows)[row] for row in found.rows] == sorted(
        s.report_id for s in studies
    )[:5]
    assert found.choice.used == "exact" and "all of them are compared" in found.choice.why
    from mtclip_edge.index.postgres import removing

    with Writer(url, "main") as writer:
        removing.remove(writer, removing.meant(writer, (), (), ["manifest:eq"], False))


def plans(library: PostgresLibrary, ask: Callable[[], object], *, sorting: bool = True) -> list[str]:
    """How the server answered each statement of a search, by EXPLAIN in the same transaction; without
    ``sorting`` as it does for a table that is too large to be sorted.
    """
    asked, told = library._readers.rows, []

    def rows(sql: str, values=()):
        if "<#>" in sql:
            connection = library._readers._pinned.connection
            connection.execute(f"SET LOCAL enable_sort = {'on' if sorting else 'off'}")
            plan = connection.execute(f"EXPLAIN (COSTS OFF) {sql}", values).fetchall()
            told.append("\n".join(line for (line,) in plan))
        return asked(sql, values)

    library._readers.rows = rows
    try:
        library.reading(ask)
    finally:
        library._readers.rows = asked
    return told


def test_the_server_does_what_was_chosen(library: PostgresLibrary, queries: np.ndarray) -> None:
    by_graph = plans(library, lambda: library.nearest(queries[0], 10, Scope()))
    assert len(by_graph) == 1 and "Index Scan using report_hnsw_" in by_graph[0]
    half = plans(
        library, lambda: library.nearest(queries[0], 10, Scope(Filters(finding="half"))), sorting=False
    )
    assert "Index Scan using report_hnsw_" in half[0]
    for scope in (Scope(Filters(finding="hundredth")), Scope(Filters(finding="rare"))):
        (exact,) = plans(library, lambda scope=scope: library.nearest(queries[0], 10, scope))
        assert "report_hnsw_" not in exact and "finding_name" in exact
    (whole,) = plans(library, lambda: library.nearest(queries[0], 10, Scope(), exact=True))
    assert "report_hnsw_" not in whole


def test_words_and_names_have_their_indexes(url: str) -> None:
    with closing(connected(url)) as connection:
        connection.execute("SET enable_seqscan = off")
        for sql, index in (
            ("SELECT 1 FROM report WHERE affirmed @@ '''lung'''::tsquery", "report_affirmed"),
            ("SELECT 1 FROM report WHERE denied @@ '''lung'''::tsquery", "report_denied"),
            ("SELECT 1 FROM report WHERE words @@ '''lung'''::tsquery", "report_words"),
            ("SELECT 1 FROM study WHERE patient_id = 'sp1'", "study_patient"),
            ("SELECT 1 FROM study WHERE study_id = 's00001'", "study_study_id_site_key"),
            ("SELECT 1 FROM report WHERE report_id = 'x'", "report_report_id_site_key"),
            ("SELECT 1 FROM film WHERE study = 1", "film_study"),
        ):
            plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {sql}"))
            assert index in plan, plan


def test_without_a_graph_search_is_exact_and_says_so(url: str, queries: np.ndarray) -> None:
    from mtclip_edge.index.postgres import graph

    with closing(open_library(url, MODEL, DIM)) as library:
        stem, expected = library._search.stem, library.nearest(queries[0], 5, Scope(), exact=True)
    with Writer(url, "main") as writer:
        writer.without_graph(stem)
    try:
        with closing(open_library(url, MODEL, DIM)) as library:
            assert library.choice.fallback and "no HNSW index" in library.choice.why
            assert library.nearest(queries[0], 5, Scope()).rows == expected.rows
    finally:
        with Writer(url, "main") as writer:
            writer.with_graph(stem, DIM)
            assert graph.is_valid(writer.connection, graph.index_name(stem))


def test_a_query_that_is_no_direction(library: PostgresLibrary) -> None:
    from mtclip_edge.errors import ZeroQuery

    for wrong in (np.zeros(DIM, np.float32), np.full(DIM, np.nan, np.float32)):
        with pytest.raises(ZeroQuery):
            library.nearest(wrong, 5, Scope())
        with pytest.raises(ZeroQuery):
            library.nearest_films(wrong, 5, Scope())
