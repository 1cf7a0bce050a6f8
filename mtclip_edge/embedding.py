"""Many film files through an encoder: one thread decodes the next batch while the tower works on this one."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .encoder import FilmEncoder
from .errors import FilmUnreadable
from .images import read_film
from .reporting import Progress

BATCH = 16
Prepared = list[np.ndarray | str]  # the tower's input of each film, or why there is none


@dataclass(frozen=True)
class FilmVectors:
    """``read`` int64 [read]: which of the paths asked for could be read; unit vectors float32 [read, dim] and logits float32 [read]."""

    read: np.ndarray
    vectors: np.ndarray
    logits: np.ndarray
    problems: tuple[str, ...]


def embed_films(encoder: FilmEncoder, paths: Sequence[Path], dim: int, progress: Progress) -> FilmVectors:
    """Embed films in order. One that cannot be read is named in ``problems`` and left out; memory holds two batches."""
    read: list[int] = []
    parts = [(np.zeros((0, dim), np.float32), np.zeros(0, np.float32))]
    problems: list[str] = []
    for start, batch in _ahead(encoder, paths):
        good = [i for i, pixels in enumerate(batch) if isinstance(pixels, np.ndarray)]
        problems += [pixels for pixels in batch if isinstance(pixels, str)]
        if good:
            parts.append(encoder.encode(np.stack([batch[i] for i in good])))
            read += [start + i for i in good]
        progress("films", start + len(batch), len(paths))
    vectors, logits = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return FilmVectors(np.array(read, np.int64), vectors, logits, tuple(problems))


def _ahead(encoder: FilmEncoder, paths: Sequence[Path]) -> Iterator[tuple[int, Prepared]]:
    """Each batch's start and inputs; the next batch is being decoded while the caller has this one."""
    with ThreadPoolExecutor(1) as pool:
        pending: Future[Prepared] | None = None
        for start in range(0, len(paths), BATCH):
            current = pending or pool.submit(_prepare, encoder, paths[start : start + BATCH])
            pending = pool.submit(_prepare, encoder, paths[start + BATCH : start + 2 * BATCH])
            yield start, current.result()


def _prepare(encoder: FilmEncoder, paths: Sequence[Path]) -> Prepared:
    return [_input(encoder, path) for path in paths]


def _input(encoder: FilmEncoder, path: Path) -> np.ndarray | str:
    try:
        return encoder.prepare(read_film(path).grey)
    except FilmUnreadable as error:
        return str(error)
