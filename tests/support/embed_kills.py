"""Processes of ``embed`` that are ended by SIGKILL at a chosen step, in a worker or in the one that all belong to.

Whoever runs under ``environment`` loads a hook first, engines' own processes too. It sees what the worker opens, changes and renames.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PHASES = ("at the first film", "in the temporary file", "before the rename", "after the rename")

SCRIPT = """
import os, sys
from pathlib import Path
os.environ.setdefault("KILL_DRIVER", str(os.getpid()))  # known to all that this one starts
from mtclip_edge.errors import MtclipError
from mtclip_edge.indexing.embed import embed
from mtclip_edge.sources.source import open_source

if __name__ == "__main__":
    bundle, source, out, each, engine = sys.argv[1:]
    try:
        made = embed(Path(bundle), open_source(source).studies, Path(out), workers=2, each=int(each), engine=engine)
    except MtclipError as error:
        sys.exit(str(error))
    print(made)
"""

HOOK = """
import os, signal, sys, time

phase, whom, once, film = (os.environ.get(f"KILL_{name}", "") for name in ("PHASE", "WHOM", "ONCE", "FILM"))
renamed = inside = False

def end(path):
    global inside
    inside = True
    if not film:
        try:
            os.close(os.open(once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            inside = False
            return
    if phase == "in the temporary file":
        os.truncate(path, os.path.getsize(path) // 2)
    os.kill(int(os.environ["KILL_DRIVER"]) if whom == "driver" else os.getpid(), signal.SIGKILL)
    time.sleep(60)  # what a worker does that is not told of its driver's end

def hook(event, given):
    global renamed
    if inside or not given or not isinstance(given[0], (str, os.PathLike)):
        return
    if os.environ.get("KILL_DRIVER", str(os.getpid())) == str(os.getpid()):
        return
    path = os.fspath(given[0])
    name = os.path.basename(path)
    if event == "open" and name.endswith(".png") and (name == film or phase == "at the first film"):
        end(path)
    if event == "os.chmod" and name.startswith(".part-") and phase == "in the temporary file":
        end(path)
    if event == "os.rename" and name.startswith(".part-"):
        if phase == "before the rename":
            end(path)
        renamed = True
    if event == "open" and renamed and os.path.isdir(path) and phase == "after the rename":
        end(path)

sys.addaudithook(hook)
"""


def environment(folder: Path, **wanted: str) -> dict[str, str]:
    """Of processes that end as ``wanted`` says: ``phase`` and ``whom`` (worker, driver), once; or whenever a worker opens ``film``."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(HOOK)
    told = {f"KILL_{name.upper()}": value for name, value in wanted.items()}
    return {**os.environ, **told, "KILL_ONCE": str(folder / "ended"), "PYTHONPATH": str(folder)}


def command(folder: Path, bundle: Path, source: Path, out: Path, each: int, engine: str) -> list[str]:
    script = folder / "run.py"
    script.write_text(SCRIPT)
    return [sys.executable, str(script), str(bundle), str(source), str(out), str(each), engine]


def all_end(folder: Path, seconds: float = 30) -> bool:
    """Whether every process under the environment of this folder ends by then."""
    until = time.monotonic() + seconds
    while found := _living(folder):
        if time.monotonic() > until:
            print([_read(Path(f"/proc/{pid}/cmdline")) for pid in found])
            return False
        time.sleep(0.2)
    return True


def end_all(folder: Path) -> None:
    for pid in _living(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _living(folder: Path) -> list[int]:
    mark = f"KILL_ONCE={folder / 'ended'}".encode()
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if mark in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has just ended
        return b""
