"""The searchable part of a bundle made ready: mapped vectors, and the graph where that can be used; which
one searches, and why.
"""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle
from ..errors import ArtefactDamaged, ArtefactIncompatible
from ..files import load_array
from . import index
from .index import Index, SearchChoice, choose_search


def choose_index_search(bundle: Bundle, exact: bool | None, queries: int | None) -> SearchChoice:
    """Whether the graph is wanted, known before any file is read; ``exact`` None leaves it to the sizes."""
    if exact:
        return SearchChoice("exact", "asked for")
    if not bundle.index.hnsw:
        return SearchChoice("exact", "the bundle holds no HNSW index", fallback=not compares_all(bundle))
    if exact is False:
        return SearchChoice("hnsw", "asked for")
    return choose_search(bundle.index.reports, bundle.model.dim, queries)


def compares_all(bundle: Bundle) -> bool:
    """Whether the bundle is so small that all reports are compared; its graph is checked all the same, to
    tell of damage early.
    """
    return bool(bundle.index.reports * bundle.model.dim <= index.EXACT_NUMBERS)


def open_index(bundle: Bundle, vectors: Path, hnsw: "Future[Path] | None", wanted: SearchChoice) -> Index:
    """The mapped vectors and, where ``wanted``, the graph; ``hnsw`` gives its checked file.

    Errors: ArtefactIncompatible.
    """
    array, record = open_vectors(bundle, vectors), bundle.index.hnsw
    graph, choice = None, wanted
    if hnsw is not None:
        try:
            checked = hnsw.result()
            graph = _load(bundle, checked) if wanted.used == "hnsw" else None
        except (ArtefactDamaged, ImportError, RuntimeError) as error:
            if not isinstance(error, ImportError) and Bundle.open(bundle.path).identity != bundle.identity:
                raise  # not damaged, but removed by a writer
            graph, choice = None, SearchChoice("exact", _why_not(error), fallback=True)
    if graph is not None and record:
        choice = SearchChoice(
            "hnsw", f"recall@10 against exact search was {record.recall} when it was last measured"
        )
    return Index(array, bundle.index.reports, graph, record.ef if record else 0, choice)


def _load(bundle: Bundle, path: Path) -> Any:
    from .hnsw import load_graph

    return load_graph(path, bundle.model.dim, bundle.index.reports)


def _why_not(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "hnswlib is not installed"
    return f"the HNSW index is unusable: {error.what if isinstance(error, ArtefactDamaged) else error}"


def open_vectors(bundle: Bundle, path: Path) -> np.ndarray:
    """A bundle's vectors from their checked file, mapped. Errors: ArtefactIncompatible."""
    record = bundle.index
    array = load_array(path, mapped=True)
    expected = (record.reports + record.films, bundle.model.dim)
    if array.shape != expected or array.dtype != np.float32:
        raise ArtefactIncompatible(f"{path}: {array.dtype} {array.shape}", f"expected float32 {expected}")
    return np.asarray(array)
