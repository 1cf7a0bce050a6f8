"""A bundle's two towers as one embedder, which can keep what it computed: a killed ``index add`` goes on where it was."""

import glob
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle
from ..films.archives import read_bytes
from ..inference.device import choose
from ..inference.embed_films import FilmVectors, embed_films
from ..inference.encoders import FilmEncoder, TextEncoder, open_exact_encoders
from ..inference.vector_cache import FeatureCache
from ..progress import Progress, silent

TEXT_BATCH = 64
_HINT = "what is embedded is kept beside the bundle until it is added: make room there"
KEPT_TEXTS, KEPT_FILMS = 512, 128  # lost at most when the process is killed


@dataclass(frozen=True)
class Embedder:
    """``cache`` None computes everything anew."""

    films: FilmEncoder
    texts: TextEncoder
    dim: int
    cache: FeatureCache | None = None
    progress: Progress = silent

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors float32 [texts, dim]."""
        if self.cache is None:
            return self.texts.encode(texts, TEXT_BATCH, self.progress) if texts else np.zeros((0, self.dim), np.float32)
        keys = [_key("text", text.encode()) for text in texts]
        known = self._known(keys)
        todo = sorted({key: text for key, text in zip(keys, texts, strict=True) if key not in known}.items(), key=lambda kv: len(kv[1]))
        for start in range(0, len(todo), KEPT_TEXTS):
            part = todo[start : start + KEPT_TEXTS]
            self._keep(known, [key for key, _ in part], self.texts.encode([text for _, text in part], TEXT_BATCH))
            self.progress("reports", len(texts) - len(todo) + start + len(part), len(texts))
        return np.stack([known[key] for key in keys]) if keys else np.zeros((0, self.dim), np.float32)

    def embed_films(self, paths: Sequence[Path]) -> FilmVectors:
        """Unit vectors of the films that can be read; logits are not kept, so with a cache there are none."""
        if self.cache is None:
            return embed_films(self.films, paths, self.dim, self.progress)
        rows: list[int] = []
        vectors: list[np.ndarray] = []
        problems: list[str] = []
        for start in range(0, len(paths), KEPT_FILMS):
            part = paths[start : start + KEPT_FILMS]
            keys = {path: key for path in part if (key := _film_key(path))}
            known = self._known(list(keys.values()))
            todo = [path for path in part if keys.get(path) not in known]
            found = embed_films(self.films, todo, self.dim, silent)
            self._keep(known, [keys[todo[i]] for i in found.read], found.vectors)
            problems += found.problems
            good = [i for i, path in enumerate(part) if keys.get(path) in known]
            rows += [start + i for i in good]
            vectors += [known[keys[part[i]]] for i in good]
            self.progress("films", start + len(part), len(paths))
        table = np.stack(vectors) if vectors else np.zeros((0, self.dim), np.float32)
        return FilmVectors(np.array(rows, np.int64), table, np.zeros(0, np.float32), tuple(problems))

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        assert self.cache is not None
        return {key: vector for key in set(keys) if (vector := self.cache.get(key)) is not None}

    def _keep(self, known: dict[bytes, np.ndarray], keys: Sequence[bytes], vectors: np.ndarray) -> None:
        assert self.cache is not None
        if len(keys):
            self.cache.put(keys, vectors)
            known |= dict(zip(keys, vectors, strict=True))


@contextmanager
def resuming(bundle: Bundle, device: str, progress: Progress) -> Iterator[Embedder]:
    """The bundle's own towers; what they compute is kept beside the bundle until ``forget_embedded``.

    Errors: TextTowerMissing, ArtefactDamaged, DeviceUnavailable, CacheUnusable.
    """
    films, texts = open_exact_encoders(bundle, choose(device))
    dim = bundle.manifest["dim"]
    with closing(FeatureCache(_kept(bundle.path, bundle.manifest["model_id"]), dim, _HINT)) as cache:
        yield Embedder(films, texts, dim, cache, progress)


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


def _film_key(path: Path) -> bytes | None:
    """None for a film that cannot be read: who decodes it says why."""
    try:
        return _key("film", read_bytes(path))
    except OSError:
        return None
