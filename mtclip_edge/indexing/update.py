"""Changes of a bundle's reports: add, remove, merge, rebuild.

Each is one new generation; what fails leaves the bundle as it was.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.generations import Change, changing
from ..bundle.manifest import PreviewsRecord
from ..bundle.records import HnswRecord
from ..errors import ArtefactDamaged, ArtefactIncompatible, Refused
from ..evidence.kept_films import KeptFilms
from ..index.hnsw import build_graph, grow_graph
from ..index.opening import open_vectors
from ..index.report_store import ReportStore
from ..progress import Progress, Say, silent, step
from ..studies import Film, Study, tower_text
from .build import films_of, publish, record
from .embedder import Embedder, forget_embedded, resuming
from .full_text import READING, texts_of, write_terms
from .previews import merged_previews, preview_line, previews_without, with_previews
from .shards import KnownVectors
from .store_writer import extend_store, stored_studies, write_without
from .vectors import IndexFiles, recall_queries, write_vectors

_ASKED_AT_ONCE = 10_000
LARGE = 200_000  # reports from which on a library is told of: docs/results/results.md, "One report more"


def add(
    path: Path,
    studies: Sequence[Study],
    *,
    previews: bool = False,
    known: KnownVectors | None = None,
    device: str = "auto",
    progress: Progress = silent,
    say: Say = silent,
) -> Bundle:
    """Add studies; those that are there already with the same report stay as they are, so that it can be run
    again. ``previews`` packs a small film of each of their reports that has none, of those that are there
    already too. ``known``: vectors of theirs that are there.

    Errors: NotABundle, ArtefactDamaged, TextTowerMissing, Refused (a study is there with another report;
    another writer).
    """
    with changing(path, progress) as (bundle, change):
        old = IndexFiles.of(bundle)
        new = _new(bundle, old, studies, say)
        before = bundle.manifest.site.previews
        shown = with_previews(bundle, change, studies, None, progress) if previews else before
        if previews:
            say(preview_line(before, shown))
        if not new:
            say("nothing to add")
            forget_embedded(path)
            return bundle if shown == before else publish(bundle, change, bundle.index, previews=shown)
        with resuming(bundle, device, progress, known) as embedder:
            done = _extended(
                bundle,
                change,
                old,
                new,
                lambda reports, films: _embed(embedder, reports, films, say),
                shown,
                say,
            )
    forget_embedded(path)
    return done


def merge(path: Path, other: Path, *, progress: Progress = silent, say: Say = silent) -> Bundle:
    """Add the studies of another bundle of the same model, with their vectors: nothing is embedded.

    Errors: as ``add``, and ArtefactIncompatible for vectors of another model.
    """
    theirs = Bundle.open(other)
    with changing(path, progress) as (bundle, change):
        if theirs.model.model_id != bundle.model.model_id:
            theirs_id, expected = theirs.model.model_id, bundle.model.model_id
            raise ArtefactIncompatible(
                f"{other}: made with another model", f"expected {expected[:23]}…, found {theirs_id[:23]}…"
            )
        old, source = IndexFiles.of(bundle), IndexFiles.of(theirs)
        new = _new(bundle, old, stored_studies(source.store), say)
        if not new:
            say("nothing to add")
            return bundle
        shown = merged_previews(bundle, theirs, change, {study.report_id or "" for study in new})
        with ReportStore(source.store, theirs.model.model_id) as store:
            return _extended(
                bundle,
                change,
                old,
                new,
                lambda reports, films: _copied(store, source, reports, films),
                shown,
                say,
            )


def remove(
    path: Path,
    *,
    studies: Sequence[str] = (),
    patients: Sequence[str] = (),
    sources: Sequence[str] = (),
    missing_ok: bool = False,
    device: str = "auto",
    progress: Progress = silent,
    say: Say = silent,
) -> Bundle:
    """Take studies out for good: their texts, words, vectors and graph are in no file when this returns.

    ``missing_ok`` passes over names that nothing here has. Errors: NotABundle, ArtefactDamaged, Refused:
    nothing matches, nothing would be left, another writer, or a file of the state before cannot be removed
    (published all the same).
    """
    with changing(path, progress) as (bundle, change):
        old, validation = IndexFiles.of(bundle), KeptFilms.of(bundle)
        gone, rows = _meant(bundle, validation, studies, patients, sources, missing_ok, say)
        left_films = validation.without(rows) if validation and rows else None
        if rows:
            say(f"{len(rows)} validation films removed")
        if not gone:
            if left_films is None:
                return bundle
            shown = bundle.manifest.site.previews
            return publish(bundle, change, bundle.index, previews=shown, validation=left_films, strictly=True)
        with step(progress, "writing the reports"):
            reports, films, changed = write_without(
                change.file("store"), old.store, bundle.model.model_id, gone
            )
        if not reports:
            raise Refused(f"{path}: that would remove every report", hint=f"delete the folder {path} instead")
        with step(progress, READING):
            write_terms(change.file("terms"), change.file("store"))
        kept = [old.report_vectors[reports], old.film_vectors[films]]
        _embed_again(bundle, change, kept[0], changed, device, say)
        write_vectors(change.file("vectors"), kept[0].shape[1], kept[:1], kept[1:])
        hnsw = build_graph(change.file("graph"), kept[0], recall_queries(*kept), change.progress)
        left = bundle.index.studies - len(gone)
        say(
            f"{len(gone)} studies removed, {bundle.index.reports - len(reports)} reports, "
            f"{bundle.index.films - len(films)} films"
        )
        forget_embedded(path)
        shown = previews_without(bundle, change, gone)
        if bundle.manifest.site.previews:
            say(preview_line(bundle.manifest.site.previews, shown))
        now = record(change, len(reports), len(films), left, hnsw)
        return publish(bundle, change, now, previews=shown, validation=left_films, strictly=True)


def count_removal(
    path: Path,
    *,
    studies: Sequence[str] = (),
    patients: Sequence[str] = (),
    sources: Sequence[str] = (),
    missing_ok: bool = False,
    say: Say = silent,
) -> dict[str, int]:
    """How many studies, patients, reports and films ``remove`` would take out; nothing is changed.

    Errors: as of ``remove``.
    """
    bundle = Bundle.open(path)
    gone, rows = _meant(bundle, KeptFilms.of(bundle), studies, patients, sources, missing_ok, say)
    with ReportStore(bundle.file(bundle.index.store), bundle.model.model_id) as store:
        return store.held_by(gone) | ({"validation films": len(rows)} if rows else {})


def _meant(
    bundle: Bundle,
    kept: KeptFilms | None,
    studies: Sequence[str],
    patients: Sequence[str],
    sources: Sequence[str],
    missing_ok: bool,
    say: Say,
) -> tuple[list[str], set[int]]:
    """The studies, and the rows of kept validation films, that some names mean.

    Errors: Refused for a name that neither has, unless ``missing_ok``.
    """
    rows: set[int] = set()
    unknown: dict[str, list[str]] = {}
    for kind, words in (("study", studies), ("patient", patients), ("source", sources)):
        held = kept.held(kind, words) if kept else {}
        rows |= {int(row) for some in held.values() for row in some}
        unknown[kind] = [word for word in words if word not in held]
    with ReportStore(bundle.file(bundle.index.store), bundle.model.model_id) as store:
        _, missing = store.named(unknown["study"], unknown["patient"], unknown["source"], missing_ok)
        gone, _ = store.named(studies, patients, sources, missing_ok=True)
    if missing:
        say(_missing_line(missing))
    return gone, rows


def _missing_line(missing: int) -> str:
    return f"{missing} of the names given {'is' if missing == 1 else 'are'} of nothing in this bundle"


def rebuild_index(path: Path, *, progress: Progress = silent, say: Say = silent) -> Bundle:
    """Write the derived files anew, the graph and the words, from store and vectors, which stay as they are
    (in today's schema).

    Errors: NotABundle, ArtefactDamaged, Refused (another writer).
    """
    with changing(path, progress) as (bundle, change):
        record_before = bundle.index
        store = extend_store(change.file("store"), bundle.file(record_before.store), (), ())
        with step(progress, READING):
            write_terms(change.file("terms"), store)
        vectors = open_vectors(bundle, bundle.file(record_before.vectors))
        reports, films = vectors[: record_before.reports], vectors[record_before.reports :]
        write_vectors(change.file("vectors"), vectors.shape[1], [reports], [films])
        hnsw = build_graph(change.file("graph"), reports, recall_queries(reports, films), change.progress)
        say(_recall_line(hnsw))
        return publish(
            bundle,
            change,
            record(change, record_before.reports, record_before.films, record_before.studies, hnsw),
            previews=bundle.manifest.site.previews,
        )


def _recall_line(hnsw: HnswRecord | None) -> str:
    if hnsw is None:
        return "without a graph: hnswlib is not installed"
    return f"recall@10 against exact search: {hnsw.recall} (M {hnsw.m}, ef {hnsw.ef}, {hnsw.queries} queries)"


def _new(bundle: Bundle, old: IndexFiles, studies: Iterable[Study], say: Say) -> list[Study]:
    """The studies with a report that the bundle does not hold.

    Errors: Refused where one of them is there with another report.
    """
    studies = list(studies)
    wanted = [study for study in studies if study.report_id]
    if len(wanted) < len(studies):
        say(
            f"{len(studies) - len(wanted)} studies without a report are left out: there is nothing to "
            "find of them"
        )
    held: dict[str, tuple[str | None, str]] = {}
    with ReportStore(old.store, bundle.model.model_id) as store:
        for start in range(0, len(wanted), _ASKED_AT_ONCE):
            held |= store.of_studies(study.study_id for study in wanted[start : start + _ASKED_AT_ONCE])
    other = [
        s.study_id for s in wanted if s.study_id in held and held[s.study_id] != (s.report_id, s.patient_id)
    ]
    if other:
        raise Refused(
            (
                f"{bundle.path}: {len(other)} of these studies are there with another report or patient: "
                f"{', '.join(other[:3])}"
            ),
            "nothing was added",
            f"mtclip index remove {bundle.path} --study {other[0]}",
        )
    if held:
        say(f"{len(held)} of {len(wanted)} studies are there already")
    return sorted(
        (s for s in wanted if s.study_id not in held), key=lambda s: (s.report_id or "", s.study_id)
    )


Vectors = tuple[np.ndarray, np.ndarray, list[tuple[Film, Study]]]


def _extended(
    bundle: Bundle,
    change: Change,
    old: IndexFiles,
    new: Sequence[Study],
    vectors_of: Callable[[Sequence[Study], Sequence[tuple[Film, Study]]], Vectors],
    previews: PreviewsRecord | None,
    say: Say,
) -> Bundle:
    """Publish the old state and, after it, new studies; ``vectors_of`` gives the vectors of the new
    reports and films.
    """
    if old.reports >= LARGE:
        size = sum(bundle.manifest.files[name].size for name in bundle.manifest.site.files) / 1e9
        say(
            f"{old.reports} reports: each change writes all their files anew ({size:.1f} GB); a library in"
            " PostgreSQL adds in place (mtclip index push)"
        )
    with ReportStore(old.store, bundle.model.model_id) as store:
        row_of = store.row_of({study.report_id for study in new if study.report_id})
    first = {study.report_id: study for study in reversed(new) if study.report_id not in row_of}
    reports, films, kept = vectors_of([first[key] for key in sorted(first, key=str)], films_of(new))
    with step(change.progress, "writing the reports"):
        extend_store(change.file("store"), old.store, new, kept)
    with step(change.progress, READING):
        write_terms(change.file("terms"), change.file("store"), old.terms)
    parts = [old.report_vectors, reports], [old.film_vectors, films]
    write_vectors(change.file("vectors"), bundle.model.dim, *parts)
    table = np.load(change.file("vectors"), mmap_mode="r", allow_pickle=False)
    count = old.reports + len(reports)
    hnsw = _grown(bundle, change, np.asarray(table[:count]), old.reports, np.asarray(table[count:]))
    now = record(change, count, len(table) - count, bundle.index.studies + len(new), hnsw)
    return publish(bundle, change, now, previews=previews)


def _grown(
    bundle: Bundle, change: Change, reports: np.ndarray, held: int, films: np.ndarray
) -> HnswRecord | None:
    """The graph with the new reports in it; built anew where the old one is missing or damaged."""
    before, queries = bundle.index.hnsw, recall_queries(reports, films)
    if before:
        try:
            return grow_graph(
                change.file("graph"),
                bundle.file(before.file),
                before,
                reports,
                held,
                queries,
                change.progress,
            )
        except (ArtefactDamaged, RuntimeError):
            pass
    return build_graph(change.file("graph"), reports, queries, change.progress)


def _embed(
    embedder: Embedder, reports: Sequence[Study], films: Sequence[tuple[Film, Study]], say: Say
) -> Vectors:
    words = [study.tower_text for study in reports]
    embedder.check_words(words, say)
    texts = embedder.embed_texts(words)
    embedded = embedder.embed_films([film for film, _ in films])
    for problem in embedded.problems:
        say(f"left out: {problem}")
    return texts, embedded.vectors, [films[row] for row in embedded.read]


def _copied(
    store: ReportStore, source: IndexFiles, reports: Sequence[Study], films: Sequence[tuple[Film, Study]]
) -> Vectors:
    rows = store.row_of({study.report_id for study in reports if study.report_id})
    of_film = store.film_rows()
    return (
        source.report_vectors[[rows[study.report_id or ""] for study in reports]],
        source.film_vectors[[of_film[study.study_id, film.name] for film, study in films]],
        list(films),
    )


def _embed_again(
    bundle: Bundle, change: Change, vectors: np.ndarray, rows: Sequence[int], device: str, say: Say
) -> None:
    """New vectors, in place, for reports that show other words than those they were made of (the same but
    for case and marks).
    """
    if not rows:
        return
    if not bundle.precisions("text"):
        say(
            f"{len(rows)} reports keep the vector of a removed study with the same words: the bundle has "
            "no text tower"
        )
        return
    texts = texts_of(change.file("store"), rows)
    with resuming(bundle, device, silent) as embedder:
        vectors[list(rows)] = replace(embedder, cache=None).embed_texts([tower_text(text) for text in texts])
