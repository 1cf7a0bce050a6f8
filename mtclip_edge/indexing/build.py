"""Studies to the searchable part of a bundle: store, words, vectors, HNSW graph of one generation. Needs the bundle's own towers only."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle, commit, forget, next_generation, sweep, writing
from ..errors import SourceUnusable
from ..files import replace_with
from ..index.hnsw import build_graph
from ..progress import Progress, Say, silent
from ..studies import Film, Study, distinct_reports
from .embedder import Embedder, forget_embedded, resuming
from .store_writer import write_store, write_terms

ROWS = 65_536  # copied at a time: 64 MB of 256 numbers
MOST_RECALL_QUERIES = 500


@dataclass(frozen=True)
class Built:
    """What one build wrote: file names, the manifest's ``index`` entry, and the films that could not be read."""

    names: tuple[str, ...]
    record: dict[str, Any]
    problems: tuple[str, ...]


class Change:
    """One new generation of the searchable part of a bundle, under its lock. Everything written is forgotten where it fails.

    ``progress`` hears of the graph, whose building takes half an hour at a million reports.
    """

    def __init__(self, path: Path, generation: int, written: list[str], progress: Progress = silent):
        self.path, self.generation, self.progress, self._written = path, generation, progress, written

    def file(self, kind: str) -> Path:
        """The path of this generation's ``store``, ``terms``, ``vectors``, ``graph`` or ``film_gate``."""
        name = {
            "store": f"reports-{self.generation}.sqlite",
            "terms": f"terms-{self.generation}.sqlite",
            "vectors": f"vectors-{self.generation}.npy",
            "graph": f"index-{self.generation}.hnsw",
            "film_gate": f"film-gate-{self.generation}.npy",
        }[kind]
        if name not in self._written:
            self._written.append(name)
        return self.path / name


@contextmanager
def changing(path: Path, progress: Progress = silent) -> Iterator[tuple[Bundle, Change]]:
    """The bundle and its next generation, for one writer. Errors: NotABundle, ArtefactDamaged, Refused (another writer)."""
    Bundle.open(path)  # before the lock: a wrong path must not leave folders and a lock behind
    with writing(path):
        bundle = Bundle.open(path)
        # A writer killed after its commit left what it had replaced, a removed patient's texts perhaps.
        sweep(path, bundle.manifest["files"])
        written: list[str] = []
        try:
            yield bundle, Change(path, next_generation(path), written, progress)
        except BaseException:
            forget(path, written)
            raise


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


def recall_queries(reports: np.ndarray, films: np.ndarray) -> np.ndarray:
    """Films are what will be asked; without any, the reports themselves, shifted so that none finds itself at distance zero."""
    if len(films):
        return np.asarray(films[:: max(1, len(films) // MOST_RECALL_QUERIES)][:MOST_RECALL_QUERIES])
    some = reports[:: max(1, len(reports) // MOST_RECALL_QUERIES)][:MOST_RECALL_QUERIES]
    noise = np.random.default_rng(0).normal(0, 0.3 / reports.shape[1] ** 0.5, some.shape)
    return (some + noise).astype(np.float32)


def write_vectors(path: Path, dim: int, reports: Sequence[np.ndarray], films: Sequence[np.ndarray]) -> Path:
    """The vector array, float32 [reports + films, dim], from parts [n, dim] that may be larger than memory (mapped files)."""
    parts = [part for part in (*reports, *films) if len(part)]

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (sum(map(len, parts)), dim)}
            np.lib.format.write_array_header_1_0(file, header)
            for part in parts:
                for start in range(0, len(part), ROWS):
                    file.write(np.ascontiguousarray(part[start : start + ROWS], "<f4").data)

    return replace_with(path, write)
