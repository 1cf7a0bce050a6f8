"""Shards by processes of this machine. One that dies takes the others with it: what was in work is then made
one by one, which tells whose fault it was, and the rest goes on.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from ..workers import threads
from .shard_maker import CRASHES, ShardMaker, missing
from .shards import Shard

Done = Callable[[], None]


def by_processes(
    bundle: Path, shards: Sequence[Shard], out: Path, workers: int | None, done: Done
) -> list[Shard]:
    """Make what is missing; gives the shards that bring down their process. ``workers`` None: one for each
    processor; ``done`` is called when some are there.

    Errors: those of ``ShardMaker``.
    """
    left, bad = missing(shards, out), list[Shard]()
    while left:
        suspects = _round(bundle, left, out, min(workers or threads(), len(left)), done)
        for shard in suspects:
            for _ in range(CRASHES):
                if missing([shard], out):
                    _round(bundle, [shard], out, 1, done)
        bad += missing(suspects, out)
        left = [shard for shard in missing(left, out) if shard not in bad]
    return bad


def _round(bundle: Path, left: Sequence[Shard], out: Path, workers: int, done: Done) -> list[Shard]:
    """Make what is left, as far as the processes live; those in work when one died."""
    how = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, how, _begin, (bundle,)) as pool:
        waiting: dict[Future[None], Shard] = {}
        try:
            for shard in left:
                waiting[pool.submit(_make, shard, out)] = shard
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


_maker: ShardMaker | None = None


def _begin(bundle: Path) -> None:
    """In a process of the pool."""
    global _maker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _maker = ShardMaker.open(bundle)


def _end_with_parent() -> None:
    """A parent that is killed tells nobody, and its pool would wait for ever for more to do."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(shard: Shard, out: Path) -> None:
    assert _maker is not None
    _maker.make(shard, out)
