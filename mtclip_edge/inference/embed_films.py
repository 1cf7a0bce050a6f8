"""Many film files through an encoder, decoded ahead of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FilmUnreadable
from ..films.read import read_film
from ..progress import Progress
from ..workers import batches
from .encoders import FilmEncoder

BATCH = 16


@dataclass(frozen=True)
class FilmVectors:
    """``read`` int64 [read]: which of the paths asked for could be read; unit vectors float32 [read, dim] and logits float32 [read]."""

    read: np.ndarray
    vectors: np.ndarray
    logits: np.ndarray
    problems: tuple[str, ...]


def embed_films(encoder: FilmEncoder, paths: Sequence[Path], dim: int, progress: Progress) -> FilmVectors:
    """Embed films in order. One that cannot be read is named in ``problems`` and left out; memory holds three batches."""
    read: list[int] = []
    parts = [(np.zeros((0, dim), np.float32), np.zeros(0, np.float32))]
    problems: list[str] = []
    start = 0
    for batch in batches(paths, lambda path: _input(encoder, path), BATCH):
        good = [i for i, pixels in enumerate(batch) if isinstance(pixels, np.ndarray)]
        problems += [pixels for pixels in batch if isinstance(pixels, str)]
        if good:
            parts.append(encoder.encode(np.stack([batch[i] for i in good])))
            read += [start + i for i in good]
        start += len(batch)
        progress("films", start, len(paths))
    vectors, logits = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return FilmVectors(np.array(read, np.int64), vectors, logits, tuple(problems))


def _input(encoder: FilmEncoder, path: Path) -> np.ndarray | str:
    try:
        return encoder.prepare(read_film(path, render=encoder.preprocessing.render).grey)
    except FilmUnreadable as error:
        return str(error)
