"""Tower outputs, computed once and kept: films by the hash of their bytes, texts by the hash of what the tower reads.

One SQLite file for each backbone and preprocessing. Every batch is one transaction, so an interrupted pass resumes where it was,
and a film whose bytes changed is computed again. Each vector carries a checksum: what a disk has damaged is computed again too, and a
file that is no database any more is begun anew. It may be deleted at any time.
"""

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mtclip_edge.durable import private_dir
from mtclip_edge.errors import CacheUnusable, FilmUnreadable
from mtclip_edge.images import read_film
from mtclip_edge.paths import cache_dir
from mtclip_edge.preprocess import Preprocessing, model_input
from mtclip_edge.reporting import Progress

from .backbone import Backbone, text_features

BATCH = 32


@dataclass(frozen=True)
class FilmFeatures:
    """``rows[i]`` is the row of ``vectors`` (float32 [read, width]) for the i-th path asked for, -1 where it could not be read."""

    vectors: np.ndarray
    rows: np.ndarray
    problems: tuple[str, ...]


class FeatureCache:
    """The file of one backbone and preprocessing; keys are SHA-256 digests, values raw float32 with a CRC-32 behind them."""

    def __init__(self, path: Path, width: int):
        self.width = width
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
            raise CacheUnusable(f"{path}: cannot be written ({error})", hint="set MTCLIP_HOME to a folder of yours") from None

    @classmethod
    def of(cls, backbone: Backbone, width: int) -> "FeatureCache":
        return cls(cache_dir() / "features" / f"{cache_key(backbone.identity, backbone.preprocessing)}.sqlite", width)

    def get(self, key: bytes) -> np.ndarray | None:
        try:
            row = self.db.execute("SELECT vector FROM feature WHERE key = ?", (key,)).fetchone()
        except sqlite3.DatabaseError:  # a damaged page: as if it had never been computed
            return None
        if row is None or len(row[0]) != 4 * self.width + 4 or zlib.crc32(row[0][:-4]) != int.from_bytes(row[0][-4:], "little"):
            return None
        return np.frombuffer(row[0][:-4], np.float32)

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        values = [(key, _with_checksum(vector)) for key, vector in zip(keys, vectors, strict=True)]
        try:
            with self.db:
                self.db.executemany("INSERT OR REPLACE INTO feature VALUES (?, ?)", values)
        except sqlite3.DatabaseError as error:
            raise CacheUnusable(
                f"the feature cache cannot be written ({error})", hint="make room, or delete the folder cache/features"
            ) from None

    def close(self) -> None:
        self.db.close()


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path)
    path.chmod(0o600)
    # A write-ahead log keeps a killed pass readable; losing the last second of a cache is no loss.
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute("CREATE TABLE IF NOT EXISTS feature (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID")
    return db


def _with_checksum(vector: np.ndarray) -> bytes:
    raw = vector.astype(np.float32).tobytes()
    return raw + zlib.crc32(raw).to_bytes(4, "little")


def cache_key(identity: str, preprocessing: Preprocessing) -> str:
    """Name of the cache of a backbone with a preprocessing."""
    text = json.dumps([identity, preprocessing.to_dict()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@torch.inference_mode()
def film_features(backbone: Backbone, paths: Sequence[Path], progress: Progress, device: torch.device) -> FilmFeatures:
    """Film tower outputs before any projector. A film that cannot be read is named in ``problems`` and left out."""
    keys, problems = _film_keys(paths)
    tower = backbone.film_tower.to(device)
    with closing(FeatureCache.of(backbone, backbone.film_width)) as cache, ThreadPoolExecutor(2) as pool:
        known = {key: vector for key in set(keys.values()) if (vector := cache.get(key)) is not None}
        wanted = {key: path for path, key in keys.items() if key not in known}
        todo = list(wanted.items())
        for start in range(0, len(todo), BATCH):
            batch = todo[start : start + BATCH]
            inputs = list(pool.map(lambda path: _input_or_problem(path, backbone.preprocessing), [path for _, path in batch]))
            good = [(key, x) for (key, _), x in zip(batch, inputs, strict=True) if isinstance(x, np.ndarray)]
            problems += [x for x in inputs if isinstance(x, str)]
            if good:
                pixels = torch.from_numpy(np.stack([x for _, x in good])).to(device)
                vectors = tower(pixels).cpu().numpy()
                cache.put([key for key, _ in good], vectors)
                known |= {key: vector for (key, _), vector in zip(good, vectors, strict=True)}
            progress("films", len(paths) - len(todo) + start + len(batch), len(paths))
    return _table(paths, keys, known, backbone.film_width, problems)


@torch.inference_mode()
def report_features(backbone: Backbone, texts: Sequence[str], progress: Progress, device: torch.device) -> np.ndarray:
    """Text tower outputs before any projector, float32 [texts, width]."""
    keys = [hashlib.sha256(text.encode()).digest() for text in texts]
    tower = backbone.text_tower.to(device)
    with closing(FeatureCache.of(backbone, backbone.text_width)) as cache:
        known = {key: vector for key in set(keys) if (vector := cache.get(key)) is not None}
        wanted = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        todo = sorted(wanted.items(), key=lambda item: len(item[1]))  # like lengths together: less padding to compute
        for start in range(0, len(todo), BATCH):
            batch = todo[start : start + BATCH]
            vectors = text_features(tower, backbone.tokenizer, [text for _, text in batch], device).cpu().numpy()
            cache.put([key for key, _ in batch], vectors)
            known |= {key: vector for (key, _), vector in zip(batch, vectors, strict=True)}
            progress("reports", len(keys) - len(todo) + start + len(batch), len(keys))
    return np.stack([known[key] for key in keys]) if keys else np.zeros((0, backbone.text_width), np.float32)


def _film_keys(paths: Sequence[Path]) -> tuple[dict[Path, bytes], list[str]]:
    keys, problems = {}, []
    for path in dict.fromkeys(paths):
        try:
            keys[path] = hashlib.sha256(path.read_bytes()).digest()
        except OSError as error:
            problems.append(f"{path}: cannot be read ({error.strerror})")
    return keys, problems


def _input_or_problem(path: Path, how: Preprocessing) -> np.ndarray | str:
    try:
        return model_input(read_film(path).grey, how)
    except FilmUnreadable as error:
        return str(error)


def _table(paths: Sequence[Path], keys: dict[Path, bytes], known: dict[bytes, np.ndarray], width: int, problems: list[str]) -> FilmFeatures:
    row_of = {key: row for row, key in enumerate(known)}
    vectors = np.stack(list(known.values())) if known else np.zeros((0, width), np.float32)
    rows = np.array([row_of.get(keys.get(path, b""), -1) for path in paths], np.int64)
    return FilmFeatures(vectors, rows, tuple(problems))
