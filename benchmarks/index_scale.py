"""The report index at ten thousand, a hundred thousand and a million distinct reports, on made vectors, side by side with its peers.

    python benchmarks/index_scale.py libraries --reports 100000
    python benchmarks/index_scale.py bundle BUNDLE FILM --reports 100000
    python benchmarks/index_scale.py hashes

``libraries``: hnswlib, usearch and faiss HNSW at the same M and ef_construction, exact search over float32, float16 and int8; each in a
process of its own, in one run: build, size, cold open, warm p50 and p95, recall@10, peak memory. ``bundle``: a bundle of that many made
reports (256 numbers) with the model of BUNDLE: one cold query beside the same on BUNDLE, warm queries, adding 1,000, removing one.
``hashes``: what checking a gigabyte costs. Vectors: 2,000 clusters of unequal size, a tenth near-twins, with the spectrum that
Open-I's report embeddings have (variance of the i-th axis as i to the -1.4: some 20 numbers carry most of it); queries near reports.
"""

import argparse
import hashlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

DIM, QUERIES, K = 256, 200, 10
M, EF_CONSTRUCTION = 16, 200
THREADS = 2


def made(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors float32 [rows, 256] and queries [200, 256]."""
    random = np.random.default_rng(seed)
    spectrum = (np.arange(1, DIM + 1) ** -0.7).astype(np.float32)
    centres = spectrum * random.normal(size=(2000, DIM)).astype(np.float32)
    share = 1 / np.arange(1, 2001)
    vectors = np.empty((rows, DIM), np.float32)
    for start in range(0, rows, 50_000):
        part = vectors[start : start + 50_000]
        cluster = random.choice(2000, len(part), p=share / share.sum())
        part[:] = centres[cluster] + 0.7 * spectrum * random.standard_normal(part.shape, np.float32)
        twins = np.flatnonzero(random.random(len(part)) < 0.1)
        part[twins] = part[(twins * 7) % len(part)] + 0.02 * spectrum * random.standard_normal((len(twins), DIM), np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    scale = float(1 / np.linalg.norm(1.22 * spectrum))
    asked = vectors[random.integers(0, rows, QUERIES)] + 0.2 * scale * spectrum * random.standard_normal((QUERIES, DIM), np.float32)
    return vectors, (asked / np.linalg.norm(asked, axis=1, keepdims=True)).astype(np.float32)


def truth(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    best = np.full((len(queries), 0), 0, np.float32)
    for start in range(0, len(vectors), 65_536):
        best = np.partition(np.concatenate([best, queries @ vectors[start : start + 65_536].T], axis=1), -K, axis=1)[:, -K:]
    return best.min(axis=1)


def libraries(reports: int, only: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        vectors, queries = made(reports)
        np.save(folder / "vectors.npy", vectors)
        np.savez(folder / "queries.npz", queries=queries, tenth=truth(vectors, queries))
        del vectors
        print(f"{reports} reports, {DIM} numbers, M {M}, ef_construction {EF_CONSTRUCTION}, {THREADS} threads", flush=True)
        for name in only or ENGINES:
            for step in ("build", "ask"):
                words = [sys.executable, __file__, "one", name, step, str(folder)]
                found = subprocess.run(words, capture_output=True, text=True)
                print(f"  {name:12s} {step:6s} {found.stdout.strip() or found.stderr.strip()[-300:]}", flush=True)


def one(name: str, step: str, folder: Path) -> None:
    """One step of one engine in this process; prints what it took."""
    engine = ENGINES[name]
    started = time.perf_counter()
    if step == "build":
        engine.build(np.load(folder / "vectors.npy", mmap_mode="r"), folder / name)
        size = (folder / name).stat().st_size / 1e6
        print(f"{time.perf_counter() - started:8.1f} s, {size:.0f} MB, peak {peak():.0f} MB")
        return
    saved = np.load(folder / "queries.npz")
    queries, tenth = saved["queries"], saved["tenth"]
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    before = peak()
    started = time.perf_counter()
    ask = engine.open(folder / name, vectors)
    rows = ask(queries[0], 64)
    opened = time.perf_counter() - started
    for ef in (64, 128, 256, 512) if engine.approximate else (0,):
        times, answers = [], []
        for query, last in zip(queries, tenth, strict=True):
            started = time.perf_counter()
            rows = ask(query, ef)
            times.append(1000 * (time.perf_counter() - started))
            answers.append((query, last, np.asarray(rows, np.int64)))
        recalls = [float((read_rows(folder / "vectors.npy", rows) @ query >= last - 1e-6).mean()) for query, last, rows in answers]
        if np.mean(recalls) >= 0.99:
            break
    most = peak()
    p50, p95 = statistics.median(times), sorted(times)[int(0.95 * len(times))]
    print(
        f"open and first {opened:.3f} s, p50 {p50:.2f} ms, p95 {p95:.2f} ms, recall@10 {np.mean(recalls):.4f} at ef {ef}, "
        f"peak {most:.0f} MB ({most - before:.0f} above the imports)"
    )


def read_rows(path: Path, rows: np.ndarray) -> np.ndarray:
    """Read, not mapped: to see what was found shall not count as the engine's memory."""
    size, width = path.stat().st_size, 4 * DIM
    with path.open("rb") as file:
        found = []
        for row in rows:
            file.seek(size % width + int(row) * width)  # the header is shorter than a vector
            found.append(file.read(width))
    return np.frombuffer(b"".join(found), np.float32).reshape(-1, DIM)


def peak() -> float:
    """Peak resident memory of this program in MB; ``getrusage`` would count what the process that started it held."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1e3  # type: ignore[index]


class Engine:
    """An index: ``build`` writes a file, ``open`` gives what answers a query with rows."""

    def __init__(self, build: Callable, opened: Callable, approximate: bool = True):
        self.build, self.open, self.approximate = build, opened, approximate


def _hnswlib_build(vectors: np.ndarray, path: Path) -> None:
    import hnswlib

    graph = hnswlib.Index("ip", DIM)
    graph.init_index(len(vectors), ef_construction=EF_CONSTRUCTION, M=M, random_seed=100)
    for start in range(0, len(vectors), 50_000):
        graph.add_items(vectors[start : start + 50_000], num_threads=THREADS)
    graph.save_index(str(path))


def _hnswlib_open(path: Path, vectors: np.ndarray) -> Callable:
    import hnswlib

    graph = hnswlib.Index("ip", DIM)
    graph.load_index(str(path), max_elements=len(vectors))

    def ask(query: np.ndarray, ef: int) -> np.ndarray:
        graph.set_ef(ef)
        return graph.knn_query(query, K, num_threads=1)[0][0]

    return ask


def _usearch_build(vectors: np.ndarray, path: Path) -> None:
    from usearch.index import Index

    graph = Index(ndim=DIM, metric="ip", dtype="f32", connectivity=M, expansion_add=EF_CONSTRUCTION)
    for start in range(0, len(vectors), 50_000):
        part = np.ascontiguousarray(vectors[start : start + 50_000])
        graph.add(np.arange(start, start + len(part)), part, threads=THREADS)
    graph.save(str(path))


def _usearch_open(path: Path, _: np.ndarray) -> Callable:
    from usearch.index import Index

    graph = Index.restore(str(path), view=True)

    def ask(query: np.ndarray, ef: int) -> np.ndarray:
        graph.expansion_search = ef
        return graph.search(query, K, threads=1).keys

    return ask


def _faiss_build(vectors: np.ndarray, path: Path) -> None:
    import faiss

    faiss.omp_set_num_threads(THREADS)
    graph = faiss.IndexHNSWFlat(DIM, M, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = EF_CONSTRUCTION
    for start in range(0, len(vectors), 50_000):
        graph.add(np.ascontiguousarray(vectors[start : start + 50_000]))
    faiss.write_index(graph, str(path))


def _faiss_open(path: Path, _: np.ndarray) -> Callable:
    import faiss

    faiss.omp_set_num_threads(1)
    graph = faiss.read_index(str(path))

    def ask(query: np.ndarray, ef: int) -> np.ndarray:
        graph.hnsw.efSearch = ef
        return graph.search(query[None], K)[1][0]

    return ask


def _stored(kind: type) -> Callable:
    def build(vectors: np.ndarray, path: Path) -> None:
        with path.open("wb") as file:
            for start in range(0, len(vectors), 50_000):
                part = vectors[start : start + 50_000]
                file.write((np.round(part * 127).clip(-127, 127) if kind is np.int8 else part).astype(kind).tobytes())

    return build


def _exact_float32(path: Path, vectors: np.ndarray) -> Callable:
    table = np.memmap(path, np.float32, "r", shape=vectors.shape)
    return lambda query, _: np.argpartition(table @ query, -K)[-K:]


def _exact_small(kind: type) -> Callable:
    """Half or quarter of the bytes, widened in blocks that stay in the cache; the best 100 are compared again in float32."""

    def opened(path: Path, vectors: np.ndarray) -> Callable:
        table = np.memmap(path, kind, "r", shape=vectors.shape)

        def ask(query: np.ndarray, _: int) -> np.ndarray:
            block, scores = np.empty((1024, DIM), np.float32), np.empty(len(table), np.float32)
            for start in range(0, len(table), 1024):
                part = block[: min(1024, len(table) - start)]
                np.copyto(part, table[start : start + 1024])
                np.dot(part, query, out=scores[start : start + len(part)])
            best = np.argpartition(scores, -100)[-100:]
            return best[np.argpartition(vectors[best] @ query, -K)[-K:]]

        return ask

    return opened


ENGINES = {
    "hnswlib": Engine(_hnswlib_build, _hnswlib_open),
    "usearch": Engine(_usearch_build, _usearch_open),
    "faiss": Engine(_faiss_build, _faiss_open),
    "float32": Engine(_stored(np.float32), _exact_float32, approximate=False),
    "float16": Engine(_stored(np.float16), _exact_small(np.float16), approximate=False),
    "int8": Engine(_stored(np.int8), _exact_small(np.int8), approximate=False),
}


def bundle(source: Path, film: Path, reports: int, rounds: int) -> None:
    from mtclip_edge.bundle.bundle import Bundle
    from mtclip_edge.bundle.generations import commit
    from mtclip_edge.index.hnsw import build_graph
    from mtclip_edge.indexing import build, update
    from mtclip_edge.indexing.full_text import write_terms
    from mtclip_edge.indexing.store_writer import write_store

    with tempfile.TemporaryDirectory() as scratch:
        path, base = Path(scratch) / "large", Bundle.open(source)
        shutil.copytree(source, path)
        vectors, queries = made(reports)
        change = build.Change(path, base.generation + 1, [])
        started = time.perf_counter()
        write_store(change.file("store"), base.model.model_id, made_studies(reports), ())
        write_terms(change.file("terms"), change.file("store"))
        build.write_vectors(change.file("vectors"), DIM, [vectors], [])
        print(f"store, words and vectors: {time.perf_counter() - started:.1f} s", flush=True)
        started = time.perf_counter()
        hnsw = build_graph(change.file("graph"), vectors, queries)
        print(f"graph, one thread: {time.perf_counter() - started:.1f} s, {hnsw}", flush=True)
        record = build.record(change, reports, 0, reports, hnsw)
        kept = set(base.manifest.files) - build.index_files(base.index)
        commit(path, {**base.manifest, "generation": change.generation, "index": record}, [*kept, *build.index_files(record)])
        for file in sorted(path.iterdir()):
            print(f"  {file.name:28s} {file.stat().st_size / 1e6:9.1f} MB")
        cold(source, path, film, rounds)
        np.save(Path(scratch) / "queries.npy", queries)
        del vectors, queries
        for way in ("exact", "hnsw") if hnsw else ("exact",):
            for filtered in ("all", "year"):  # each in a process of its own: what one held would count for the next
                words = [sys.executable, __file__, "warm", str(path), way, str(Path(scratch) / "queries.npy"), filtered]
                print(subprocess.run(words, capture_output=True, text=True, check=True).stdout, end="", flush=True)
        more = [study for study in made_studies(reports + 1000) if int(study.study_id) >= reports]
        for name, work in (
            ("add 1,000", lambda: update.add(path, more)),
            ("add 1 more", lambda: update.add(path, list(made_studies(reports + 1001))[-1:])),
            ("remove one", lambda: update.remove(path, studies=["5"])),
        ):
            if name == "remove one" and reports > 100_000:
                continue  # builds the graph again: the time is above
            started = time.perf_counter()
            work()
            print(f"{name}: {time.perf_counter() - started:.1f} s", flush=True)
        print(f"peak of this process {peak():.0f} MB; N d 4 is {reports * DIM * 4 / 1e6:.0f} MB")


def warm(path: Path, way: str, queries: Path, filtered: str) -> None:
    """Many queries in this process, with their hits from the store: among all reports, or among the twentieth that one year leaves."""
    from mtclip_edge.index.filters import Filters
    from mtclip_edge.retrieval.retriever import Retriever

    name, filters = ("all", None) if filtered == "all" else ("5 % by date", Filters(since="2007-01", until="2007-12"))
    with Retriever.open(path, exact=way == "exact", filters=filters) as retriever:
        times = []
        for query in np.load(queries):
            started = time.perf_counter()
            retriever._answers.search.shown(retriever._answers.search.reports(query, 10).first(10))
            times.append(1000 * (time.perf_counter() - started))
    p50, p95 = statistics.median(times), sorted(times)[int(0.95 * len(times))]
    print(f"warm, {retriever.search.used}, {name}: p50 {p50:.2f} ms, p95 {p95:.2f} ms, peak {peak():.0f} MB", flush=True)


def cold(small: Path, large: Path, film: Path, rounds: int) -> None:
    """Whole processes in turn on the small and the large bundle, with peak memory."""
    code = "import sys; from mtclip_edge.cli import _run; c = _run(); "
    code += "print(*[l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')], file=sys.stderr); sys.exit(c)"
    times: dict[Path, list[float]] = {small: [], large: []}
    memory: dict[Path, str] = {}
    for _ in range(rounds):
        for path, list_ in times.items():
            started = time.perf_counter()
            words = [sys.executable, "-c", code, "query", str(film), "--bundle", str(path), "--format", "jsonl"]
            found = subprocess.run(words, capture_output=True, text=True, check=True)
            list_.append(time.perf_counter() - started)
            memory[path] = found.stderr.strip().splitlines()[-1]
            answer = json.loads(found.stdout)
    a, b = (statistics.median(times[path]) for path in (small, large))
    print(f"cold query: {b:.2f} s, {b - a:.2f} s more than with {small.name}; peak {int(memory[large]) / 1e3:.0f} MB", flush=True)
    print(f"  {answer['bundle']['search']} {answer['timings_ms']}", flush=True)


def made_studies(reports: int):
    """Studies with reports of the length of real ones (about 300 letters), all distinct."""
    from mtclip_edge.studies import Study

    words = np.array("the lungs are clear heart size normal effusion opacity left right lower upper lobe no acute focal stable".split())
    random = np.random.default_rng(1)
    for number in range(reports):
        text = " ".join(words[random.integers(0, len(words), 45)]) + f" {number}."
        label = "normal" if number % 3 == 0 else "abnormal"
        yield Study(str(number), f"p{number // 2}", report=text, label=label, source="manifest:made", date=f"20{number % 20:02d}-05-01")


def hashes() -> None:
    from concurrent.futures import ThreadPoolExecutor

    from mtclip_edge.files import parts_sha256, sha256

    with tempfile.NamedTemporaryFile() as file:
        block = np.random.default_rng(0).bytes(64 << 20)
        for _ in range(16):
            file.write(block)
        file.flush()
        path = Path(file.name)
        ways: dict[str, Callable[[], object]] = {
            "sha256, one thread": lambda: sha256(path),
            "sha256 in parts": lambda: parts_sha256(path),
            "blake2b, one thread": lambda: _stream(path, hashlib.blake2b()),
        }
        try:
            import blake3
            import xxhash

            ways["xxh3-128"] = lambda: _stream(path, xxhash.xxh3_128())
            ways["blake3, all threads"] = lambda: blake3.blake3(max_threads=blake3.blake3.AUTO).update_mmap(path).digest()
            ways["xxh3-128, 2 threads"] = lambda: list(ThreadPoolExecutor(2).map(lambda i: _stream(path, xxhash.xxh3_128(), i), range(2)))
        except ImportError:
            pass
        for name, work in ways.items():
            times = []
            for _ in range(5):
                started = time.perf_counter()
                work()
                times.append(time.perf_counter() - started)
            print(f"{name:22s} {1.0737 / statistics.median(times):6.2f} GB/s ({1.0737 / max(times):.2f} to {1.0737 / min(times):.2f})")


def _stream(path: Path, digest, half: int | None = None) -> bytes:
    buffer = memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        left = path.stat().st_size if half is None else path.stat().st_size // 2
        file.seek((half or 0) * left)
        while left > 0 and (count := file.readinto(buffer)):
            digest.update(buffer[:count])
            left -= count
    return digest.digest()


def main() -> None:
    if sys.argv[1:2] == ["one"]:
        return one(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    if sys.argv[1:2] == ["warm"]:
        return warm(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), sys.argv[5])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("libraries", "bundle"):
        command = commands.add_parser(name)
        if name == "bundle":
            command.add_argument("source", type=Path)
            command.add_argument("film", type=Path)
            command.add_argument("--rounds", type=int, default=5)
        else:
            command.add_argument("--only", nargs="*", default=[], choices=list(ENGINES))
        command.add_argument("--reports", type=int, default=10_000)
    commands.add_parser("hashes")
    options = parser.parse_args()
    if options.command == "hashes":
        return hashes()
    if options.command == "libraries":
        return libraries(options.reports, options.only)
    return bundle(options.source, options.film, options.reports, options.rounds)


if __name__ == "__main__":
    main()
