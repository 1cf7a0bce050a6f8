"""Studies to the searchable part of a bundle: store, words, vectors, HNSW graph of one generation.

Needs the bundle's own towers only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..bundle.bundle import Bundle
from ..bundle.generations import Change, changing, commit
from ..bundle.manifest import PreviewsRecord
from ..bundle.records import HnswRecord, IndexRecord
from ..errors import SourceUnusable
from ..evidence.kept_films import KeptFilms
from ..index.hnsw import build_graph
from ..progress import Progress, Say, silent, step
from ..studies import Film, Study, distinct_reports
from .embedder import Embedder, forget_embedded, resuming
from .evidence_again import measured_again
from .full_text import READING, write_terms
from .previews import fresh_previews
from .shards import KnownVectors
from .store_writer import write_store
from .vectors import recall_queries, write_vectors


@dataclass(frozen=True)
class Built:
    """What one build wrote: file names, the manifest's ``index`` entry, and the films that could not be
    read.
    """

    names: tuple[str, ...]
    record: IndexRecord
    problems: tuple[str, ...]
    previews: PreviewsRecord | None = None


def publish(
    bundle: Bundle,
    change: Change,
    record: IndexRecord,
    *,
    previews: PreviewsRecord | None,
    validation: KeptFilms | None = None,
    strictly: bool = False,
) -> Bundle:
    """Commit a change of a bundle's searchable part, with its evidence measured again.

    ``validation``: the films that it is to keep, None for those of before. ``strictly``: what it replaces
    must be gone (Refused, and published all the same).
    """
    kept = set(bundle.manifest.files) - bundle.manifest.site.files
    with step(change.progress, "measuring evidence again"):
        held, evidence = measured_again(bundle, change, record, validation)
    site = replace(bundle.manifest.site, index=record, previews=previews, validation=held, evidence=evidence)
    manifest = replace(bundle.manifest, generation=change.generation, site=site)
    return commit(bundle.path, manifest, kept | site.files, strictly=strictly)


def rebuild(
    path: Path,
    studies: Sequence[Study],
    *,
    known: KnownVectors | None = None,
    device: str = "auto",
    progress: Progress = silent,
    say: Say = silent,
) -> Bundle:
    """Replace a bundle's reports and films by those of ``studies``, as a new generation; previews where it
    had some. ``known``: vectors of theirs that are there.

    Errors: NotABundle, ArtefactDamaged, TextTowerMissing, SourceUnusable (no report), Refused (another
    writer).
    """
    with changing(path, progress) as (bundle, change):
        with resuming(bundle, device, progress, known) as embedder:
            embedder.check_words(
                list(dict.fromkeys(study.tower_text for study in studies if study.report_id)), say
            )
            built = build(change, bundle.model.model_id, embedder, studies)
        if before := bundle.manifest.site.previews:
            render = bundle.model.preprocessing.render or "voi"
            built = replace(built, previews=fresh_previews(change, studies, before.longest, render, progress))
        for problem in built.problems:
            say(f"left out: {problem}")
        done = publish(bundle, change, built.record, previews=built.previews)
    forget_embedded(path)
    return done


def build(change: Change, model_id: str, embedder: Embedder, studies: Sequence[Study]) -> Built:
    """Write the files of a generation. Errors: SourceUnusable (no report)."""
    reports = distinct_reports(studies)
    if not reports:
        raise SourceUnusable("no study has a report, so there is nothing to retrieve")
    report_vectors = embedder.embed_texts([report.first.tower_text for report in reports])
    wanted = films_of(studies)
    embedded = embedder.embed_films([film for film, _ in wanted])
    films = [wanted[row] for row in embedded.read]
    ordered = [study for report in reports for study in report.studies]
    with step(change.progress, "writing the reports"):
        write_store(change.file("store"), model_id, ordered, films)
    with step(change.progress, READING):
        write_terms(change.file("terms"), change.file("store"))
    write_vectors(change.file("vectors"), report_vectors.shape[1], [report_vectors], [embedded.vectors])
    hnsw = build_graph(
        change.file("graph"),
        report_vectors,
        recall_queries(report_vectors, embedded.vectors),
        change.progress,
    )
    built = record(change, len(reports), len(films), len(ordered), hnsw)
    return Built(tuple(sorted(built.files)), built, embedded.problems)


def films_of(studies: Iterable[Study]) -> list[tuple[Film, Study]]:
    """The films that an index holds: those of studies with a report."""
    return [(film, study) for study in studies if study.report_id for film in study.films]


def record(change: Change, reports: int, films: int, studies: int, hnsw: HnswRecord | None) -> IndexRecord:
    """The manifest's ``index`` entry of a generation whose files are written."""
    store, vectors, terms = (change.file(kind).name for kind in ("store", "vectors", "terms"))
    return IndexRecord(reports, films, studies, store, vectors, terms, hnsw)
