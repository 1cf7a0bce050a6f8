"""Films in, what a retriever sees of them out: read and resized by threads, embedded a batch ahead,
judged.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, Union

import numpy as np

from ..errors import FilmUnreadable, MtclipError, WrongOption, not_among
from ..films.film import DecodedFilm, FilmSource, Header
from ..films.gate import Admission, FilmView
from ..films.read import read_film
from ..index.index import direction
from ..inference.encoders import FilmEncoder
from ..studies import FRONTAL
from ..workers import ahead, batches
from .results import Clock, Input, QueryResult

if TYPE_CHECKING:
    from PIL import Image
    from pydicom.dataset import Dataset

    from ..films.worker import DecodeWorkers

BATCH = 8
_ON_ERROR = ("raise", "return")
Reader = Callable[
    [FilmSource, str, str], DecodedFilm
]  # a film, the name it is shown under, how it is rendered
# A film as it is given: docs/guide/python.md has a line for each kind.
GivenFilm = Union[
    str,
    "PathLike[str]",
    FilmSource,
    DecodedFilm,
    bytearray,
    memoryview,
    IO[bytes],
    np.ndarray,
    "Image.Image",
    "Dataset",
]
# A film with the name it is shown under, or an error in its place.
Named = tuple[str, GivenFilm | MtclipError]


@dataclass(frozen=True)
class Decoded:
    """A film on its way: ``pixels`` float32 [3, size, size]; ``view`` is None where the bundle knows none."""

    name: str
    film: DecodedFilm
    pixels: np.ndarray
    clock: Clock
    view: FilmView | None = None


@dataclass(frozen=True)
class EmbeddedFilm:
    """An embedded film: unit vector float32 [dim], logit, what its header says, milliseconds of each
    stage; its pixels where kept.
    """

    name: str
    input: Input
    answered: bool  # not rejected, or by force
    header: Header | None
    vector: np.ndarray
    logit: float
    timings: dict[str, float]
    grey: np.ndarray | None = None
    view: FilmView | None = None  # what it was taken for, where the bundle was trained with laterals


Good = TypeVar("Good", EmbeddedFilm, QueryResult)
TowerOutput = tuple[
    Decoded, np.ndarray, float
]  # a film, its unit vector float32 [dim], the logit of the abnormal head


class Intake:
    """How one retriever takes films.

    ``show_ids``: whose film it was is said; ``keep_films``: its pixels stay with what is seen.
    """

    def __init__(
        self,
        encoder: FilmEncoder,
        admission: Admission,
        render: str | None,
        show_ids: bool,
        keep_films: bool,
        read: Reader = read_film,
    ):
        self._encoder, self._admission = encoder, admission
        self._own = encoder.preprocessing.render
        self._render = render or self._own
        self._show_ids, self._keep_films = show_ids, keep_films
        self._read_film = read

    @property
    def force(self) -> bool:
        return self._admission.force

    def read(self, film: GivenFilm, name: str) -> DecodedFilm:
        """A film, rendered as it is asked for. Errors: FilmUnreadable."""
        source = source_of(film, name)
        if isinstance(source, DecodedFilm):
            return self._admission.turned(source)
        decoded = self._read_film(source, name, self._render)
        if decoded.kind == "dicom" and self._render != self._own:
            decoded = replace(
                decoded,
                notes=(
                    *decoded.notes,
                    f"rendered by {self._render}; the bundle's own films are by {self._own}",
                ),
            )
        return self._admission.turned(decoded)

    def see(self, films: Iterable[Named]) -> Iterator[EmbeddedFilm | MtclipError]:
        """Films in order, each embedded and judged; an error stands where a film cannot be read.

        The next batch is in the tower while the caller looks at this one.
        """
        for batch in ahead(batches(films, lambda named: self._decode(*named), BATCH), self._embed):
            for item in batch:
                yield item if isinstance(item, MtclipError) else self._seen(item)

    def _decode(self, name: str, film: GivenFilm | MtclipError) -> Decoded | MtclipError:
        if isinstance(film, MtclipError):
            return film
        clock = Clock()
        try:
            decoded = self.read(film, name)
        except FilmUnreadable as error:
            return error
        clock.lap("decode")
        pixels = self._encoder.prepare(decoded.grey)
        clock.lap("preprocess")
        return Decoded(name, decoded, pixels, clock, self._admission.view_of(decoded, pixels))

    def _embed(self, batch: Sequence[Decoded | MtclipError]) -> list[TowerOutput | MtclipError]:
        good = [item for item in batch if isinstance(item, Decoded)]
        rows = iter(self._embedded(good) if good else ())
        return [next(rows) if isinstance(item, Decoded) else item for item in batch]

    def _embedded(self, films: Sequence[Decoded]) -> Iterator[TowerOutput]:
        started = time.perf_counter()
        views = [film.view.code if film.view else FRONTAL for film in films]
        vectors, logits = self._encoder.encode(np.stack([film.pixels for film in films]), views)
        each_ms = 1000 * (time.perf_counter() - started) / len(films)
        for film, vector, logit in zip(films, vectors, logits, strict=True):
            film.clock.note("encode", each_ms)
            yield film, vector, float(logit)

    def _seen(self, output: TowerOutput) -> EmbeddedFilm:
        decoded, vector, logit = output
        film = decoded.film
        judged, answered = self._admission.judge(film, decoded.pixels, decoded.view)
        ids = film.header.ids if self._show_ids and film.header else None
        taken = (decoded.view.name, decoded.view.source) if decoded.view else (None, None)
        read = Input(film.kind, judged.verdict, judged.reasons, ids, *taken)
        grey = film.grey if self._keep_films else None
        return EmbeddedFilm(
            decoded.name, read, answered, film.header, vector, logit, decoded.clock.laps, grey, decoded.view
        )


def source_of(film: GivenFilm, name: str) -> FilmSource | DecodedFilm:
    """What can be read, and read again; a film that needs no reading is decoded.

    Errors: FilmUnreadable for what is no way to give a film.
    """
    if isinstance(film, str | PathLike):
        return Path(film)
    if isinstance(film, bytes | DecodedFilm):
        return film
    if callable(film):
        return film
    from ..films.in_memory import taken  # a file needs none of it

    return taken(film, name)


def name_of(film: Any) -> str:
    """What a film is shown as: its path, that of its file, or nothing."""
    if isinstance(film, str | PathLike):
        return str(film)
    said = getattr(film, "name", "") or getattr(film, "filename", "")
    return said if isinstance(said, str) else ""


def named(films: Iterable[Any]) -> Iterator[Named]:
    """Films with their names: pairs as they are, others by their paths, or counted."""
    for number, film in enumerate(films, 1):
        if isinstance(film, tuple) and len(film) == 2 and isinstance(film[0], str):
            yield film
        else:
            yield name_of(film) or f"film {number}", film


def refuse_one(films: Any) -> None:
    """Errors: WrongOption where one film stands for many; it is not shown, it may be all its bytes."""
    one = isinstance(films, str | bytes | PathLike) or hasattr(films, "read") or hasattr(films, "PixelData")
    if one or getattr(films, "ndim", 3) < 3 or not isinstance(films, Iterable):
        raise WrongOption("one film where many are expected", "expected a list of films", "of one: [film]")


def as_direction(vector: Any, dim: int) -> np.ndarray:
    """A vector as it was given, at unit length, float32 [dim]. Errors: WrongOption, ZeroQuery."""
    given = np.asarray(vector)
    if given.shape != (dim,) or given.dtype.kind not in "fiu":
        raise WrongOption(f"a vector {given.dtype} of shape {list(given.shape)}", f"expected float32 [{dim}]")
    return direction(given)


def check_many(films: Any, k: int, errors: str) -> None:
    """Whether many films can be asked for so. Errors: WrongOption."""
    check_k(k)
    refuse_one(films)
    if errors not in _ON_ERROR:
        raise not_among("errors", errors, _ON_ERROR)


def or_raise(given: Good | MtclipError) -> Good:
    """What is no error. Errors: the one that was given."""
    if isinstance(given, MtclipError):
        raise given
    return given


def decode_workers() -> "DecodeWorkers":
    """What reads films in a process of its own; a plain query reads them itself."""
    from ..films.worker import DecodeWorkers

    return DecodeWorkers()


def check_k(k: int) -> None:
    """Errors: WrongOption."""
    if not isinstance(k, Integral) or isinstance(k, bool):
        raise WrongOption(f"k {k!r}", "expected a whole number, 1 or more")
    if k < 1:
        raise WrongOption(f"-k {k}", "expected 1 or more")
