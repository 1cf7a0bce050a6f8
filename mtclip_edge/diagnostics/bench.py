"""``mtclip bench``: how fast a bundle answers here, in each precision on each device: cold, warm, in batches,
and its search alone.

Times say something about this machine now; compare numbers of one run only.
"""

import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle
from ..errors import MtclipError, NoFilms
from ..films.read import looks_like_film
from ..inference.device import PROVIDERS, choose, nodes, runtime
from ..inference.encoders import FilmEncoder, open_film_encoder
from ..inference.preprocessing import tower_input
from ..notice import __version__
from ..progress import Say, silent
from ..retrieval.retriever import Retriever
from ..workers import threads
from .doctor import cpu_features

SCHEMA = "mtclip.bench/1"
BATCHES = (1, 2, 4, 8, 16)
COLD_RUNS, SECONDS, MOST_FILMS = 5, 2.0, 16
FLOOR = "import onnxruntime, numpy, PIL.Image"
# all that the installed mtclip does; python -m takes 15 ms more
COMMAND = "from mtclip_edge.__main__ import main; main()"


def bench(path: Path, films: Path | None = None, *, say: Say = silent) -> dict[str, Any]:
    """All measurements of a bundle as JSON of schema mtclip.bench/1; ``films`` is a folder, or drawn films
    serve.

    Errors: NotABundle, ArtefactDamaged, NoFilms.
    """
    bundle = Bundle.open(path)
    with tempfile.TemporaryDirectory() as scratch:
        paths = _films(films, Path(scratch))
        say("cold start")
        cold = _cold(path, paths[0])
        variants = []
        for device in _devices():
            for precision in bundle.precisions("image"):
                say(f"{precision} on {device}")
                variants.append(_variant(bundle, path, paths, device, precision))
        say("search")
        return {
            "schema": SCHEMA,
            "bundle": {
                "id": bundle.identity,
                "backbone": bundle.model.backbone.name,
                "reports": bundle.index.reports,
            },
            "machine": _machine(),
            "films": {"count": len(paths), "source": str(films) if films else "drawn"},
            "cold": cold,
            "variants": variants,
            "search": _search(path),
        }


