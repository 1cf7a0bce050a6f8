"""The same shards by actors of Ray: on this machine, or on the cluster that RAY_ADDRESS names. Ray keeps no
state of ours, the files do; so nothing is lost with an actor, a machine, or this process.

An actor has one processor and one shard at a time, so a death tells whose fault it may have been. Ray itself
restarts none: which shard is tried again, and how often, is decided here.
"""

import os
import secrets
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import DeviceUnavailable, ExtraMissing, Refused
from ..installation import install_command
from ..progress import Say
from ..workers import threads
from .shard_maker import CRASHES, ShardMaker, missing
from .shards import PLAN, Shard

PATIENCE = 30.0  # seconds without any processor, until that is said
_STORE = 128 << 20  # bytes of shared memory: a shard's studies pass through it, one at a time for each actor
Done = Callable[[], None]


def ray_library() -> Any:
    """The module ``ray``, which tells its makers nothing. Errors: ExtraMissing."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when it is imported
    try:
        import ray
    except ImportError:
        raise ExtraMissing("the engine ray needs ray", hint=install_command("ray")) from None
    return ray


def by_actors(
    bundle: Path, shards: Sequence[Shard], out: Path, workers: int | None, done: Done, say: Say
) -> list[Shard]:
    """Make what is missing; gives the shards that bring down their process. ``workers`` None: one for each
    processor; ``done`` is called when one is there.

    Errors: those of ``ShardMaker``, ExtraMissing, DeviceUnavailable where no cluster answers, Refused where a
    machine of it does not see the files, or where no process lives to begin.
    """
    left = missing(shards, out)
    with _cluster(ray_library(), workers, say) as (ray, processors):
        return _Crew(ray, bundle.resolve(), out.resolve(), left, done, say).made(workers or processors)


@contextmanager
def _cluster(ray: Any, workers: int | None, say: Say) -> Iterator[tuple[Any, int]]:
    """Ray, and its processors, until the end; one that the caller has begun stays."""
    folder: Path | None = None
    begun, address = not ray.is_initialized(), os.environ.get("RAY_ADDRESS") or "local"
    try:
        if begun and address != "local":
            _join(ray, address)
        elif begun:
            folder = Path(tempfile.mkdtemp(prefix="mtclip-ray-", dir=_short_folder()))
            _begun(ray, workers or threads(), folder)
        processors = max(1, int(ray.cluster_resources().get("CPU", 1)))
        say(f"Ray: {processors} processors on {len(ray.nodes())} machines")
        yield ray, processors
    finally:
        if begun:
            ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _join(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = str(error).strip().partition("\n")[0][:200]
        hint = "start it, and set its token here; or unset RAY_ADDRESS to use this machine alone"
        raise DeviceUnavailable(f"engine ray: no cluster at {address} (RAY_ADDRESS)", why, hint) from None


def _begun(ray: Any, processors: int, folder: Path) -> None:
    """Errors: DeviceUnavailable: on a busy machine Ray's parts may miss each other."""
    try:
        _start(ray, processors, folder / "ray")
    except Exception as error:  # Ray raises that very class
        why = str(error).strip().partition("\n")[0][:200]
        hint = "try again when the machine is less busy, or take --engine local"
        raise DeviceUnavailable("engine ray: Ray does not start here", why, hint) from None


def _start(ray: Any, processors: int, folder: Path) -> None:
    """A cluster of this machine alone, for this process alone: on loopback, with a token of its own that lies
    in no file. Ray opens its folder to everybody, so it lies in one that is closed.
    """
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray.init(
        address="local",
        num_cpus=processors,
        include_dashboard=False,
        object_store_memory=_STORE,
        log_to_driver=False,
        logging_level="error",
        _node_ip_address="127.0.0.1",
        _temp_dir=str(folder),
    )


def _short_folder() -> str | None:
    """Sockets lie there, and their whole path may have a hundred letters."""
    folder = tempfile.gettempdir()
    return folder if len(folder) < 20 or not Path("/tmp").is_dir() else "/tmp"  # noqa: S108


class _Actor:
    """In a process of its own, on whatever machine."""

    _maker: ShardMaker

    def begin(self, bundle: Path, seen: Sequence[Path]) -> list[Path]:
        """Open the towers; those of the paths that this machine does not see, and then it opens nothing."""
        unseen = [path for path in seen if not path.exists()]
        if not unseen:
            self._maker = ShardMaker.open(bundle)
        return unseen

    def make(self, shard: Shard, out: Path) -> None:
        self._maker.make(shard, out)


class _Crew:
    """The actors of one run. ``_in_work``: by the call that is waited for, its actor, and the shard it makes;
    None while it opens the towers.
    """

    def __init__(self, ray: Any, bundle: Path, out: Path, left: Sequence[Shard], done: Done, say: Say):
        self._ray, self._bundle, self._out, self._done, self._say = ray, bundle, out, done, say
        self._kind = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Actor)
        self._left = deque(left)
        self._in_work: dict[Any, tuple[Any, Shard | None]] = {}
        self._crashes: Counter[str] = Counter()
        self._bad: list[Shard] = []
        self._stillborn = 0  # in a row
        films = (film.path for shard in left for study in shard.studies for film in study.films)
        self._seen = [path for path in (bundle, out / PLAN, next(films, out)) if path.exists()]

    def made(self, workers: int) -> list[Shard]:
        """Those that bring down their process."""
        for _ in range(min(workers, len(self._left))):
            self._hire()
        while self._left or any(shard for _, shard in self._in_work.values()):
            ended, _ = self._ray.wait(list(self._in_work), timeout=PATIENCE)
            if not ended and not any(shard for _, shard in self._in_work.values()):
                self._say("waiting for a free processor of the cluster")
            for call in ended:
                self._take(call, *self._in_work.pop(call))
        return self._bad

    def _hire(self) -> None:
        actor = self._kind.remote()
        self._in_work[actor.begin.remote(self._bundle, self._seen)] = (actor, None)

    def _take(self, call: Any, actor: Any, shard: Shard | None) -> None:
        """What came of a call, and the actor's next."""
        errors = self._ray.exceptions
        try:
            unseen = self._ray.get(call)
        except errors.RayTaskError as error:  # ours, raised over there
            raise error.cause from None
        except errors.RayError as error:  # its process or its machine is gone, or out of reach
            self._ray.kill(actor)
            self._bury(shard, error)
            return
        if unseen:
            hint = "the bundle, the films and --out belong into a folder that all machines share"
            raise Refused(f"{unseen[0]}: a machine of the cluster does not see it", hint=hint)
        self._stillborn = 0
        if shard is not None:
            self._done()
        if self._left:  # else it is let go, and its processor is free
            following = self._left.popleft()
            self._in_work[actor.make.remote(following, self._out)] = (actor, following)

    def _bury(self, shard: Shard | None, error: Exception) -> None:
        """Another in its place; the shard comes again at the end, unless it was there often."""
        if shard is None:
            self._stillborn += 1
            if self._stillborn > CRASHES:
                why = str(error).strip().partition("\n")[0][:200]
                raise Refused(f"{self._bundle}: the processes that open its towers end at once", why)
        elif missing([shard], self._out):
            self._crashes[shard.name] += 1
            (self._bad if self._crashes[shard.name] >= CRASHES else self._left).append(shard)
        if self._left:
            self._hire()
