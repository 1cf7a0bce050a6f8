"""Puts many film files through an encoder: threads decode and resize the next ones while the tower works
on these.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FilmUnreadable
from ..progress import Progress
from ..workers import batches
from .encoders import FilmEncoder
from .preprocessing import Preprocessing, tower_input

BATCH = 16


@dataclass(frozen=True)
class FilmVectors:
    """``read`` int64 [read]: which of the paths could be read; unit vectors float32 [read, dim] and
    logits float32 [read].
    """

    read: np.ndarray
    vectors: np.ndarray
    logits: np.ndarray
    problems: tuple[str, ...]


@dataclass(frozen=True)
class FilmBatch:
    """Which of the paths could be read, their tower inputs float32 [read, 3, size, size], and a line for
    each other one.
    """

    read: list[int]
    pixels: np.ndarray
    problems: list[str]


def embed_films(
    encoder: FilmEncoder,
    paths: Sequence[Path],
    dim: int,
    progress: Progress,
    views: Sequence[int] | None = None,
) -> FilmVectors:
    """Embed films in order; ``views``: the code of each (``studies.view_code``), None: all frontal.

    One that cannot be read is named in ``problems`` and left out; memory holds three batches.
    """
    read: list[int] = []
    parts = [(np.zeros((0, dim), np.float32), np.zeros(0, np.float32))]
    problems: list[str] = []
    for batch in film_batches(paths, encoder.preprocessing, BATCH, progress):
        problems += batch.problems
        if batch.read:
            read += batch.read
            told = None if views is None else [views[place] for place in batch.read]
            parts.append(encoder.encode(batch.pixels, told))
    vectors, logits = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return FilmVectors(np.array(read, np.int64), vectors, logits, tuple(problems))


def film_batches(
    paths: Sequence[Path], how: Preprocessing, size: int, progress: Progress
) -> Iterator[FilmBatch]:
    """The tower's inputs in order, ``size`` paths at a time, the next ones decoded ahead; counted when
    the caller is done with them.
    """
    start = 0
    if paths:
        progress("films", 0, len(paths))
    for inputs in batches(paths, lambda path: _input_or_problem(path, how), size):
        good = [pixels for pixels in inputs if isinstance(pixels, np.ndarray)]
        read = [place for place, pixels in enumerate(inputs, start) if isinstance(pixels, np.ndarray)]
        pixels = np.stack(good) if good else np.zeros((0, 3, how.size, how.size), np.float32)
        yield FilmBatch(read, pixels, [problem for problem in inputs if isinstance(problem, str)])
        start += len(inputs)
        progress("films", start, len(paths))


def _input_or_problem(path: Path, how: Preprocessing) -> np.ndarray | str:
    try:
        return tower_input(path, how)
    except FilmUnreadable as error:
        return str(error)
