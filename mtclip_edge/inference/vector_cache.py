"""Keeps vectors that were computed once, in one SQLite file that may be deleted at any time.

Every batch is one transaction, so an interrupted pass resumes where it was. Each vector carries a checksum:
what a disk has damaged is computed again, and a file that is no database any more is begun anew.
"""

import hashlib
import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..errors import CacheUnusable
from ..files import private_dir
from ..films.archives import read_bytes
from ..progress import Progress

Item = TypeVar("Item")
# Items to the places of those that could be computed, and their vectors float32 [places, width].
Compute = Callable[[list[Item]], tuple[Sequence[int] | np.ndarray, np.ndarray]]


class VectorCache:
    """The file of one backbone and preprocessing; keys are SHA-256 digests, values raw float32 with a CRC-32
    behind them.

    ``hint`` says what to do where it cannot be written.
    """

    def __init__(self, path: Path, width: int, hint: str):
        self.width, self._path, self._hint = width, path, hint
        try:
            private_dir(path.parent)
            try:
                self.db = _opened(path)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                path.unlink()
                self.db = _opened(path)
        except (OSError, sqlite3.OperationalError) as error:
            raise CacheUnusable(f"{path}: cannot be written ({error})", hint=hint) from None

    def get(self, key: bytes) -> np.ndarray | None:
        try:
            row = self.db.execute("SELECT vector FROM feature WHERE key = ?", (key,)).fetchone()
        except sqlite3.DatabaseError:  # a damaged page: as if it had never been computed
            return None
        if (
            row is None
            or len(row[0]) != 4 * self.width + 4
            or zlib.crc32(row[0][:-4]) != int.from_bytes(row[0][-4:], "little")
        ):
            return None
        return np.frombuffer(row[0][:-4], np.float32)

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        values = [(key, _with_checksum(vector)) for key, vector in zip(keys, vectors, strict=True)]
        try:
            with self.db:
                self.db.executemany("INSERT OR REPLACE INTO feature VALUES (?, ?)", values)
        except sqlite3.DatabaseError as error:
            raise CacheUnusable(f"{self._path}: cannot be written ({error})", hint=self._hint) from None

    def cached(
        self, wanted: Mapping[bytes, Item], compute: Compute[Item], batch: int, progress: Progress, what: str
    ) -> dict[bytes, np.ndarray]:
        """The vector of every key that is kept here or can be computed from its item; what is computed is
        kept batch by batch.
        """
        vectors = {key: vector for key in wanted if (vector := self.get(key)) is not None}
        todo = [(key, item) for key, item in wanted.items() if key not in vectors]
        if todo:
            progress(what, len(vectors), len(wanted))
        for start in range(0, len(todo), batch):
            part = todo[start : start + batch]
            places, made = compute([item for _, item in part])
            keys = [part[place][0] for place in places]
            if keys:
                self.put(keys, made)
            vectors |= dict(zip(keys, made, strict=True))
            progress(what, len(wanted) - len(todo) + start + len(part), len(wanted))
        return vectors

    def close(self) -> None:
        self.db.close()


def file_keys(paths: Sequence[Path]) -> tuple[dict[Path, bytes], list[str]]:
    """The SHA-256 of each film's bytes, and a line for each that cannot be read."""
    keys, problems = {}, []
    for path in dict.fromkeys(paths):
        try:
            keys[path] = hashlib.sha256(read_bytes(path)).digest()
        except OSError as error:
            problems.append(f"{path}: cannot be read ({error.strerror})")
    return keys, problems


def unread_twins(keys: Mapping[Path, bytes], vectors: Mapping[bytes, np.ndarray]) -> list[Path]:
    """Files whose bytes are those of a later one that could not be read: tried too, so that each is named."""
    tried = {key: path for path, key in keys.items()}
    return [path for path, key in keys.items() if key not in vectors and tried[key] is not path]


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path)
    try:
        path.chmod(0o600)
        # A write-ahead log keeps a killed pass readable; losing the last second of a cache is no loss.
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute(
            "CREATE TABLE IF NOT EXISTS feature (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
        )
    except BaseException:
        db.close()
        raise
    return db


def _with_checksum(vector: np.ndarray) -> bytes:
    raw = vector.astype(np.float32).tobytes()
    return raw + zlib.crc32(raw).to_bytes(4, "little")
