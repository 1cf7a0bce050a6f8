"""Computes tower outputs once and keeps them: films by the hash of their bytes, texts by the hash of what the
tower reads.

One cache for each backbone and preprocessing: an interrupted pass resumes where it was, a film whose bytes
changed is computed again.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mtclip_edge.folders import cache_dir
from mtclip_edge.inference.embed_films import film_batches
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.inference.vector_cache import VectorCache, file_keys, unread_twins
from mtclip_edge.progress import Progress, Say, silent, step

from .backbones.backbone import Backbone, text_features
from .lexical import TowerAndWords
from .tower_session import FILMS, FrozenTower

BATCH = 32
# channels last besides: 2.5 times as many films a second as 32 the usual way
CPU_FILMS = FILMS
_HINT = "make room, delete the folder cache/features, or set MTCLIP_HOME to a folder of yours"


@dataclass(frozen=True)
class FilmFeatures:
    """``rows[i]`` is the row of ``vectors`` (float32 [read, width]) for the i-th path asked for, -1 where
    it could not be read.
    """

    vectors: np.ndarray
    rows: np.ndarray
    problems: tuple[str, ...]


def _cache(backbone: Backbone, width: int, pool: str = "whole") -> VectorCache:
    return VectorCache(
        cache_dir() / "features" / f"{cache_key(backbone.identity, backbone.preprocessing, pool)}.sqlite",
        width,
        _HINT,
    )


def cache_key(identity: str, preprocessing: Preprocessing, pool: str = "whole") -> str:
    """Name of the cache of a backbone with a preprocessing, and a way to pool."""
    pooled = [] if pool == "whole" else [pool]
    text = json.dumps([identity, preprocessing.to_dict(), *pooled], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def film_features(
    backbone: Backbone,
    paths: Sequence[Path],
    progress: Progress,
    device: torch.device,
    say: Say = silent,
) -> FilmFeatures:
    """Film tower outputs before any projector; by what is told to ``say``, where they are many.

    A film that cannot be read is named in ``problems`` and left out.
    """
    with step(progress, "comparing films with the cache"):
        keys, problems = file_keys(paths)
    tower = FrozenTower(backbone.film_tower, device, say)
    size = CPU_FILMS if device.type == "cpu" else BATCH

    def compute(part: list[Path]) -> tuple[list[int], np.ndarray]:
        read: list[int] = []
        vectors = [np.zeros((0, backbone.film_width), np.float32)]
        for batch in film_batches(part, backbone.preprocessing, size, silent):
            problems.extend(batch.problems)
            if batch.read:
                read += batch.read
                vectors.append(tower(batch.pixels))
        return read, np.concatenate(vectors)

    with closing(_cache(backbone, backbone.film_width, backbone.pool)) as cache:
        vectors = cache.cached({key: path for path, key in keys.items()}, compute, BATCH, progress, "films")
        compute(unread_twins(keys, vectors))
    return _table(paths, keys, vectors, backbone.film_width, problems)


@torch.inference_mode()
def report_features(
    backbone: Backbone, texts: Sequence[str], progress: Progress, device: torch.device
) -> np.ndarray:
    """Text tower outputs before any projector, float32 [texts, width]."""
    if backbone.text_side != "transformer":
        return _with_words(backbone, texts, progress, device)
    tower = backbone.text_tower.to(device)

    def compute(part: list[str]) -> tuple[range, np.ndarray]:
        return range(len(part)), text_features(tower, backbone.tokenizer, part, device).cpu().numpy()

    by_length = sorted(texts, key=len)  # like lengths together: less padding to compute
    with closing(_cache(backbone, backbone.text_width)) as cache:
        vectors = cache.cached(
            {_text_key(text): text for text in by_length}, compute, BATCH, progress, "reports"
        )
    return (
        np.stack([vectors[_text_key(text)] for text in texts])
        if texts
        else np.zeros((0, backbone.text_width), np.float32)
    )


def _with_words(
    backbone: Backbone, texts: Sequence[str], progress: Progress, device: torch.device
) -> np.ndarray:
    """``report_features`` of a lexical side: not kept, since each run has its own and it costs nothing; the
    tower beside it is.
    """
    both, tokenizer = backbone.text_tower, backbone.tokenizer
    words: nn.Module = both.words if isinstance(both, TowerAndWords) else both
    words = words.to(device)
    width = backbone.words_width or backbone.text_width
    parts = [np.zeros((0, width), np.float32)]
    for start in range(0, len(texts), BATCH):
        part = list(texts[start : start + BATCH])
        parts.append(text_features(words, tokenizer, part, device).cpu().numpy())
    if not isinstance(both, TowerAndWords):
        return np.concatenate(parts)
    alone = replace(backbone, text_tower=both.tower, text_side="transformer")
    return np.concatenate([report_features(alone, texts, progress, device), np.concatenate(parts)], axis=1)


def _text_key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _table(
    paths: Sequence[Path],
    keys: dict[Path, bytes],
    vector_of: dict[bytes, np.ndarray],
    width: int,
    problems: list[str],
) -> FilmFeatures:
    row_of = {key: row for row, key in enumerate(vector_of)}
    vectors = np.stack(list(vector_of.values())) if vector_of else np.zeros((0, width), np.float32)
    rows = np.array([row_of.get(keys.get(path, b""), -1) for path in paths], np.int64)
    return FilmFeatures(vectors, rows, tuple(problems))