def summary_lines(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """The same for a person: a name and a value each."""
    machine, cold, search = figures["machine"], figures["cold"], figures["search"]
    rows = [
        (
            "machine",
            (
                f"{machine['threads']} threads, {machine['cpu']}; onnxruntime "
                f"{machine['onnxruntime']}, Python "
                f"{machine['python']}"
            ),
        ),
        ("bundle", f"{figures['bundle']['backbone']}, {figures['bundle']['reports']} reports"),
        ("films", f"{figures['films']['count']}, {figures['films']['source']}"),
        (
            "cold query",
            (
                f"{cold['median_s']:.2f} s, {cold['over_floor']:.2f} times the imports alone; peak "
                f"{_mb(cold['peak_bytes'])}"
            ),
        ),
    ]
    for one in figures["variants"]:
        name = f"{one['precision']} on {one['device']}"
        if one["problem"]:
            rows.append((name, f"not measured: {one['problem']}"))
            continue
        warm, rates = (
            one["warm_ms"],
            ", ".join(f"{size}: {rate:.1f}" for size, rate in one["films_per_s"].items()),
        )
        rows.append(
            (
                name,
                (
                    f"load {one['load_ms']:.0f} ms; one film {warm['p50']:.1f} ms (p95 {warm['p95']:.1f}); "
                    f"films/s by batch {rates}"
                ),
            )
        )
    return [
        *rows,
        (
            "search",
            ", ".join(f"{name} {value:.2f} ms" for name, value in search.items() if value is not None),
        ),
    ]


def _films(folder: Path | None, scratch: Path) -> list[Path]:
    if folder is None:
        from ..sources.phantoms.make import make, save

        return [save(make(1, number), scratch / f"{number}.png") for number in range(4)]
    paths = (
        sorted(path for path in folder.rglob("*") if path.is_file() and looks_like_film(path))[:MOST_FILMS]
        if folder.is_dir()
        else []
    )
    if not paths:
        raise NoFilms(f"{folder}: no film in this folder")
    return paths


def _machine() -> dict[str, Any]:
    return {
        "cpu": cpu_features(),
        "threads": threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": runtime().__version__,
        "mtclip_edge": __version__,
    }


def _devices() -> list[str]:
    available = runtime().get_available_providers()
    return [name for name, provider in PROVIDERS.items() if provider in available]


def _cold(bundle: Path, film: Path) -> dict[str, Any]:
    """Whole processes in turn with the floor of their imports; the first of each is not counted: it fills
    the page cache.
    """
    ours = [sys.executable, "-c", COMMAND, "query", str(film), "--bundle", str(bundle), "--json", "--force"]
    floor = [sys.executable, "-c", FLOOR]
    times = [(_seconds(ours), _seconds(floor)) for _ in range(COLD_RUNS + 1)][1:]
    return {
        "runs": COLD_RUNS,
        "median_s": statistics.median(own for own, _ in times),
        "floor_s": statistics.median(base for _, base in times),
        "over_floor": statistics.median(own / base for own, base in times),
        "peak_bytes": _peak(ours),
    }


def _seconds(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own interpreter
    return time.perf_counter() - started


def _peak(command: Sequence[str]) -> int | None:
    """Peak resident memory of a command in bytes; None where the system does not tell."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    try:
        import resource  # noqa: F401 - not on Windows

        kilobytes = int(
            subprocess.run(  # noqa: S603
                [sys.executable, "-c", code, *command], check=True, capture_output=True, text=True
            ).stdout
        )
    except (ImportError, ValueError, subprocess.CalledProcessError):
        return None
    return kilobytes * (1 if sys.platform == "darwin" else 1024)


def _variant(
    bundle: Bundle, path: Path, films: Sequence[Path], device: str, precision: str
) -> dict[str, Any]:
    """One precision on one device; ``problem`` says why there are no numbers."""
    variant: dict[str, Any] = {"device": device, "precision": precision, "problem": None}
    try:
        started = time.perf_counter()
        encoder, _ = open_film_encoder(bundle, choose(device), precision)
        variant["load_ms"] = 1000 * (time.perf_counter() - started)
        variant["nodes"] = nodes(encoder.session)
        with Retriever.open(path, device=device, precision=precision, force=True) as retriever:
            warm = _repeated(lambda: retriever.query(films[0]))
    except MtclipError as error:
        return {**variant, "problem": error.what}
    variant["warm_ms"] = {
        "p50": float(np.percentile(warm, 50)),
        "p95": float(np.percentile(warm, 95)),
        "runs": len(warm),
    }
    variant["films_per_s"] = dict(_rates(encoder, films))
    return variant


def _rates(encoder: FilmEncoder, films: Sequence[Path]) -> Iterator[tuple[int, float]]:
    """Films a second through the tower alone, by batch."""
    ready = [tower_input(path, encoder.preprocessing) for path in films]
    for size in BATCHES:
        pixels = np.stack([ready[i % len(ready)] for i in range(size)])
        yield size, 1000 * size / statistics.median(_repeated(lambda pixels=pixels: encoder.encode(pixels)))  # type: ignore[misc]


def _search(path: Path) -> dict[str, float | None]:
    """Median milliseconds of ten reports for a vector, by HNSW and exactly."""
    medians: dict[str, float | None] = {}
    for name, exact in (("hnsw", False), ("exact", True)):
        with Retriever.open(path, device="cpu", exact=exact) as retriever:
            vectors = (
                np.random.default_rng(0).normal(0, 1, (64, retriever.bundle.model.dim)).astype(np.float32)
            )
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            turn = iter(range(10**9))
            times = _repeated(
                lambda turn=turn, vectors=vectors, r=retriever: r.nearest(  # type: ignore[misc]
                    vectors[next(turn) % 64], 10
                )
            )
            medians[name] = statistics.median(times) if retriever.search_choice.used == name else None
    return medians


def _repeated(work: Callable[[], Any]) -> list[float]:
    """Milliseconds of each call, for about SECONDS and at least five times; the first is not counted."""
    work()
    times: list[float] = []
    ends = time.perf_counter() + SECONDS
    while len(times) < 5 or time.perf_counter() < ends:
        started = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - started))
    return times


def _mb(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 1e6:.0f} MB"
