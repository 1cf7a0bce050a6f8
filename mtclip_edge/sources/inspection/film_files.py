"""The film files of a source: which cannot be read, which are identical, how large they are, and a few to
look at.
"""

import hashlib
import random
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import FilmUnreadable
from ...films import archives
from ...films.read import read_film
from ...films.thumbnail import thumbnail
from ...progress import Progress
from ...studies import SPLITS, Film, Study
from ..entries import Entry
from ..source import Stream

THUMBNAILS, SIDE = 12, 192  # films in the page, pixels
FIRST = 20


@dataclass(frozen=True)
class Thumbnail:
    """A film as a small PNG."""

    name: str
    label: str
    view: str
    png: bytes


class _Found:
    def __init__(self) -> None:
        self.digests, self.splits = array("q"), array("b")
        self.widths, self.heights = array("i"), array("i")
        self.unreadable: Counter[str] = Counter()
        self.first: list[str] = []
        self.thumbnails: list[Thumbnail] = []


def check_films(
    stream: Stream, sizes: "Sizes", count: int, most: int, progress: Progress
) -> tuple[dict[str, Any], list[Thumbnail]]:
    """Decode at most ``most`` films, drawn by seed 0 where there are more, and compare the bytes of all that
    have one size.

    Memory holds 8 bytes for each film and one film's pixels.
    """
    chosen = (
        np.arange(count)
        if most >= count
        else np.array(sorted(random.Random(0).sample(range(count), most)), int)  # noqa: S311
    )
    shown = set(random.Random(1).sample(chosen.tolist(), min(THUMBNAILS, len(chosen))))  # noqa: S311
    repeated = sizes.repeated()
    looked_at = _Found()
    wanted, done = iter(chosen.tolist()), 0
    if len(chosen):
        progress("films", 0, len(chosen))
    following = next(wanted, -1)
    for number, (film, study) in enumerate(_films(stream)):
        decode = number == following
        same_size = bool(number < len(repeated) and repeated[number])
        if decode or same_size:
            _look(looked_at, film, study, decode, same_size, number in shown)
        if decode:
            following, done = next(wanted, -1), done + 1
            progress("films", done, len(chosen))
    return _document(looked_at, count, len(chosen)), looked_at.thumbnails


def _films(stream: Stream) -> Iterator[tuple[Film, Study]]:
    return ((film, item.study) for item in stream if isinstance(item, Entry) for film in item.study.films)


class Sizes:
    """Bytes of each film in the order of the stream, 8 bytes each."""

    def __init__(self) -> None:
        self._values = array("q")

    def add(self, study: Study) -> None:
        for film in study.films:
            try:
                self._values.append(archives.size(film.path))
            except OSError:
                self._values.append(-1)

    def repeated(self) -> np.ndarray:
        """Whether another film has as many bytes, bool [films]: only those can be identical."""
        sizes = np.frombuffer(self._values or array("q"), np.int64)
        pairs, counts = np.unique(sizes, return_counts=True)
        return np.isin(sizes, pairs[counts > 1]) & (sizes > 0)


def unchecked(count: int) -> dict[str, Any]:
    """The same document where no film was opened: nothing is said of what was not looked at."""
    why = "none was asked for" if count else "there is none"
    return {
        "films": count,
        "decoded": 0,
        "why": why,
        "unreadable": None,
        "identical": None,
        "width": None,
        "height": None,
    }


def _look(looked_at: _Found, film: Film, study: Study, decode: bool, digest: bool, show: bool) -> None:
    try:
        data = archives.read_bytes(film.path)
        if digest:
            looked_at.digests.append(int.from_bytes(hashlib.sha256(data).digest()[:8], "little", signed=True))
            looked_at.splits.append(SPLITS.index(study.split))
        if decode:
            grey = read_film(data, film.name).grey
            looked_at.widths.append(grey.shape[1])
            looked_at.heights.append(grey.shape[0])
            if show:
                looked_at.thumbnails.append(
                    Thumbnail(film.name, study.label, film.view, thumbnail(grey, SIDE))
                )
    except (OSError, FilmUnreadable) as error:
        reason = (
            str(error.strerror) if isinstance(error, OSError) else str(error).removeprefix(f"{film.name}: ")
        )
        looked_at.unreadable[reason.split("(")[0].strip()] += 1
        if len(looked_at.first) < FIRST:
            looked_at.first.append(f"{film.name}: {reason}")


def _document(looked_at: _Found, count: int, looked: int) -> dict[str, Any]:
    digests = np.frombuffer(looked_at.digests or array("q"), np.int64)
    splits = np.frombuffer(looked_at.splits or array("b"), np.int8)
    values, back, sizes = np.unique(digests, return_inverse=True, return_counts=True)
    pairs = np.unique(np.stack([back, splits], axis=1), axis=0) if len(digests) else np.zeros((0, 2), int)
    across = int((np.bincount(pairs[:, 0], minlength=len(values)) > 1).sum()) if len(pairs) else 0
    return {
        "films": count,
        "decoded": looked,
        "why": "all of them" if looked == count else f"drawn by seed 0 of {count}",
        "unreadable": {
            "films": looked_at.unreadable.total(),
            "reasons": dict(looked_at.unreadable.most_common()),
            "first": looked_at.first,
        },
        "identical": {
            "groups": int((sizes > 1).sum()),
            "films": int(sizes[sizes > 1].sum()),
            "groups_in_two_splits": across,
        },
        "width": _spread(looked_at.widths),
        "height": _spread(looked_at.heights),
    }


def _spread(values: "array[int]") -> dict[str, int] | None:
    if not values:
        return None
    numbers = np.frombuffer(values, np.int32)
    return {"min": int(numbers.min()), "median": int(np.median(numbers)), "max": int(numbers.max())}
