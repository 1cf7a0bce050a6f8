"""Studies to the searchable part of a bundle: store, words, vectors, HNSW graph of one generation. Needs the bundle's own towers only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bundle.bundle import Bundle
from ..bundle.generations import Change, changing, commit
from ..errors import SourceUnusable
from ..index.hnsw import build_graph
from ..progress import Progress, Say, silent
from ..studies import Film, Study, distinct_reports
from .embedder import Embedder, forget_embedded, resuming
from .full_text import write_terms
from .store_writer import write_store
from .vectors import recall_queries, write_vectors


@dataclass(frozen=True)
class Built:
    """What one build wrote: file names, the manifest's ``index`` entry, and the films that could not be read."""

    names: tuple[str, ...]
    record: dict[str, Any]
    problems: tuple[str, ...]


def publish(bundle: Bundle, change: Change, record: dict[str, Any], *, strictly: bool = False) -> Bundle:
    """Commit a change of a bundle's searchable part. ``strictly``: what it replaces must be gone (Refused, and published all the same)."""
    kept = set(bundle.manifest["files"]) - index_files(bundle.index)
    manifest = {**bundle.manifest, "generation": change.generation, "index": record}
    return commit(bundle.path, manifest, [*kept, *index_files(record)], known=bundle.manifest["files"], strictly=strictly)


def rebuild(path: Path, studies: Sequence[Study], *, device: str = "auto", progress: Progress = silent, say: Say = silent) -> Bundle:
    """Replace a bundle's reports and films by those of ``studies``, as a new generation.

    Errors: NotABundle, ArtefactDamaged, TextTowerMissing, SourceUnusable (no report), Refused (another writer).
    """
    with changing(path, progress) as (bundle, change):
        with resuming(bundle, device, progress) as embedder:
            built = build(change, bundle.manifest["model_id"], embedder, studies)
        for problem in built.problems:
            say(f"left out: {problem}")
        done = publish(bundle, change, built.record)
    forget_embedded(path)
    return done


def build(change: Change, model_id: str, embedder: Embedder, studies: Sequence[Study]) -> Built:
    """Write the files of a generation. Errors: SourceUnusable (no report)."""
    reports = distinct_reports(studies)
    if not reports:
        raise SourceUnusable("no study has a report, so there is nothing to retrieve")
    report_vectors = embedder.embed_texts([report.first.tower_text for report in reports])
    wanted = films_of(studies)
    found = embedder.embed_films([film.path for film, _ in wanted])
    films = [wanted[row] for row in found.read]
    ordered = [study for report in reports for study in report.studies]
    write_store(change.file("store"), model_id, ordered, films)
    write_terms(change.file("terms"), change.file("store"))
    write_vectors(change.file("vectors"), report_vectors.shape[1], [report_vectors], [found.vectors])
    hnsw = build_graph(change.file("graph"), report_vectors, recall_queries(report_vectors, found.vectors), change.progress)
    built = record(change, len(reports), len(films), len(ordered), hnsw)
    return Built(tuple(sorted(index_files(built))), built, found.problems)


def films_of(studies: Iterable[Study]) -> list[tuple[Film, Study]]:
    """The films that an index holds: those of studies with a report."""
    return [(film, study) for study in studies if study.report_id for film in study.films]


def record(change: Change, reports: int, films: int, studies: int, hnsw: dict[str, Any] | None) -> dict[str, Any]:
    """The manifest's ``index`` entry of a generation whose files are written."""
    names = {kind: change.file(kind).name for kind in ("store", "terms", "vectors")}
    return {"reports": reports, "films": films, "studies": studies, **names, "hnsw": hnsw}


def index_files(record: Any) -> set[str]:
    """The file names of a manifest's ``index`` entry; bundles of before full-text search have no ``terms``."""
    named = {record["store"], record["vectors"], record.get("terms"), record["hnsw"] and record["hnsw"]["file"]}
    return {name for name in named if name}
