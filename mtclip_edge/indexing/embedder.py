"""A bundle's two towers as one embedder, which can keep what it computed: a killed ``index add`` goes on
where it was.
"""

import glob
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle
from ..inference.device import choose
from ..inference.embed_films import FilmVectors, embed_films
from ..inference.encoders import FilmEncoder, TextEncoder, open_exact_encoders
from ..inference.vector_cache import VectorCache, file_keys, unread_twins
from ..progress import Progress, Say, silent
from ..studies import LATERAL, Film, view_code
from .shards import KnownVectors

TEXT_BATCH = 64
_HINT = "what is embedded is kept beside the bundle until it is added: make room there"
KEPT_TEXTS, KEPT_FILMS = 512, 128  # lost at most when the process is killed


@dataclass(frozen=True)
class Embedder:
    """``cache`` None computes everything anew; ``known`` are vectors that are there already, so that neither
    text nor film is looked at.
    """

    films: FilmEncoder
    texts: TextEncoder
    dim: int
    cache: VectorCache | None = None
    progress: Progress = silent
    known: KnownVectors | None = None

    def check_words(self, texts: Sequence[str], say: Say) -> None:
        """Say how much of some texts the text tower reads.

        Errors: Refused where it knows less than half of their words.
        """
        read = self.texts.tokenizer.coverage(texts)
        read.refuse_unknown("the reports")
        for line in read.lines():
            say(line)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors float32 [texts, dim]."""
        if self.known is not None:
            have = self.known.texts
            new = [text for text in dict.fromkeys(texts) if text not in have]
            made = dict(zip(new, replace(self, known=None).embed_texts(new), strict=True))
            rows = [have[text] if text in have else made[text] for text in texts]
            return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        if self.cache is None:
            return self.texts.encode(texts, TEXT_BATCH, self.progress)
        by_length = sorted(texts, key=len)  # like lengths together: less padding to compute
        vectors = self.cache.cached(
            {_text_key(text): text for text in by_length},
            lambda part: (range(len(part)), self.texts.encode(part, TEXT_BATCH)),
            KEPT_TEXTS,
            self.progress,
            "reports",
        )
        return np.stack([vectors[_text_key(text)] for text in texts])

    def embed_films(self, films: Sequence[Film]) -> FilmVectors:
        """Unit vectors of the films that can be read; logits are not kept, so with a cache there are none."""
        if self.known is not None:
            return self._known_films(films, self.known)
        paths, views = [film.path for film in films], [view_code(film.view) for film in films]
        if self.cache is None:
            return embed_films(self.films, paths, self.dim, self.progress, views)
        bytes_of, problems = file_keys(paths)
        view_of = dict(zip(paths, views, strict=True))
        keys = {path: _key(self._kind(view_of[path]), digest) for path, digest in bytes_of.items()}
        wanted = {key: path for path, key in keys.items()}

        def compute(part: list[Path]) -> tuple[np.ndarray, np.ndarray]:
            embedded = embed_films(self.films, part, self.dim, silent, [view_of[path] for path in part])
            problems.extend(embedded.problems)
            return embedded.read, embedded.vectors

        vectors = self.cache.cached(wanted, compute, KEPT_FILMS, self.progress, "films")
        compute(unread_twins(keys, vectors))
        of_path = [vectors.get(keys.get(path, b"")) for path in paths]
        read = [(place, vector) for place, vector in enumerate(of_path) if vector is not None]
        table = np.stack([vector for _, vector in read]) if read else np.zeros((0, self.dim), np.float32)
        return FilmVectors(
            np.array([place for place, _ in read], np.int64), table, np.zeros(0, np.float32), tuple(problems)
        )

    def _known_films(self, films: Sequence[Film], known: KnownVectors) -> FilmVectors:
        """Those that have a vector; the others are named with why they have none."""
        read = [place for place, film in enumerate(films) if film.path in known.films]
        table = np.zeros((len(read), self.dim), np.float32)
        for row, place in enumerate(read):
            table[row] = known.films[films[place].path]
        gone = [film for film in films if film.path not in known.films]
        problems = tuple(known.problems.get(film.path, f"{film.path}: not embedded") for film in gone)
        return FilmVectors(np.array(read, np.int64), table, np.zeros(0, np.float32), problems)

    def _kind(self, view: int) -> str:
        """A film's vector depends on its view where the tower is told it."""
        return "lateral film" if view == LATERAL and self.films.takes_views else "film"


@contextmanager
def resuming(
    bundle: Bundle, device: str, progress: Progress, known: KnownVectors | None = None
) -> Iterator[Embedder]:
    """The bundle's own towers; what they compute is kept beside the bundle until ``forget_embedded``.

    Errors: TextTowerMissing, ArtefactDamaged, DeviceUnavailable, CacheUnusable.
    """
    films, texts = open_exact_encoders(bundle, choose(device))
    dim = bundle.model.dim
    with closing(VectorCache(_kept(bundle.path, bundle.model.model_id), dim, _HINT)) as cache:
        yield Embedder(films, texts, dim, cache, progress, known)


def forget_embedded(path: Path) -> None:
    """Remove what ``resuming`` kept for the bundle at ``path``, of whatever model. Errors: OSError."""
    for file in path.parent.glob(f"{glob.escape(_stem(path))}.*"):
        file.unlink(missing_ok=True)


def _kept(path: Path, model_id: str) -> Path:
    return path.with_name(f"{_stem(path)}.{model_id.removeprefix('sha256:')[:16]}")


def _stem(path: Path) -> str:
    return f".{path.name}.embedded"


def _key(kind: str, data: bytes) -> bytes:
    return hashlib.sha256(f"{kind}:".encode() + data).digest()


def _text_key(text: str) -> bytes:
    return _key("text", text.encode())
