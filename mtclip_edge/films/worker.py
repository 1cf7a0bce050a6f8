"""Films read in a process of its own: whatever a file does to the libraries that read it, it does not do it
to the caller.

Pillow, pydicom, zip and DICOMDIR parse what a stranger wrote. ``DecodeWorkers`` sends each film to a process
that has limits of memory, of processor time and of its own, may write no file and, where the system offers
it, reaches no network. Its death is that film's error. What it answers is JSON and grey pixels, checked here:
nothing it could say is executed. This module is both sides: run by itself it is the process.
"""

import json
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..errors import FilmUnreadable, MtclipError, NoFilms
from .archives import NamedFilms, ZipMember
from .file_types import HEAD
from .film import MAX_PIXELS, DecodedFilm, FilmSource, Header, Ids

if TYPE_CHECKING:
    from .values import FilmValues

SECONDS = 60.0  # for one film, of the clock and of the processor
MEMORY = 6 << 30  # bytes of address space: far more than the largest film needs
_LONGEST = 32 << 20  # bytes of an answer without its pixels: ten thousand names are 1 MB
_KEPT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "LC_ALL", "TZ")
_NEW_USER, _NEW_NET, _NO_NEW_PRIVILEGES = 0x10000000, 0x40000000, 38
_ERRORS: dict[str, type[MtclipError]] = {"FilmUnreadable": FilmUnreadable, "NoFilms": NoFilms}


