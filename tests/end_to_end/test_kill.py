"""SIGKILL in every phase of every change of an index: what opens afterwards is the old state or the new one, whole, and the change can be
made again. ``make soak`` takes each phase of each command twenty times and more.
"""

import json
import os
import random as stdlib_random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from bundle_content import assert_same, content

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.indexing.build import rebuild
from mtclip_edge.indexing.update import add
from mtclip_edge.sources.source import open_source

COMMANDS = ("build", "add", "remove", "rebuild", "merge", "export")
# Where a process can be stopped, and how often it passes there at most; a file's number is drawn.
PHASES = {
    "before the first write": 1,
    "between files": 8,
    "before the rename": 1,
    "after the rename": 1,
    "during clean-up": 4,
    "any time": 0,
}

CHILD = """
import json, os, sys, time
from pathlib import Path
import hnswlib, onnxruntime, pyarrow.parquet
from mtclip_edge.bundle import generations
from mtclip_edge.indexing import build as building, update as changing, parquet_export as parquet
from mtclip_edge.errors import MtclipError
from mtclip_edge.sources.source import open_source

committed, passed, wanted = False, 0, None

def here(phase):
    global passed
    if wanted and phase == wanted[0]:
        passed += 1
        if passed == wanted[1]:
            print("here", flush=True)
            time.sleep(600)

real = {name: getattr(Path, name) for name in ("replace", "rename", "unlink")}

def moved(name):
    def move(self, target):
        global committed
        commits = Path(target).name in ("manifest.json", "out")
        here("before the rename" if commits else "between files")
        found = real[name](self, target)
        committed |= commits
        here("after the rename" if commits else "between files")
        return found
    return move

def unlink(self, missing_ok=False):
    if committed:
        here("during clean-up")
    real["unlink"](self, missing_ok)

def first(work):
    def wrapped(*given):
        here("before the first write")
        return work(*given)
    return wrapped

Path.replace, Path.rename, Path.unlink = moved("replace"), moved("rename"), unlink
generations.next_generation = first(generations.next_generation)
parquet.private_dir = first(parquet.private_dir)
studies = open_source(sys.argv[1]).studies

for line in sys.stdin:
    command, bundle, other, out, wanted = json.loads(line)
    told, tell = os.pipe()
    if (child := os.fork()) == 0:
        os.read(told, 1)  # the parent's line with our number comes before any of ours
        bundle, end = Path(bundle), "done"
        work = {
            "build": lambda: building.rebuild(bundle, studies),
            "add": lambda: changing.add(bundle, studies),
            "remove": lambda: changing.remove(bundle, patients=["p001"]),
            "rebuild": lambda: changing.rebuild_index(bundle),
            "merge": lambda: changing.merge(bundle, Path(other)),
            "export": lambda: parquet.export_parquet(bundle, Path(out)),
        }[command]
        try:
            work()
        except MtclipError:
            end = "refused"
        print(end, flush=True)
        os._exit(0)
    print(child, flush=True)
    os.write(tell, b"x")
    os.close(told), os.close(tell)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


class Changes:
    """One process that imports everything once and makes each change in a child of its own."""

    def __init__(self, source: Path):
        pipe, environment = subprocess.PIPE, {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(source)], stdin=pipe, stdout=pipe, text=True, env=environment
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def make(
        self,
        command: str,
        case: dict[str, Path],
        wanted: tuple[str, int] | None,
        seconds: float | None = None,
    ) -> bool:
        """Make a change, and kill it in a phase or after some seconds; whether it was killed."""
        assert self.process.stdin is not None
        self.process.stdin.write(
            json.dumps([command, str(case["bundle"]), str(case["other"]), str(case["out"]), wanted]) + "\n"
        )
        self.process.stdin.flush()
        child = int(self.line())
        if seconds is not None:
            time.sleep(seconds)
            with suppress(ProcessLookupError):  # it had ended
                os.kill(child, signal.SIGKILL)
        found = self.line()
        if found == "here":
            os.kill(child, signal.SIGKILL)
        killed = found in ("here", "ended")
        if found != "ended":
            assert self.line() == "ended"
        return killed


@pytest.fixture
def changes(source: Path) -> Iterator[Changes]:
    found = Changes(source)
    yield found
    found.process.communicate()


@pytest.fixture
def states(bundle: Path, source: Path, tmp_path: Path) -> dict[str, dict]:
    """The bundle before and after each command; before: half the studies, and ``other`` has the rest."""
    studies = [s for s in open_source(str(source)).studies if s.report_id]
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    rebuild(bundle, studies[: len(studies) // 2])
    rebuild(other, studies[len(studies) // 2 :])
    return {"before": content(bundle)}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_in_every_phase(
    command: str, bundle: Path, states: dict, changes: Changes, tmp_path: Path, soak: bool
) -> None:
    if command not in ("add", "remove", "export") and not soak:
        pytest.skip("three of the six are enough outside make soak")
    random, log = stdlib_random.Random(f"kill {command}"), Counter()  # noqa: S311
    finished = {
        "bundle": Path(shutil.copytree(bundle, tmp_path / "finished")),
        "other": tmp_path / "other",
        "out": tmp_path / "o" / "out",
    }
    started = time.monotonic()
    assert not changes.make(command, finished, None)
    whole = time.monotonic() - started
    after = content(finished["bundle"])
    phases = {
        name: passes for name, passes in PHASES.items() if (command, name) != ("export", "during clean-up")
    }
    for phase, passes in phases.items():
        tries = 0
        while log[phase] < (20 if soak else 1) and tries < 100:
            tries += 1
            case = {
                "bundle": Path(shutil.copytree(bundle, tmp_path / "case")),
                "other": tmp_path / "other",
                "out": tmp_path / "c" / "out",
            }
            wanted = (phase, random.randint(1, passes)) if passes else None
            killed = changes.make(command, case, wanted, None if passes else random.uniform(0, whole))
            log[phase] += killed
            check(command, phase if killed else "done", case, states["before"], after)
            if random.random() < (0.2 if soak else 1):
                assert not changes.make(command, case, None)  # done, or refused because it was done before
                check(command, "done", case, states["before"], after)
                leftovers = {p.name for p in case["bundle"].iterdir()} - {
                    *Bundle.open(case["bundle"]).manifest.files,
                    "manifest.json",
                }
                assert not leftovers and not list(tmp_path.glob(".case.*"))
            shutil.rmtree(tmp_path / "case")
            shutil.rmtree(tmp_path / "c", ignore_errors=True)
            for kept in tmp_path.glob(".case.embedded*"):
                kept.unlink()
    print(command, dict(log))
    assert {phase for phase, kills in log.items() if kills} == set(phases)


def check(command: str, phase: str, case: dict[str, Path], before: dict, after: dict) -> None:
    """The bundle opens, every hash is right, and it holds what was committed."""
    opened = Bundle.open(case["bundle"])
    assert not [problem for _, problem in opened.verify() if problem], (command, phase)
    found = content(case["bundle"])
    if command == "export":
        assert_same(found, before)
        complete = {"reports.parquet", "studies.parquet", "films.parquet"}
        assert not case["out"].exists() or {p.name for p in case["out"].iterdir()} == complete
        assert case["out"].exists() or phase not in ("done", "after the rename")
        return
    early = phase in ("before the first write", "between files", "before the rename")
    late = phase in ("after the rename", "during clean-up", "done")
    published = opened.generation > 2
    assert not (early and published) and not (late and not published), (command, phase)
    assert_same(found, after if published else before)


@pytest.mark.slow
def test_a_query_meanwhile_sees_one_state_or_the_other(
    bundle: Path, source: Path, film: Path, changes: Changes, soak: bool
) -> None:
    """Readers open and ask without a pause while a writer adds, removes and rebuilds."""
    from mtclip_edge.retrieval.retriever import Retriever

    studies = [s for s in open_source(str(source)).studies if s.report_id]
    rebuild(bundle, studies[: len(studies) // 2])
    add(bundle, studies)
    counts, stop = {Bundle.open(bundle).index.reports: 0}, time.monotonic() + (60 if soak else 3)
    case, turn = {"bundle": bundle, "other": bundle, "out": bundle.parent / "x"}, 0
    while time.monotonic() < stop:
        command = ("remove", "rebuild", "add")[turn % 3]
        assert changes.process.stdin is not None
        changes.process.stdin.write(json.dumps([command, *map(str, case.values()), None]) + "\n")
        changes.process.stdin.flush()
        child = int(changes.line())
        while True:
            try:
                os.kill(child, 0)
            except ProcessLookupError:
                break
            with Retriever.open(bundle) as retriever:
                hits = retriever.query(film, k=1000).hits
                assert len(hits) == retriever.bundle.index.reports
                assert sum(hit.studies for hit in hits) == retriever.bundle.index.studies
                counts[len(hits)] = counts.get(len(hits), 0) + 1
        assert changes.line() == "done" and changes.line() == "ended"
        turn += 1
    assert turn >= 3 and len(counts) == 2 and min(counts.values()) > 0


def test_a_read_only_folder_is_queried_by_many(bundle: Path, film: Path) -> None:
    """Four processes at once, the folder and its files without any right to write."""
    for path in (*bundle.iterdir(), bundle):
        path.chmod(0o500 if path.is_dir() else 0o400)
    before = sorted((p.name, p.stat().st_mtime_ns) for p in bundle.iterdir())
    words = [
        sys.executable,
        "-m",
        "mtclip_edge",
        "query",
        str(film),
        "--bundle",
        str(bundle),
        "--format",
        "ids",
        "--match",
        "left OR clear",
    ]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = {process.communicate()[0] for process in running}
    assert len(answers) == 1 and len(answers.pop().splitlines()) == 5
    assert {process.returncode for process in running} == {0}
    assert sorted((p.name, p.stat().st_mtime_ns) for p in bundle.iterdir()) == before
    bundle.chmod(0o700)
