"""Films and reports to vectors in bulk: shards made by processes of their own, each with one thread.

Killed anywhere, it goes on where it was: a shard is there whole, or made again. One that brings its process
down three times is left, and named.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle
from ..errors import Refused, WrongOption
from ..inference.device import choose
from ..inference.encoders import open_exact_encoders
from ..progress import Progress, Say, silent
from ..sources.tables import parquet_library
from ..studies import Film, Study
from ..workers import threads
from .embedder import Embedder
from .shards import STUDIES, Shard, ShardVectors, planned, write_plan, write_shard

CRASHES = 3
Done = Callable[[], None]


@dataclass(frozen=True)
class Part:
    """The ``number``-th of ``of`` parts, from 1: what one machine of several does."""

    number: int = 1
    of: int = 1

    @classmethod
    def read(cls, words: str) -> "Part":
        """From I/N. Errors: WrongOption."""
        number, _, of = words.partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= 1_000_000):
            raise WrongOption(f"shard {words!r}", "expected I/N, as 1/8 to 8/8")
        return cls(int(number), int(of))


def embed(
    bundle: Path,
    studies: Sequence[Study],
    out: Path,
    *,
    part: Part | None = None,
    workers: int | None = None,
    each: int = STUDIES,
    progress: Progress = silent,
    say: Say = silent,
) -> int:
    """Embed studies by a bundle's towers into a folder; returns how many shards were made now. ``workers``:
    processes, None for one a processor; ``each``: studies of a shard.

    Errors: those of opening a bundle, Refused (another plan lies there; shards that bring their process
    down), ExtraMissing without pyarrow.
    """
    parquet_library()
    opened = Bundle.open(bundle)
    check_towers(opened)
    shards = planned(studies, opened.model.model_id, each)
    write_plan(out, opened.model.model_id, shards)
    ours = shards if part is None else shards[part.number - 1 :: part.of]
    todo = [shard for shard in ours if not (out / shard.name).exists()]
    if len(todo) < len(ours):
        say(f"{len(ours) - len(todo)} of {len(ours)} shards are there already")
    _made(bundle, todo, out, workers or threads(), progress)
    if not _missing(shards, out):  # nobody writes here any more: what a kill left unfinished goes
        for file in out.glob(".part-*.tmp"):
            file.unlink(missing_ok=True)
    return len(todo)


def check_towers(bundle: Bundle) -> None:
    """Errors: TextTowerMissing, ArtefactDamaged."""
    open_exact_encoders(bundle, choose("cpu"))


def _made(bundle: Path, todo: Sequence[Shard], out: Path, workers: int, progress: Progress) -> None:
    """A process that dies takes the others with it: what was in work is then made one by one, which tells
    whose fault it was, and the rest goes on.
    """
    progress("shards", 0, len(todo))

    def told() -> None:
        progress("shards", len(todo) - len(_missing(todo, out)), len(todo))

    left, bad = list(todo), list[Shard]()
    while left:
        suspects = _round(bundle, left, out, min(workers, len(left)), told)
        for shard in suspects:
            for _ in range(CRASHES):
                if _missing([shard], out):
                    _round(bundle, [shard], out, 1, told)
        bad += _missing(suspects, out)
        left = [shard for shard in _missing(left, out) if shard not in bad]
    if bad:
        what = f"{len(bad)} of {len(todo)} shards bring down the process that makes them"
        first = bad[0].studies[0].study_id
        raise Refused(f"{out}: {what}", f"the first begins with study {first}", "the others are there")


def _missing(shards: Sequence[Shard], out: Path) -> list[Shard]:
    return [shard for shard in shards if not (out / shard.name).exists()]


def _round(bundle: Path, left: Sequence[Shard], out: Path, workers: int, done: Done) -> list[Shard]:
    """Make what is left, as far as the processes live; those in work when one died."""
    how = multiprocessing.get_context("spawn")
    numbers = how.Value("i", 0)
    with ProcessPoolExecutor(workers, how, _begin, (str(bundle), numbers)) as pool:
        waiting: dict[Future[None], Shard] = {}
        try:
            for shard in left:
                waiting[pool.submit(_make, shard, str(out))] = shard
                if len(waiting) >= 2 * workers:
                    _take(waiting, done)
            while waiting:
                _take(waiting, done)
        except BrokenProcessPool:
            return list(waiting.values())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return []


def _take(waiting: dict[Future[None], Shard], done: Done) -> None:
    finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in finished:
        future.result()
        del waiting[future]
    done()


_embedder: Embedder | None = None
_model_id = ""


def _begin(bundle: str, numbers: Any) -> None:
    """In a process of the pool: the towers on one processor of its own, where the system has such."""
    global _embedder, _model_id
    with numbers.get_lock():
        number, numbers.value = numbers.value, numbers.value + 1
    if hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {processors[number % len(processors)]})
    opened = Bundle.open(Path(bundle))
    films, texts = open_exact_encoders(opened, choose("cpu"))
    _embedder, _model_id = Embedder(films, texts, opened.model.dim), opened.model.model_id


def _make(shard: Shard, out: str) -> None:
    assert _embedder is not None
    folder = Path(out)
    if not (folder / shard.name).exists():
        write_shard(folder, shard, vectors_of(_embedder, shard.studies), _model_id)


def vectors_of(embedder: Embedder, studies: Sequence[Study]) -> ShardVectors:
    """Each text once, however many studies share it."""
    words = list(dict.fromkeys(study.tower_text for study in studies if study.report_id))
    vectors = embedder.embed_texts(words)
    row = {text: place for place, text in enumerate(words)}
    reports = np.zeros((len(studies), embedder.dim), np.float32)
    for place, study in enumerate(studies):
        if study.report_id:
            reports[place] = vectors[row[study.tower_text]]
    films = [film for study in studies for film in study.films]
    return ShardVectors(reports, *_films(embedder, films))


def _films(embedder: Embedder, films: Sequence[Film]) -> tuple[np.ndarray, tuple[str, ...]]:
    embedded = embedder.embed_films(films)
    table = np.zeros((len(films), embedder.dim), np.float32)
    table[embedded.read] = embedded.vectors
    why = iter(embedded.problems)
    read = set(embedded.read.tolist())
    return table, tuple("" if place in read else next(why, "cannot be read") for place in range(len(films)))
