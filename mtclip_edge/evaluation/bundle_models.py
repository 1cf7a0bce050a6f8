"""``eval``: models on the same cases, what may be compared of them, and the document of it all.

A bundle needs no torch here.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle
from ..errors import ArtefactDamaged, SourceUnusable, TextTowerMissing, not_among
from ..evidence.calibration import Abnormal, Calibration
from ..evidence.verdict import FilmVerdicts
from ..index.filters import Filters
from ..index.index import Index
from ..index.library import Library, Scope
from ..index.opening import choose_index_search, open_index
from ..index.report_store import ReportStore
from ..index.rerank import choose_head, score_table
from ..inference.device import Device, choose
from ..inference.embed_films import embed_films
from ..inference.encoders import FilmEncoder, open_text_encoder
from ..inference.precision import GPU_ONLY
from ..inference.preprocessing import Preprocessing
from ..progress import Progress, Say, silent
from ..sources.source import Reading
from ..studies import SPLITS, Study, view_code
from .bootstrap import with_control
from .bundle_verdicts import trusted
from .cases import Cases
from .document import Result
from .exposed import exposed
from .figures import Judged
from .model_on_cases import ModelOutput


@dataclass(frozen=True)
class Task:
    """What every model of an evaluation is put to, on which device, and who is told of it."""

    cases: Cases
    device: str = "auto"
    say: Say = silent
    progress: Progress = silent
    library: str | None = None  # whose reports a bundle searches and asks for votes; None: its own

    @classmethod
    def of(cls, studies: Sequence[Study], searched: Sequence[Study] | None = None, **how: Any) -> "Task":
        """Of some studies, as ``Cases.of``; ``how``: device, say, progress, library."""
        return cls(Cases.of(studies, searched), **how)


@dataclass(frozen=True)
class Model:
    """One column of an evaluation: what a run, a bundle in one precision, or a backbone by itself makes of
    the cases.

    ``before`` holds film and report features of the backbone it was made from, for pictures; ``history`` a
    run's epochs.
    """

    name: str
    kind: str
    cases: Cases
    embedded: ModelOutput
    precision: str | None = None
    notes: tuple[str, ...] = ()
    before: tuple[np.ndarray, np.ndarray] | None = None
    history: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    backbone: str = ""  # whose towers these are, by name
    part: str = ""  # of which fold and training, where a film is judged by one of several

    def summary(self) -> dict[str, Any]:
        return Judged(self.cases, self.embedded).summary()


def evaluate_model(model: Model, seen_reports: frozenset[str]) -> Result:
    """All figures of a model; ``seen_reports`` are the ids of reports that stand verbatim in train."""
    judged = Judged(model.cases, model.embedded, seen_reports)
    curves = judged.decisions.curves() if judged.decisions else None
    return Result(
        model.name,
        model.kind,
        model.precision,
        model.notes,
        tuple(with_control(judged.draw(), judged.control())),
        curves,
        exposed(model.backbone, model.cases.studies),
    )


def bundle_models(path: Path, task: Task) -> list[Model]:
    """A bundle on some cases, once for each precision it holds. Without a text tower, what needs report
    embeddings is missing.

    Errors: NotABundle, ArtefactDamaged, SourceUnusable (no film can be read).
    """
    bundle, chosen = Bundle.open(path), choose(task.device)
    models: list[Model] = []
    search = ""  # of the reports' own vectors: the same whatever precision asks
    for precision in bundle.precisions("image"):
        if precision in GPU_ONLY and chosen.used == "cpu":
            task.say(f"left out: {precision} is not for a CPU")
            continue
        once = replace(task, say=silent) if models else task
        encoder = FilmEncoder.load(
            bundle.graph("image", precision), Preprocessing.of(bundle.model.preprocessing), chosen, precision
        )
        asked = task.cases.films
        views = [view_code(film.view) for film in asked]
        paths = [film.path for film in asked]
        films = embed_films(encoder, paths, bundle.model.dim, task.progress, views)
        name_unread(films.problems, len(films.read), once.say)
        model, read = bundle.model, task.cases.only(films.read)
        logits = films.logits if model.abnormal_head else None
        patients = [study.patient_id for study in read.studies]
        reports = _reports(bundle, precision, chosen, once)
        weight = choose_head(True, model.rerank, model.abnormal_head, Filters())
        embedded = ModelOutput(
            films.vectors,
            logits,
            reports,
            Calibration.of(model.calibration),
            _reranked(read, films.vectors, reports, logits, bundle),
            prefixes=model.prefixes,
            trusted=None
            if logits is None
            else _trusted(bundle, films.vectors, logits, patients, read, task.library),
        )
        search = search or _search_note(bundle, films.vectors, task.library)
        order = (
            f"reports in the order of a query, with the head's weight of {weight.weight}: {weight.why}"
            if embedded.score is not None
            else f"reports by cosine: {weight.why}"
        )
        notes = (f"{precision} on {chosen.used}", search, order)
        name = model.backbone.name
        models.append(Model(str(path), "bundle", read, embedded, precision, notes, backbone=name))
    return models


def name_unread(problems: Sequence[str], read: int, say: Say) -> None:
    """Say which films are left out. Errors: SourceUnusable where none is left."""
    for problem in problems:
        say(f"left out: {problem}")
    if not read:
        raise SourceUnusable("no film can be read")


def _reports(bundle: Bundle, precision: str, device: Device, task: Task) -> np.ndarray | None:
    """The reports by the text tower of the same precision; None where there are none, or no text tower."""
    if not task.cases.reports:
        return None
    try:
        return open_text_encoder(bundle, device, precision)[0].encode(
            task.cases.texts, progress=task.progress
        )
    except TextTowerMissing as missing:
        task.say(str(missing))
        return None


def _reranked(
    cases: Cases,
    films: np.ndarray,
    reports: np.ndarray | None,
    logits: np.ndarray | None,
    bundle: Bundle,
) -> np.ndarray | None:
    """What a query orders reports by, float64 [films, reports]; None where that is the cosine."""
    model = bundle.model
    lateral = np.array([film.view == "lateral" for film in cases.films]) & model.takes_laterals
    weights = {view: model.rerank_of(view) for view in ("frontal", "lateral")}
    in_force = any(record and record.weight for record in weights.values())
    if not in_force or reports is None or logits is None or not len(reports):
        return None
    scores = np.asarray(films @ reports.T, np.float64)
    for view, record in weights.items():
        rows = np.flatnonzero(lateral == (view == "lateral"))
        if record is None or not len(rows):
            continue
        probability = [Abnormal.of(float(logit), model, view) for logit in logits[rows]]
        known = np.array(
            [
                record.prior if one is None or one.probability is None else one.probability
                for one in probability
            ]
        )
        labels = cases.told_labels[rows]
        scores[rows] = score_table(scores[rows], labels, known, record.prior, record.weight)
    return scores


def _trusted(
    bundle: Bundle,
    vectors: np.ndarray,
    logits: np.ndarray,
    patients: Sequence[str],
    read: Cases,
    library: str | None,
) -> FilmVerdicts | None:
    """What a query would say of each film, by the bundle's own reports or by a library's."""
    views = [view_code(film.view) for film in read.films]
    if library is None:
        return trusted(bundle, vectors, logits, patients, views)
    with closing(_opened(bundle, library)) as other:
        return other.reading(lambda: trusted(bundle, vectors, logits, patients, views, other))


def _opened(bundle: Bundle, library: str) -> Library:
    from ..index.postgres.opening import open_library  # for a database only

    return open_library(library, bundle.model.model_id, bundle.model.dim)


def _search_note(bundle: Bundle, films: np.ndarray, library: str | None) -> str:
    """How often the search of the bundle's own reports, or of a library's, finds for these films what
    comparing with every report finds.
    """
    if library is not None:
        with closing(_opened(bundle, library)) as other:
            return _library_note(other, films)
    exact, quick = (_searched(bundle, exact) for exact in (True, False))
    if quick.choice.used == "exact":
        return f"exact search: {quick.choice.why}"
    with closing(ReportStore(bundle.file(bundle.index.store), bundle.model.model_id)) as store:
        both = [
            [set(index.search_reports(film, 10, store.report_ids).rows) for index in (quick, exact)]
            for film in films
        ]
    overlap = np.mean([len(a & b) / len(b) for a, b in both])
    return (
        f"HNSW finds {overlap:.4f} of the first ten that exact search finds, in its "
        f"{bundle.index.reports} reports"
    )


def _library_note(library: Library, films: np.ndarray) -> str:
    (_, reports, _), everything = library.counts, Scope()
    if library.nearest(films[0], 10, everything).choice.used == "exact":
        return f"exact search in the {reports} reports of a library"
    both = [
        [set(library.nearest(film, 10, everything, exact=exact).rows) for exact in (False, True)]
        for film in films
    ]
    overlap = np.mean([len(quick & exact) / len(exact) for quick, exact in both])
    return (
        f"HNSW finds {overlap:.4f} of the first ten that exact search finds, in the {reports} reports of a"
        " library"
    )


def _searched(bundle: Bundle, exact: bool) -> Index:
    """The bundle's reports, compared one by one or by its graph where that can be used."""
    wanted = choose_index_search(bundle, exact, None)
    graph: Future[Path] | None = None
    if wanted.used == "hnsw" and (record := bundle.index.hnsw):
        graph = Future()
        try:
            graph.set_result(bundle.file(record.file))
        except ArtefactDamaged as damage:
            graph.set_exception(damage)
    return open_index(bundle, bundle.file(bundle.index.vectors), graph, wanted)


def check_split(split: str) -> None:
    """Errors: WrongOption."""
    if split not in (*SPLITS, "all"):
        raise not_among("split", split, (*SPLITS, "all"))


def of_split(reading: Reading, split: str) -> list[Study]:
    """The studies of a split that have a film. Errors: WrongOption, SourceUnusable."""
    check_split(split)
    studies = [s for s in reading.studies if s.films and split in (s.split, "all")]
    if not studies:
        raise SourceUnusable(
            f"{reading.spec}: no film in the split {split}", "use --split all for a source of its own"
        )
    return studies
