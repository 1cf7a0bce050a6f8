"""Ray makes the same shards as processes of this machine, whoever is killed; what it does where a cluster is not as it should be."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import embed_kills
import pytest
from embedded_folders import assert_same

pytest.importorskip("pyarrow")

from mtclip_edge.errors import ExtraMissing, Refused
from mtclip_edge.indexing import ray_engine
from mtclip_edge.indexing.embed import embed
from mtclip_edge.indexing.shards import PLAN, EmbeddedFolder, planned
from mtclip_edge.sources.source import open_source

EACH = 20
ALONE = "ip link set lo up && exec"  # in a namespace without any other network


def _why_not() -> str | None:
    if find_spec("ray") is None:
        return "ray is not installed: pip install '.[ray]'"
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return "no unshare or no ip here, and Ray listens on ports"
    tried = subprocess.run(["unshare", "-rn", "sh", "-c", f"{ALONE} true"], capture_output=True)
    return "this machine does not allow a network of its own (unshare -rn)" if tried.returncode else None


def needs_ray(test):
    """In a network of its own, and slow: a cluster starts in some seconds."""
    if "ray_why_not" not in _found:
        _found["ray_why_not"] = _why_not()
    why = _found["ray_why_not"]
    return pytest.mark.slow(pytest.mark.skipif(why is not None, reason=str(why))(test))


_found: dict[str, str | None] = {}


@pytest.fixture(scope="module")
def embedded(tiny_bundle: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What processes of this machine make. Not to be changed."""
    out = tmp_path_factory.mktemp("embedded") / "out"
    embed(tiny_bundle, open_source(str(source)).studies, out, workers=2, each=EACH)
    return out


@dataclass(frozen=True)
class Run:
    """An embedding by Ray under way; its output goes to files, for Ray's agents outlive a killed driver by a minute."""

    process: subprocess.Popen[bytes]
    said: Path
    errors: Path

    def end(self, seconds: float = 240) -> int:
        return self.process.wait(seconds)


@pytest.fixture
def run(tiny_bundle: Path, source: Path, tmp_path: Path):
    """Starts an embedding by Ray into ``out``; one at a time on this machine, where two that start miss their own parts."""
    turn = (Path(tempfile.gettempdir()) / "mtclip-ray-tests.lock").open("w")
    fcntl.flock(turn, fcntl.LOCK_EX)
    kept, kills = ray_folders(), tmp_path / "kills"

    def started(**wanted: str) -> Run:
        words = embed_kills.command(tmp_path, tiny_bundle, source, tmp_path / "out", EACH, "ray")
        wants = embed_kills.environment(kills, **wanted)
        environment = {name: value for name, value in wants.items() if not name.startswith("RAY_")}
        said, errors = tmp_path / "said", tmp_path / "errors"
        command = ["unshare", "-rn", "sh", "-c", f'{ALONE} "$@"', "sh", *words]
        with said.open("wb") as out, errors.open("wb") as err:
            return Run(subprocess.Popen(command, env=environment, stdout=out, stderr=err), said, errors)

    yield started
    embed_kills.end_all(kills)
    turn.close()
    for folder in ray_folders() - kept:  # a killed driver's
        shutil.rmtree(folder)


def ray_folders() -> set[Path]:
    return set(Path(ray_engine._short_folder() or tempfile.gettempdir()).glob("mtclip-ray-*"))


@needs_ray
@pytest.mark.parametrize("phase", ["at the first film", "in the temporary file"])
def test_an_actor_that_is_killed_is_made_good(phase: str, run, embedded: Path, tmp_path: Path) -> None:
    running = run(phase=phase, whom="worker")
    assert running.end() == 0, running.errors.read_text()
    assert (tmp_path / "kills" / "ended").exists()
    assert running.said.read_text().splitlines()[-1] == "7"
    assert_same(tmp_path / "out", embedded)


@needs_ray
def test_a_driver_that_is_killed_goes_on_where_it_was(run, embedded: Path, tmp_path: Path) -> None:
    """Run again at once, while what is left of the first one may still be there."""
    wanted = {"phase": "in the temporary file", "whom": "driver"}
    assert run(**wanted).end() == -signal.SIGKILL
    assert len(list((tmp_path / "out").glob("part-*"))) < 7
    again = run(**wanted)
    assert again.end() == 0, again.errors.read_text()
    assert_same(tmp_path / "out", embedded)


