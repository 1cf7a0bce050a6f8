"""Reports into a library in PostgreSQL: a bundle's, those of a folder that ``mtclip embed`` made, or a
source's.

Batches are there whole or not at all, so that a killed push goes on where it was when it is run again. What
is there already stays; of a second model only vectors are added.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..bundle.bundle import Bundle
from ..errors import SourceUnusable
from ..evidence.kept_films import KeptFilms
from ..evidence.measuring import measured, nearest_in_library
from ..index.postgres.loading import Loaded, load
from ..index.postgres.opening import open_library
from ..index.postgres.rows import Batch, FilmVector, Words
from ..index.postgres.writing import Writer
from ..progress import Progress, Say, silent, step
from ..studies import Film, Study
from .embedder import Embedder, forget_embedded, resuming
from .shards import STUDIES, EmbeddedFolder, KnownVectors
from .stored import StoredStudies

BATCH = 5_000  # studies of one transaction


def push_bundle(path: Path, url: str, site: str, *, progress: Progress = silent, say: Say = silent) -> Loaded:
    """All studies of a bundle with their vectors; nothing is embedded.

    Errors: those of opening a bundle; LibraryUnreachable, ArtefactIncompatible; Refused where a study is
    there with another report, or this login may not.
    """
    bundle = Bundle.open(path)
    with closing(StoredStudies(bundle)) as stored:
        batches = _told(stored.batches(BATCH), len(stored.ids), progress)
        model = bundle.model.model_id, bundle.model.dim
        return _pushed(bundle, model, url, site, batches, bundle.index.reports, progress, say)


def push_embedded(
    folder: EmbeddedFolder,
    bundle: Path | None,
    url: str,
    site: str,
    *,
    progress: Progress = silent,
    say: Say = silent,
) -> Loaded:
    """All studies of a folder with their vectors. ``bundle``: that of the model which made them, whose films
    measure percentiles; None: nothing is measured. Errors: as of a bundle.
    """
    opened = None if bundle is None else Bundle.open(bundle)
    if opened is not None:
        folder.check_model(opened.model.model_id)
    batches = _told(_of_shards(folder, say), len(folder.names), progress, "shards")
    model = folder.model_id, folder.dim
    return _pushed(opened, model, url, site, batches, len(folder.names) * STUDIES, progress, say)


def add(
    bundle: Path,
    studies: Sequence[Study],
    url: str,
    site: str,
    *,
    device: str = "auto",
    progress: Progress = silent,
    say: Say = silent,
) -> Loaded:
    """Studies of a source, embedded by the towers of ``bundle``; what is there already is not embedded.

    Errors: as of a bundle, and TextTowerMissing, SourceUnusable (no report).
    """
    opened = Bundle.open(bundle)
    wanted = sorted((s for s in studies if s.report_id), key=lambda s: s.study_id)
    if not wanted:
        raise SourceUnusable("no study has a report, so there is nothing to retrieve")
    if len(wanted) < len(studies):
        say(
            f"{len(studies) - len(wanted)} studies without a report are left out: there is nothing to"
            f" find of them"
        )
    model = opened.model.model_id, opened.model.dim
    new = _lacking(url, site, model, wanted, say)
    if not new:
        say("nothing to add")
        return _pushed(opened, model, url, site, (), 0, progress, say)
    with resuming(opened, device, progress) as embedder:
        embedder.check_words(list(dict.fromkeys(study.tower_text for study in new)), say)
        batches = (_embedded(embedder, new[at : at + BATCH], say) for at in range(0, len(new), BATCH))
        done = _pushed(opened, model, url, site, batches, len(new), progress, say)
    forget_embedded(bundle)
    return done


def _lacking(url: str, site: str, model: tuple[str, int], wanted: Sequence[Study], say: Say) -> list[Study]:
    """The studies that are not there, or whose report has no vector of this model."""
    new: list[Study] = []
    with Writer(url, site) as writer:
        stem = writer.model(*model)
        for start in range(0, len(wanted), BATCH):
            some = wanted[start : start + BATCH]
            held = writer.held([study.study_id for study in some])
            embedded = writer.with_vector([study.report_id or "" for study in some], stem)
            for study in some:
                there = held.get(study.study_id) == (study.report_id, study.patient_id)
                if not there or study.report_id not in embedded:
                    new.append(study)
    if len(new) < len(wanted):
        say(f"{len(wanted) - len(new)} of {len(wanted)} studies are there already")
    return new


def _pushed(
    bundle: Bundle | None,
    model: tuple[str, int],
    url: str,
    site: str,
    batches: Iterable[Batch],
    expected: int,
    progress: Progress,
    say: Say,
) -> Loaded:
    """``expected``: how many reports may come at most."""
    (model_id, dim), done = model, Loaded()
    with Writer(url, site) as writer:
        stem = writer.model(model_id, dim)
        if writer.bulk(model_id, expected):
            writer.without_graph(stem)
        for batch in batches:
            done += load(writer, batch, model_id, stem)
        with step(progress, "building the HNSW index"):
            built = writer.with_graph(stem, dim)
        no_recall, no_evidence = writer.unmeasured(model_id)
        if built or no_recall or writer.many(model_id, done.vectors):
            with step(progress, "measuring the recall"):
                writer.measure(model_id, stem, dim, say)
    if bundle is None:
        say(
            "without --bundle percentiles are not measured: mtclip library verify URL --bundle BUNDLE does it"
        )
    elif done.vectors or done.studies or no_evidence:
        with step(progress, "measuring evidence"):
            measure_evidence(bundle, url, site, say)
    say(
        f"{done.studies} studies, {done.reports} reports and {done.films} films added,"
        f" {done.vectors} report vectors"
    )
    return done


def measure_evidence(bundle: Bundle, url: str, site: str, say: Say = silent) -> None:
    """What the validation films that a bundle keeps get among the reports of a site: stored with the site.

    The bundle's own figures hold where the site has its reports and no others.
    """
    manifest, kept = bundle.manifest, KeptFilms.of(bundle)
    with Writer(url, site) as writer:
        generation = writer.generation  # what changes while it is measured ends it
    with closing(open_library(url, bundle.model.model_id, bundle.model.dim, only=(site,))) as library:
        own = manifest.evidence_of("frontal")
        same = library.counts[0] == bundle.index.studies and library.holds_only(_ids_of(bundle))
        if same and own is not None and own.searched == manifest.searched:
            seen = {"frontal", *bundle.model.by_view, *manifest.site.evidence}
            records = {name: record for name in sorted(seen) if (record := manifest.evidence_of(name))}
        elif kept is None:
            say("no kept validation films: percentiles are not told for this library")
            return
        else:
            token = library.token
            nearest = partial(nearest_in_library, library=library)
            records = measured(kept, bundle.model, nearest, token)
    with Writer(url, site) as writer:
        writer.store_evidence(
            bundle.model.model_id, {name: r.to_dict() for name, r in records.items()}, generation
        )


def _ids_of(bundle: Bundle) -> Callable[[], Iterator[str]]:
    def ids() -> Iterator[str]:
        from ..index.report_store import ReportStore

        with ReportStore(bundle.file(bundle.index.store), bundle.model.model_id) as store:
            yield from store.all_report_ids()

    return ids


def _told(batches: Iterable[Batch], total: int, progress: Progress, what: str = "studies") -> Iterator[Batch]:
    """With a bar of what is loaded."""
    done = 0
    progress(what, 0, total)
    for batch in batches:
        yield batch
        done += len(batch.studies) if what == "studies" else 1
        progress(what, done, total)


def _of_shards(folder: EmbeddedFolder, say: Say) -> Iterator[Batch]:
    for studies, known in folder.shards():
        reported = [study for study in studies if study.report_id]
        yield _batch(reported, known, say)


def _batch(studies: Sequence[Study], known: KnownVectors, say: Say) -> Batch:
    shown: dict[str, Study] = {}
    for study in studies:
        shown.setdefault(study.report_id or "", study)
    films = []
    for study in studies:
        for film in study.films:
            if film.path in known.films:
                films.append(FilmVector(study.study_id, film.name, film.view, known.films[film.path]))
            else:
                say(f"left out: {known.problems.get(film.path, f'{film.path}: not embedded')}")
    vectors = {name: known.texts[study.tower_text] for name, study in shown.items()}
    return Batch(studies, {name: Words.of(study) for name, study in shown.items()}, vectors, films)


def _embedded(embedder: Embedder, studies: Sequence[Study], say: Say) -> Batch:
    texts = list(dict.fromkeys(study.tower_text for study in studies))
    films: list[Film] = [film for study in studies for film in study.films]
    told = embedder.embed_films(films)
    read = {films[row].path: vector for row, vector in zip(told.read.tolist(), told.vectors, strict=True)}
    for problem in told.problems:
        say(f"left out: {problem}")
    known = KnownVectors(dict(zip(texts, embedder.embed_texts(texts), strict=True)), read, {})
    seen = [replace(s, films=tuple(f for f in s.films if f.path in read)) for s in studies]
    return _batch(seen, known, say)
