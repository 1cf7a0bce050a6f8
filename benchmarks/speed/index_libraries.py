"""The report index at ten thousand, a hundred thousand and a million distinct reports, on made vectors, side
by side with its peers.

    python benchmarks/speed/index_libraries.py --reports 100000 [--only NAME...]

hnswlib, usearch and faiss HNSW at the same M and ef_construction, exact search over float32, float16 and
int8; each in a process of its own, in one run: build, size, cold open, warm p50 and p95, recall@10, peak
memory.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from made_vectors import DIM, made, peak

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

K = 10
M, EF_CONSTRUCTION = 16, 200
THREADS = 2


def truth(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    best = np.full((len(queries), 0), 0, np.float32)
    for start in range(0, len(vectors), 65_536):
        best = np.partition(
            np.concatenate([best, queries @ vectors[start : start + 65_536].T], axis=1), -K, axis=1
        )[:, -K:]
    return best.min(axis=1)


def libraries(reports: int, only: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        vectors, queries = made(reports)
        np.save(folder / "vectors.npy", vectors)
        np.savez(folder / "queries.npz", queries=queries, tenth=truth(vectors, queries))
        del vectors
        print(
            f"{reports} reports, {DIM} numbers, M {M}, ef_construction {EF_CONSTRUCTION}, {THREADS} threads",
            flush=True,
        )
        for name in only or ENGINES:
            for step in ("build", "ask"):
                words = [sys.executable, __file__, "one", name, step, str(folder)]
                done = subprocess.run(words, capture_output=True, text=True)
                print(
                    f"  {name:12s} {step:6s} {done.stdout.strip() or done.stderr.strip()[-300:]}",
                    flush=True,
                )


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
        recalls = [
            float((read_rows(folder / "vectors.npy", rows) @ query >= last - 1e-6).mean())
            for query, last, rows in answers
        ]
        if np.mean(recalls) >= 0.99:
            break
    most = peak()
    p50, p95 = statistics.median(times), sorted(times)[int(0.95 * len(times))]
    print(
        f"open and first {opened:.3f} s, p50 {p50:.2f} ms, p95 {p95:.2f} ms, recall@10 "
        f"{np.mean(recalls):.4f} at ef {ef}, "
        f"peak {most:.0f} MB ({most - before:.0f} above the imports)"
    )


def read_rows(path: Path, rows: np.ndarray) -> np.ndarray:
    """Read, not mapped: to see what was found shall not count as the engine's memory."""
    size, width = path.stat().st_size, 4 * DIM
    with path.open("rb") as file:
        parts = []
        for row in rows:
            file.seek(size % width + int(row) * width)  # the header is shorter than a vector
            parts.append(file.read(width))
    return np.frombuffer(b"".join(parts), np.float32).reshape(-1, DIM)


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
                file.write(
                    (np.round(part * 127).clip(-127, 127) if kind is np.int8 else part).astype(kind).tobytes()
                )

    return build


def _exact_float32(path: Path, vectors: np.ndarray) -> Callable:
    table = np.memmap(path, np.float32, "r", shape=vectors.shape)
    return lambda query, _: np.argpartition(table @ query, -K)[-K:]


def _exact_small(kind: type) -> Callable:
    """Half or quarter of the bytes, widened in blocks that stay in the cache; the best 100 are compared
    again in float32.
    """

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


def main() -> None:
    if sys.argv[1:2] == ["one"]:
        return one(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=[], choices=list(ENGINES))
    parser.add_argument("--reports", type=int, default=10_000)
    return measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    libraries(options.reports, options.only)


if __name__ == "__main__":
    main()
