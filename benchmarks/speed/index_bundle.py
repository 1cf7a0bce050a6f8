"""A bundle of ten thousand, a hundred thousand or a million made reports: cold and warm queries, adding,
removing, memory.

    python benchmarks/speed/index_bundle.py BUNDLE FILM --reports 100000 [--rounds 5]

A bundle of that many made reports with the model of BUNDLE (text tower included): one cold query beside the
same on BUNDLE, warm queries, adding 1,000, removing one.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from made_vectors import made, peak

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured


def bundle(source: Path, film: Path, reports: int, rounds: int) -> None:
    from mtclip_edge.bundle.bundle import Bundle
    from mtclip_edge.bundle.generations import Change
    from mtclip_edge.index.hnsw import build_graph
    from mtclip_edge.indexing import build, update
    from mtclip_edge.indexing.full_text import write_terms
    from mtclip_edge.indexing.store_writer import write_store

    with tempfile.TemporaryDirectory() as scratch:
        path, base = Path(scratch) / "large", Bundle.open(source)
        shutil.copytree(source, path)
        vectors, queries = made(reports, base.model.dim)
        change = Change(path, base.generation + 1, [])
        started = time.perf_counter()
        write_store(change.file("store"), base.model.model_id, made_studies(reports), ())
        write_terms(change.file("terms"), change.file("store"))
        build.write_vectors(change.file("vectors"), base.model.dim, [vectors], [])
        print(f"store, words and vectors: {time.perf_counter() - started:.1f} s", flush=True)
        started = time.perf_counter()
        hnsw = build_graph(change.file("graph"), vectors, queries)
        print(f"graph, one thread: {time.perf_counter() - started:.1f} s, {hnsw}", flush=True)
        record = build.record(change, reports, 0, reports, hnsw)
        build.publish(Bundle.open(path), change, record)
        for file in sorted(path.iterdir()):
            print(f"  {file.name:28s} {file.stat().st_size / 1e6:9.1f} MB")
        cold(source, path, film, rounds)
        np.save(Path(scratch) / "queries.npy", queries)
        del vectors, queries
        for way in ("exact", "hnsw") if hnsw else ("exact",):
            for filtered in (
                "all",
                "year",
            ):  # each in a process of its own: what one held would count for the next
                words = [
                    sys.executable,
                    __file__,
                    "warm",
                    str(path),
                    way,
                    str(Path(scratch) / "queries.npy"),
                    filtered,
                ]
                print(
                    subprocess.run(words, capture_output=True, text=True, check=True).stdout,
                    end="",
                    flush=True,
                )
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
        print(f"peak of this process {peak():.0f} MB; N d 4 is {reports * base.model.dim * 4 / 1e6:.0f} MB")


def warm(path: Path, way: str, queries: Path, filtered: str) -> None:
    """Many queries in this process, with their hits from the store: among all reports, or among the
    twentieth that one year leaves.
    """
    from mtclip_edge.index.filters import Filters
    from mtclip_edge.retrieval.retriever import Retriever

    name, filters = (
        ("all", None) if filtered == "all" else ("5 % by date", Filters(since="2007-01", until="2007-12"))
    )
    with Retriever.open(path, exact=way == "exact", filters=filters) as retriever:
        times = []
        for query in np.load(queries):
            started = time.perf_counter()
            retriever._answers.search.shown(retriever._answers.search.reports(query, 10).first(10))
            times.append(1000 * (time.perf_counter() - started))
    p50, p95 = statistics.median(times), sorted(times)[int(0.95 * len(times))]
    print(
        f"warm, {retriever.search_choice.used}, {name}: "
        f"p50 {p50:.2f} ms, p95 {p95:.2f} ms, peak {peak():.0f} MB",
        flush=True,
    )


def cold(small: Path, large: Path, film: Path, rounds: int) -> None:
    """Whole processes in turn on the small and the large bundle, with peak memory."""
    code = "import sys; from mtclip_edge.cli import _run; c = _run(); "
    code += (
        "print(*[l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')], "
        "file=sys.stderr); sys.exit(c)"
    )
    times: dict[Path, list[float]] = {small: [], large: []}
    memory: dict[Path, str] = {}
    for _ in range(rounds):
        for path, list_ in times.items():
            started = time.perf_counter()
            words = [
                sys.executable,
                "-c",
                code,
                "query",
                str(film),
                "--bundle",
                str(path),
                "--format",
                "jsonl",
            ]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            list_.append(time.perf_counter() - started)
            memory[path] = done.stderr.strip().splitlines()[-1]
            answer = json.loads(done.stdout)
    a, b = (statistics.median(times[path]) for path in (small, large))
    print(
        (
            f"cold query: {b:.2f} s, {b - a:.2f} s more than with {small.name}; peak "
            f"{int(memory[large]) / 1e3:.0f} MB"
        ),
        flush=True,
    )
    print(f"  {answer['bundle']['search']} {answer['timings_ms']}", flush=True)


def made_studies(reports: int):
    """Studies with reports of the length of real ones (about 300 letters), all distinct."""
    from mtclip_edge.studies import Study

    words = np.array(
        (
            "the lungs are clear heart size normal effusion opacity left right lower upper lobe no acute "
            "focal stable"
        ).split()
    )
    random = np.random.default_rng(1)
    for number in range(reports):
        text = " ".join(words[random.integers(0, len(words), 45)]) + f" {number}."
        label = "normal" if number % 3 == 0 else "abnormal"
        yield Study(
            str(number),
            f"p{number // 2}",
            report=text,
            label=label,
            source="manifest:made",
            date=f"20{number % 20:02d}-05-01",
        )


def main() -> None:
    if sys.argv[1:2] == ["warm"]:
        return warm(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), sys.argv[5])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("film", type=Path)
    parser.add_argument("--reports", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    return measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    bundle(options.source, options.film, options.reports, options.rounds)


if __name__ == "__main__":
    main()