class DecodeWorkers:
    """As many processes as films are read at once; each stays for the next film, and is replaced when one
    brings it down.
    """

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY):
        self._seconds, self._memory = seconds, memory
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()
        self._closed = False

    def read(self, source: FilmSource, name: str | None = None, render: str = "voi") -> DecodedFilm:
        """As ``read.read_film``. Errors: FilmUnreadable."""
        name = name or (str(source) if isinstance(source, Path) else "<bytes>")
        answer, pixels = self._ask(("film", _sendable(source), name, render), name)
        try:
            return _film(answer, pixels)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise _nonsense(name) from None

    def films_in(self, holder: Path | bytes, name: str, passed: Counter[str] | None = None) -> NamedFilms:
        """As ``dicomdir.films_in``; a zip that brings the process down stands for itself with that error."""
        try:
            answer, _ = self._ask(("list", holder, name), name)
        except FilmUnreadable as error:
            return [(name, error)]
        try:
            films = [(str(shown), _listed(holder, str(shown), entry)) for shown, entry in answer["films"]]
            others = {str(kind): int(count) for kind, count in answer["passed"].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            return [(name, _nonsense(name))]
        if passed is not None:
            passed.update(others)
        return films

    def head(self, source: Callable[[], bytes], name: str) -> bytes:
        """The first bytes of a zip's film, by which its kind is told. Errors: FilmUnreadable."""
        return self._ask(("head", _sendable(source), name), name)[1][:HEAD]

    def values(self, source: FilmSource, name: str) -> "FilmValues":
        """As ``read.read_values``. Errors: FilmUnreadable."""
        answer, data = self._ask(("values", _sendable(source), name), name)
        try:
            return _film_values(answer, data)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise _nonsense(name) from None

    def close(self) -> None:
        """End every process that is idle, and each that is at work when its film is done."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end()

    def _ask(self, request: tuple[Any, ...], name: str) -> tuple[dict[str, Any], bytes]:
        worker = self._take()
        try:
            answer, pixels = worker.ask(request, self._seconds)
        except BaseException as error:
            worker.end()
            if isinstance(error, OSError | EOFError | ValueError | struct.error):
                late = f"reading it took more than {self._seconds:g} s"
                raise FilmUnreadable(
                    f"{name}: {late if worker.late else 'the process that read it died of it'}"
                ) from None
            raise
        with self._lock:
            if not self._closed:
                self._idle.append(worker)
        if self._closed:
            worker.end()
        if "error" in answer:
            raise FilmUnreadable(*[str(line) for line in answer["error"]][:3])
        return answer, pixels

    def _take(self) -> "_Worker":
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    return worker
                worker.end()
        return _Worker(self._memory)


class _Worker:
    def __init__(self, memory: int):
        self._owner, self.late = os.getpid(), False
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {
            "OMP_NUM_THREADS": "1"
        }
        self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", __name__, str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # the decoders that it starts end with it
        )

    @property
    def alive(self) -> bool:
        return self._owner == os.getpid() and self._child.poll() is None

    def ask(self, request: tuple[Any, ...], seconds: float) -> tuple[dict[str, Any], bytes]:
        """Errors: OSError, EOFError, ValueError, struct.error: the process died, or its answer is none."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        killer = threading.Timer(seconds, self._end_late)
        killer.daemon = True
        killer.start()
        try:
            _write(self._child.stdin, pickle.dumps((seconds, request)))
            answer = json.loads(_read(self._child.stdout, _LONGEST))
            if not isinstance(answer, dict):
                raise ValueError
            return answer, _read(self._child.stdout, 2 * MAX_PIXELS)
        finally:
            killer.cancel()

    def _end_late(self) -> None:
        self.late = True
        self._kill()

    def _kill(self) -> None:
        with suppress(OSError):
            os.killpg(self._child.pid, 9) if hasattr(os, "killpg") else self._child.kill()

    def end(self) -> None:
        if self._owner == os.getpid():
            self._kill()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe
            with suppress(OSError):
                pipe.close()
        if self._owner == os.getpid():
            self._child.wait()


def _sendable(source: FilmSource) -> FilmSource:
    """A path or bytes as they are; a way to get bytes, where it can be sent, else what it gives."""
    if not callable(source):
        return source.absolute() if isinstance(source, Path) else source
    try:
        pickle.dumps(source)
    except Exception:
        return source()
    return source


def _film(answer: Mapping[str, Any], pixels: bytes) -> DecodedFilm:
    """Errors: KeyError, TypeError, ValueError, AttributeError."""
    height, width = (int(side) for side in answer["shape"])
    grey = np.frombuffer(pixels, np.uint8).reshape(height, width)
    notes = tuple(str(note) for note in answer["notes"])
    header = _header(answer["header"]) if answer["header"] is not None else None
    return DecodedFilm(grey, str(answer["kind"]), notes, header, answer["coloured"] is True)


def _film_values(answer: Mapping[str, Any], data: bytes) -> "FilmValues":
    """Errors: KeyError, TypeError, ValueError, AttributeError."""
    from .values import FilmValues

    height, width = (int(side) for side in answer["shape"])
    window = answer["window"]
    return FilmValues(
        np.frombuffer(data, "<u2").reshape(height, width),
        float(answer["slope"]),
        float(answer["intercept"]),
        answer["inverse"] is True,
        float(window["center"]),
        float(window["width"]),
        str(window["function"]),
    )


def _header(facts: Mapping[str, Any]) -> Header:
    """Errors: KeyError, TypeError, ValueError, AttributeError."""
    from .dicom.attributes import study_key  # keys mean something in this process only

    ids = Ids(**{name: str(value) for name, value in facts["ids"].items()})
    words = {
        name: str(facts[name])
        for name in ("modality", "body_part", "view", "photometric", "intent", "transfer_syntax")
    }
    burned = {True: True, False: False}.get(facts["burned_in"])
    return Header(
        **words, frames=int(facts["frames"]), burned_in=burned, study=study_key(ids.study_uid), ids=ids
    )


def _nonsense(name: str) -> FilmUnreadable:
    return FilmUnreadable(f"{name}: the process that read it answered nonsense")


def _listed(holder: Path | bytes, shown: str, entry: Mapping[str, Any]) -> FilmSource | MtclipError:
    """Errors: KeyError, TypeError, ValueError, AttributeError."""
    if "error" in entry:
        return _ERRORS.get(str(entry.get("kind")), FilmUnreadable)(
            *[str(line) for line in entry["error"]][:3]
        )
    if "path" not in entry:
        return ZipMember(holder, int(entry["offset"]), shown)
    path = Path(str(entry["path"]))
    if not isinstance(holder, Path) or not path.resolve().is_relative_to(holder.parent.resolve()):
        raise ValueError
    return path


def _write(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(struct.pack("<Q", len(data)))
    pipe.write(data)
    pipe.flush()


def _read(pipe: IO[bytes], most: int) -> bytes:
    """Errors: EOFError, ValueError."""
    head = pipe.read(8)
    if len(head) != 8:
        raise EOFError
    (length,) = struct.unpack("<Q", head)
    if length > most:
        raise ValueError
    data = pipe.read(length)
    if len(data) != length:
        raise EOFError
    return data


# The process itself


def main(memory: int) -> None:
    """Answer requests from standard input until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not come between
    _give_up_rights(memory)
    while True:
        try:
            seconds, request = pickle.loads(_read(sys.stdin.buffer, 1 << 40))  # noqa: S301 - from the process that started this one
        except EOFError:
            return
        _limit_time(seconds)
        answer, pixels = _answer(request)
        _write(answers, json.dumps(answer).encode())
        _write(answers, pixels)


def _answer(request: tuple[Any, ...]) -> tuple[dict[str, Any], bytes]:
    try:
        if request[0] == "list":
            from .dicomdir import films_in

            passed: Counter[str] = Counter()
            films = [(shown, _entry(film)) for shown, film in films_in(request[1], request[2], passed)]
            return {"films": films, "passed": passed}, b""
        if request[0] == "head":
            return {}, request[1]()[:HEAD]
        if request[0] == "values":
            from .read import read_values

            found = read_values(*request[1:])
            return {**found.to_dict(), "shape": found.values.shape}, found.values.astype("<u2").tobytes()
        from .read import read_film

        film = read_film(*request[1:])
        facts = {"kind": film.kind, "notes": film.notes, "coloured": film.coloured, "shape": film.grey.shape}
        return facts | {"header": asdict(film.header) if film.header else None}, film.grey.tobytes()
    except MtclipError as error:
        return {"error": str(error).split("\n")}, b""
    except Exception as error:  # of a way to get bytes that is not ours; its words may quote them
        return {"error": [f"{request[2]}: cannot be read ({type(error).__name__})"]}, b""


def _entry(film: FilmSource | MtclipError) -> dict[str, Any]:
    if isinstance(film, MtclipError):
        return {"error": str(film).split("\n"), "kind": type(film).__name__}
    if isinstance(film, Path):
        return {"path": str(film)}
    assert isinstance(film, ZipMember)
    return {"offset": film.offset}


def _give_up_rights(memory: int) -> None:
    """No more memory than this, no file written, no core left; on Linux no network and no new rights
    either.
    """
    try:
        import resource

        for limit, value in (
            (resource.RLIMIT_AS, memory),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(limit, (value, value))
    except (ImportError, ValueError, OSError):  # Windows has no limits, another system lower ones already
        pass
    if sys.platform == "linux":
        import ctypes

        system = ctypes.CDLL(None)
        system.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        if system.unshare(_NEW_NET) != 0:  # for the superuser; others first need a world of their own
            system.unshare(_NEW_USER | _NEW_NET)


def _limit_time(seconds: float) -> None:
    """Processor time for this film; the clock is the caller's."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + seconds) + 1, hard))


if __name__ == "__main__":
    main(int(sys.argv[1]))
