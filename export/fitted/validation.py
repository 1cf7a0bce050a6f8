"""Fits what a query is measured by on the run's validation films: weights of the order, evidence, film gate.

Needs no torch.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...bundle.generations import Change, file_record
from ...bundle.manifest import ModelPart
from ...bundle.records import EvidenceRecord, FilmGateRecord, FuseRecord, IndexRecord, RerankRecord
from ...evaluation.cases import Cases
from ...evidence.calibration import Calibration
from ...index.report_store import ReportStore
from ...inference.embed_films import FilmVectors, embed_films
from ...inference.encoders import FilmEncoder
from ...inference.preprocessing import Preprocessing
from ...progress import Say, silent
from ...studies import Study
from .film_gate import films_in, layouts_of, spread, write_gate
from .fusion_weight import tune
from .rerank_weight import prior_of, verified
from .verdicts import measure


def fitted_on_validation(
    model: ModelPart,
    index: IndexRecord,
    films: FilmEncoder,
    studies: Sequence[Study],
    train: Sequence[Study],
    validation: Sequence[Study],
    change: Change,
    say: Say,
) -> ModelPart:
    """The model with ``fuse``, ``rerank``, ``evidence`` and ``film_gate``, of the index that ``change`` has
    built from ``studies``.

    ``films`` is the fp32 encoder. ``train`` films are asked by the film gate alone, test films by nothing.
    """
    cases = Cases.of(validation, studies)
    held_out = embed_films(films, [film.path for film in cases.films], model.dim, silent)
    cases = cases.only(held_out.read)
    return replace(
        model,
        fuse=_fusion(model, cases, held_out, change.path, index),
        rerank=_head(model, cases, train, held_out, change.path, index),
        evidence=_evidence(model, cases, held_out, change.path, index),
        film_gate=_film_gate(model, train, validation, change, say),
    )


def _evidence(
    model: ModelPart, cases: Cases, films: FilmVectors, path: Path, index: IndexRecord
) -> EvidenceRecord:
    """What a film's evidence is measured by: what the validation films got in the index just built."""
    reports = np.load(path / index.vectors, mmap_mode="r", allow_pickle=False)[: index.reports]
    logits = films.logits if model.abnormal_head else None
    searched = file_record(path / index.vectors).sha256
    return measure(cases, films.vectors, logits, reports, Calibration.of(model.calibration), searched)


def _fusion(
    model: ModelPart, cases: Cases, films: FilmVectors, path: Path, index: IndexRecord
) -> FuseRecord | None:
    """The weight of ``query --fuse auto``, chosen against the index just built; None without any film."""
    if not len(films.read):
        return None
    vectors = np.load(path / index.vectors, mmap_mode="r", allow_pickle=False)
    with closing(ReportStore(path / index.store, model.model_id)) as store:
        owner = np.array([report for report, _ in store.films_of(range(index.reports))], np.int64)
    return tune(cases, films.vectors, vectors[: index.reports], vectors[index.reports :], owner).record()


def _head(
    model: ModelPart,
    cases: Cases,
    train: Sequence[Study],
    films: FilmVectors,
    path: Path,
    index: IndexRecord,
) -> RerankRecord | None:
    """The weight of the abnormal head in the order of reports; None without any film."""
    if not len(films.read):
        return None
    reports = np.load(path / index.vectors, mmap_mode="r", allow_pickle=False)[: index.reports]
    logits = films.logits if model.abnormal_head else None
    calibration = Calibration.of(model.calibration)
    return verified(cases, films.vectors, logits, reports, calibration, prior_of(train)).record()


def _film_gate(
    model: ModelPart, train: Sequence[Study], validation: Sequence[Study], change: Change, say: Say
) -> FilmGateRecord | None:
    """What judges films, fitted on films of the run's train split."""
    how = Preprocessing.of(model.preprocessing)
    layouts = layouts_of(how, spread(films_in(train)))
    return write_gate(change.file("film_gate"), layouts, layouts_of(how, films_in(validation)), say)
