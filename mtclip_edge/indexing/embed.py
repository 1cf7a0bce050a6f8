"""Films and reports to vectors in bulk: shards made by processes of this machine, or of a cluster.

Killed anywhere, it goes on where it was: a shard is there whole, or made again. One that brings its process
down three times is left, and named.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..bundle.bundle import Bundle
from ..errors import Refused, WrongOption, not_among
from ..inference.device import choose
from ..inference.encoders import open_exact_encoders
from ..progress import Progress, Say, silent
from ..sources.tables import parquet_library
from ..studies import Study
from .local_engine import by_processes
from .shard_maker import missing
from .shards import STUDIES, Shard, planned, write_plan

Done = Callable[[], None]
# From a bundle, shards, their folder, workers (None: one a processor), and whom to call when some are there:
# the shards that bring down their process.
Engine = Callable[[Path, Sequence[Shard], Path, int | None, Done], list[Shard]]
ENGINES = ("local", "ray")


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
    engine: str = "local",
    progress: Progress = silent,
    say: Say = silent,
) -> int:
    """Embed studies by a bundle's towers into a folder; returns how many shards were made now. ``workers``:
    processes, None for one a processor; ``each``: studies of a shard; ``engine``: one of ``ENGINES``.

    Errors: those of opening a bundle, Refused (another plan lies there; shards that bring their process
    down), WrongOption, ExtraMissing without pyarrow or ray, DeviceUnavailable where no cluster answers.
    """
    make = _engine(engine, say)
    parquet_library()
    opened = Bundle.open(bundle)
    check_towers(opened)
    shards = planned(studies, opened.model.model_id, each)
    write_plan(out, opened.model.model_id, shards)
    ours = shards if part is None else shards[part.number - 1 :: part.of]
    todo = missing(ours, out)
    if len(todo) < len(ours):
        say(f"{len(ours) - len(todo)} of {len(ours)} shards are there already")
    _made(make, bundle, todo, out, workers, progress)
    if not missing(shards, out):  # nobody writes here any more: what a kill left unfinished goes
        for file in out.glob(".part-*.tmp"):
            file.unlink(missing_ok=True)
    return len(todo)


def check_engine(name: str) -> None:
    """Errors: WrongOption, ExtraMissing."""
    _engine(name, silent)


def check_towers(bundle: Bundle) -> None:
    """Errors: TextTowerMissing, ArtefactDamaged."""
    open_exact_encoders(bundle, choose("cpu"))


def _engine(name: str, say: Say) -> Engine:
    """Errors: WrongOption, ExtraMissing."""
    if name not in ENGINES:
        raise not_among("engine", name, ENGINES)
    if name == "local":
        return by_processes
    from .ray_engine import by_actors, ray_library

    ray_library()
    return partial(by_actors, say=say)


def _made(
    make: Engine,
    bundle: Path,
    todo: Sequence[Shard],
    out: Path,
    workers: int | None,
    progress: Progress,
) -> None:
    """Errors: those of the engine, Refused where it left some."""
    progress("shards", 0, len(todo))

    def told() -> None:
        progress("shards", len(todo) - len(missing(todo, out)), len(todo))

    if bad := make(bundle, todo, out, workers, told) if todo else []:
        what = f"{len(bad)} of {len(todo)} shards bring down the process that makes them"
        first = bad[0].studies[0].study_id
        raise Refused(f"{out}: {what}", f"the first begins with study {first}", "the others are there")