@needs_ray
def test_a_shard_that_always_ends_its_process_is_named(run, embedded: Path, tmp_path: Path) -> None:
    film = next(iter(EmbeddedFolder.open(embedded).read[1].films))
    running = run(film=film.name)
    assert running.end() == 1
    said = running.errors.read_text()
    assert "1 of 7 shards bring down the process" in said and "the others are there" in said
    assert len(list((tmp_path / "out").glob("part-*"))) == 6


@needs_ray
def test_interrupted_it_leaves_neither_process_nor_folder(run, tmp_path: Path) -> None:
    """Ctrl-C, once the first shard is there."""
    before = ray_folders()
    running, until = run(), time.monotonic() + 120
    while not list((tmp_path / "out").glob("part-*")) and time.monotonic() < until:
        time.sleep(0.02)
    running.process.send_signal(signal.SIGINT)
    assert running.end(60) != 0
    assert embed_kills.all_end(tmp_path / "kills")
    assert ray_folders() == before


def test_without_ray_it_says_what_to_install(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with pytest.raises(ExtraMissing, match=r"\[ray\]"):
        embed(tiny_bundle, [], tmp_path / "out", engine="ray")
    assert not (tmp_path / "out").exists()


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception):
        self.cause = cause


@dataclass(eq=False)
class Call:
    result: Any


class Ray:
    """As much of Ray as the crew calls, in this process; ``begin`` and ``make`` say what comes of a call, an error is raised."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, begin: Any = (), make: Any = None):
        self.begin, self.make, self.killed = SimpleNamespace(remote=self._call(begin)), make, 0

    @staticmethod
    def _call(result: Any):
        return lambda *_: Call(result)

    def remote(self, **_: object):
        actor = SimpleNamespace(begin=self.begin, make=SimpleNamespace(remote=self._call(self.make)))
        return lambda _: SimpleNamespace(remote=lambda: actor)

    def wait(self, calls: Sequence[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return [call for call in calls if call.result != "never"][:1], []

    def get(self, call: Any) -> Any:
        if isinstance(call.result, Exception):
            raise call.result
        return call.result

    def kill(self, actor: Any) -> None:
        self.killed += 1


@pytest.fixture
def crew(source: Path, tmp_path: Path):
    def made(ray: Ray, say=lambda line: None) -> ray_engine._Crew:
        shards = planned(open_source(str(source)).studies, "m", 70)
        (tmp_path / PLAN).touch()
        return ray_engine._Crew(ray, tmp_path, tmp_path, shards, lambda: None, say)

    return made


def test_a_machine_that_does_not_see_the_files_is_told(crew, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="folder that all machines share"):
        crew(Ray(begin=[tmp_path])).made(2)
    actor = ray_engine._Actor()
    assert actor.begin(tmp_path, [tmp_path, tmp_path / "none"]) == [tmp_path / "none"]


def test_processes_that_never_begin_are_given_up(crew) -> None:
    ray = Ray(begin=RayError("the worker died"))
    with pytest.raises(Refused, match="end at once"):
        crew(ray).made(2)
    assert ray.killed == ray_engine.CRASHES + 1


def test_shards_that_end_every_process_are_given_back(crew) -> None:
    ray = Ray(make=RayError("gone"))
    assert len(crew(ray).made(2)) == 2
    assert ray.killed == 2 * ray_engine.CRASHES


def test_what_a_process_raises_is_raised_here(crew) -> None:
    with pytest.raises(OSError, match="no space"):
        crew(Ray(make=RayTaskError(OSError(28, "no space")))).made(1)


def test_waiting_for_a_processor_is_said(crew) -> None:
    class Enough(Exception):
        pass

    def say(line: str) -> None:
        assert line == "waiting for a free processor of the cluster"
        raise Enough

    with pytest.raises(Enough):
        crew(Ray(begin="never"), say).made(1)


def test_sockets_lie_in_a_folder_of_a_short_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "a long name of a folder"))
    if os.name == "posix":
        assert len(str(ray_engine._short_folder())) < 20
