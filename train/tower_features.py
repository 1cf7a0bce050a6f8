"""Tower outputs, computed once and kept: films by the hash of their bytes, texts by the hash of what the tower reads.

One cache for each backbone and preprocessing: an interrupted pass resumes where it was, a film whose bytes changed is computed again.
"""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.films.archives import read_bytes
from mtclip_edge.films.read import read_film
from mtclip_edge.folders import cache_dir
from mtclip_edge.inference.preprocessing import Preprocessing, model_input
from mtclip_edge.inference.vector_cache import FeatureCache
from mtclip_edge.progress import Progress

from .backbones.backbone import Backbone, text_features

BATCH = 32
CPU_FILMS = 8  # a CPU's cache holds the activations of so many; channels last besides: 2.5 times as many films a second as 32 the usual way
_HINT = "make room, delete the folder cache/features, or set MTCLIP_HOME to a folder of yours"


@dataclass(frozen=True)
class FilmFeatures:
    """``rows[i]`` is the row of ``vectors`` (float32 [read, width]) for the i-th path asked for, -1 where it could not be read."""

    vectors: np.ndarray
    rows: np.ndarray
    problems: tuple[str, ...]


def _cache(backbone: Backbone, width: int) -> FeatureCache:
    return FeatureCache(cache_dir() / "features" / f"{cache_key(backbone.identity, backbone.preprocessing)}.sqlite", width, _HINT)


def cache_key(identity: str, preprocessing: Preprocessing) -> str:
    """Name of the cache of a backbone with a preprocessing."""
    text = json.dumps([identity, preprocessing.to_dict()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@torch.inference_mode()
def film_features(backbone: Backbone, paths: Sequence[Path], progress: Progress, device: torch.device) -> FilmFeatures:
    """Film tower outputs before any projector. A film that cannot be read is named in ``problems`` and left out."""
    keys, problems = _film_keys(paths)
    tower = backbone.film_tower.to(device)
    with closing(_cache(backbone, backbone.film_width)) as cache, ThreadPoolExecutor(2) as pool:
        known = {key: vector for key in set(keys.values()) if (vector := cache.get(key)) is not None}
        wanted = {key: path for path, key in keys.items() if key not in known}
        todo = list(wanted.items())
        size = CPU_FILMS if device.type == "cpu" else BATCH
        for start in range(0, len(todo), size):
            batch = todo[start : start + size]
            inputs = list(pool.map(lambda path: _input_or_problem(path, backbone.preprocessing), [path for _, path in batch]))
            good = [(key, x) for (key, _), x in zip(batch, inputs, strict=True) if isinstance(x, np.ndarray)]
            problems += [x for x in inputs if isinstance(x, str)]
            if good:
                pixels = torch.from_numpy(np.stack([x for _, x in good])).to(device, memory_format=torch.channels_last)
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
    with closing(_cache(backbone, backbone.text_width)) as cache:
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
            keys[path] = hashlib.sha256(read_bytes(path)).digest()
        except OSError as error:
            problems.append(f"{path}: cannot be read ({error.strerror})")
    return keys, problems


def _input_or_problem(path: Path, how: Preprocessing) -> np.ndarray | str:
    try:
        return model_input(read_film(path, render=how.render).grey, how)
    except FilmUnreadable as error:
        return str(error)


def _table(paths: Sequence[Path], keys: dict[Path, bytes], known: dict[bytes, np.ndarray], width: int, problems: list[str]) -> FilmFeatures:
    row_of = {key: row for row, key in enumerate(known)}
    vectors = np.stack(list(known.values())) if known else np.zeros((0, width), np.float32)
    rows = np.array([row_of.get(keys.get(path, b""), -1) for path in paths], np.int64)
    return FilmFeatures(vectors, rows, tuple(problems))
