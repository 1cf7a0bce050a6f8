"""Files of the node: films as they came in, result objects on their way out. Private, each whole or absent.

``in/UID.dcm`` is a film, ``out/UID.dcm`` a result; a dot before a name: not finished. One node a spool.
"""

import re
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import Refused
from ..files import private_dir, replace_with

UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
RESERVE = 64 << 20  # bytes of the disk that are left to the journal, the log and the outbox


def is_uid(word: str) -> bool:
    """Whether a word is a UID, and so a safe file name."""
    return len(word) <= 64 and bool(UID.fullmatch(word))


class SpoolFull(OSError):
    """No room for a film, by the site's limit or on the disk."""


class Spool:
    """``limit``: bytes that films and results may take. Errors of writing: OSError."""

    def __init__(self, folder: Path, limit: int):
        self.folder, self._limit = folder, limit
        self.incoming, self.outgoing = (private_dir(folder / name) for name in ("in", "out"))
        self._lock, self._size = threading.Lock(), 0
        self._claim = FileLock(folder / "node.lock", mode=0o600)

    def claim(self) -> None:
        """This process alone works here from now on, and what an earlier one left unfinished is removed.

        Errors: Refused.
        """
        try:
            self._claim.acquire(timeout=0)
        except Timeout:
            raise Refused(f"{self.folder}: another mtclip node works here") from None
        for folder in (self.incoming, self.outgoing):
            for path in folder.iterdir():
                if path.name.startswith("."):
                    path.unlink(missing_ok=True)
        self.measure()

    def release(self) -> None:
        self._claim.release()

    def film(self, uid: str) -> Path:
        return self.incoming / f"{uid}.dcm"

    def result(self, uid: str) -> Path:
        return self.outgoing / f"{uid}.dcm"

    def keep_film(self, uid: str, parts: Iterable[bytes], size: int) -> Path:
        """Write a film so that a power cut leaves it whole. Errors: SpoolFull, OSError."""
        self.check_room(size)
        return self._write(self.film(uid), parts)

    def keep_result(self, uid: str, parts: Iterable[bytes]) -> Path:
        """A result has room whatever the limit: without it films would wait for ever."""
        return self._write(self.result(uid), parts)

    def check_room(self, size: int) -> None:
        """Errors: SpoolFull."""
        if self._size + size > self._limit:
            raise SpoolFull("the spool holds as much as its limit allows")
        if shutil.disk_usage(self.folder).free < size + RESERVE:
            raise SpoolFull("the disk is full")

    def _write(self, path: Path, parts: Iterable[bytes]) -> Path:
        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                file.writelines(parts)

        before = _size(path)
        replace_with(path, write)
        with self._lock:
            self._size += _size(path) - before
        return path

    def drop(self, paths: Iterable[Path]) -> None:
        """Remove files; one that is not there is no error."""
        for path in paths:
            try:
                size = path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                continue
            with self._lock:
                self._size -= size

    def uids(self, folder: Path) -> list[str]:
        """Of the finished files in ``incoming`` or ``outgoing``."""
        return sorted(path.stem for path in folder.iterdir() if not path.name.startswith("."))

    def measure(self) -> None:
        """Count again what lies on disk: another process may have removed something."""
        sizes = (_size(path) for folder in (self.incoming, self.outgoing) for path in folder.iterdir())
        with self._lock:
            self._size = sum(sizes)

    @property
    def size(self) -> int:
        """Bytes of films and results."""
        return self._size


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # just renamed or removed
        return 0
