"""Studies to the searchable part of a bundle: store, vectors and HNSW graph of one generation. Needs the bundle's own encoders only."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .bundle import Bundle, commit, forget, next_generation, writing
from .device import choose
from .durable import replace_with
from .embedding import embed_films
from .encoder import FilmEncoder, TextEncoder
from .errors import SourceUnusable
from .index import build_graph
from .opening import open_exact_encoders
from .reporting import Progress, Say, silent
from .reports import write_store
from .studies import Study, distinct_reports

TEXT_BATCH = 64
MOST_RECALL_QUERIES = 500


@dataclass(frozen=True)
class Built:
    """What one build wrote: file names, the manifest's ``index`` entry, and the films that could not be read."""

    names: tuple[str, ...]
    record: dict[str, Any]
    problems: tuple[str, ...]


def rebuild(path: Path, studies: Sequence[Study], *, device: str = "auto", progress: Progress = silent, say: Say = silent) -> Bundle:
    """Replace a bundle's reports and films by those of ``studies``, as a new generation.

    Errors: NotABundle, ArtefactDamaged, TextTowerMissing, SourceUnusable (no report), Refused (another writer).
    """
    Bundle.open(path)  # before the lock: a wrong path must not leave folders and a lock behind
    with writing(path):
        bundle = Bundle.open(path)
        chosen = choose(device)
        films, texts = open_exact_encoders(bundle, chosen)
        generation = next_generation(path)
        written: list[str] = []
        try:
            built = build(path, generation, bundle.manifest["model_id"], films, texts, studies, progress, written)
            for problem in built.problems:
                say(f"left out: {problem}")
            kept = set(bundle.manifest["files"]) - index_files(bundle.index)
            manifest = {**bundle.manifest, "generation": generation, "index": built.record}
            return commit(path, manifest, [*kept, *built.names])
        except BaseException:
            forget(path, written)
            raise


def build(
    path: Path,
    generation: int,
    model_id: str,
    films: FilmEncoder,
    texts: TextEncoder,
    studies: Sequence[Study],
    progress: Progress,
    written: list[str],
) -> Built:
    """Write the three files of a generation into ``path``; their names are added to ``written`` before each is begun."""
    reports = distinct_reports(studies)
    if not reports:
        raise SourceUnusable("no study has a report, so there is nothing to retrieve")
    report_vectors = texts.encode([report.first.tower_text for report in reports], TEXT_BATCH, progress)
    wanted = [(film, study) for study in studies if study.report_id for film in study.films]
    found = embed_films(films, [film.path for film, _ in wanted], report_vectors.shape[1], progress)
    pairs = [wanted[row] for row in found.read]
    store, vectors, graph = (f"reports-{generation}.sqlite", f"vectors-{generation}.npy", f"index-{generation}.hnsw")
    written += [store, vectors, graph]
    write_store(path / store, model_id, reports, pairs)
    table = np.concatenate([report_vectors, found.vectors])
    replace_with(path / vectors, lambda file: _save_array(file, table))
    hnsw = build_graph(path / graph, report_vectors, _recall_queries(report_vectors, found.vectors))
    record = {
        "reports": len(reports),
        "films": len(pairs),
        "studies": len({s.study_id for r in reports for s in r.studies} | {study.study_id for _, study in pairs}),
        "store": store,
        "vectors": vectors,
        "hnsw": hnsw,
    }
    return Built((store, vectors, *([graph] if hnsw else [])), record, found.problems)


def index_files(record: Any) -> set[str]:
    """The file names of a manifest's ``index`` entry."""
    return {record["store"], record["vectors"], *([record["hnsw"]["file"]] if record["hnsw"] else [])}


def _recall_queries(reports: np.ndarray, films: np.ndarray) -> np.ndarray:
    """Films are what will be asked; without any, the reports themselves, shifted so that none finds itself at distance zero."""
    if len(films):
        return films[:: max(1, len(films) // MOST_RECALL_QUERIES)][:MOST_RECALL_QUERIES]
    some = reports[:: max(1, len(reports) // MOST_RECALL_QUERIES)][:MOST_RECALL_QUERIES]
    noise = np.random.default_rng(0).normal(0, 0.3 / reports.shape[1] ** 0.5, some.shape)
    return (some + noise).astype(np.float32)


def _save_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:  # np.save adds a suffix to a path, not to a file
        np.save(file, array, allow_pickle=False)
