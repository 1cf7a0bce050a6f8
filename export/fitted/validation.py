"""Fits what a query is measured by on the run's validation films: weights of the order, evidence, film gate.

Needs no torch.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ...bundle.generations import Change, file_record
from ...bundle.manifest import ModelPart, ValidationRecord
from ...bundle.records import (
    CalibrationRecord,
    EvidenceRecord,
    FuseRecord,
    IndexRecord,
    RerankRecord,
    ViewRecord,
)
from ...evaluation.cases import Cases
from ...evidence.calibration import Calibration
from ...evidence.kept_films import KeptFilms
from ...evidence.validation_reference import LEAST
from ...index.report_store import ReportStore
from ...inference.embed_films import embed_films
from ...inference.encoders import FilmEncoder
from ...inference.study_vector import study_vector
from ...progress import Say, silent
from ...studies import FRONTAL, LATERAL, Study, view_code
from ...train.calibration import fit_calibration
from .film_gate import gate_for
from .fusion_weight import tune
from .rerank_weight import prior_of, verified
from .verdicts import measure


@dataclass(frozen=True)
class Validated:
    """Validation films, or studies, and what the model makes of them: unit vectors float32 [films, dim],
    logits float32 [films].
    """

    cases: Cases
    vectors: np.ndarray
    logits: np.ndarray

    @cached_property
    def codes(self) -> np.ndarray:
        return np.array([view_code(film.view) for film in self.cases.films], np.int64)

    def of_view(self, view: int) -> "Validated":
        rows = np.flatnonzero(self.codes == view)
        return Validated(self.cases.only(rows), self.vectors[rows], self.logits[rows])

    def of_both(self) -> "Validated":
        """The studies that have both views, each as one vector, as a query of a study has it."""
        rows: dict[str, list[int]] = {}
        for row, study in enumerate(self.cases.studies):
            rows.setdefault(study.study_id, []).append(row)
        studies = [np.array(some) for some in rows.values() if len(set(self.codes[some])) > 1]
        means = [study_vector(self.vectors[some], self.logits[some], self.codes[some]) for some in studies]
        vectors = np.stack([vector for vector, _ in means]) if means else self.vectors[:0]
        logits = np.array([logit for _, logit in means], np.float32)
        return Validated(self.cases.only([some[0] for some in studies]), vectors, logits)


def fitted_on_validation(
    model: ModelPart,
    index: IndexRecord,
    films: FilmEncoder,
    studies: Sequence[Study],
    train: Sequence[Study],
    validation: Sequence[Study],
    change: Change,
    say: Say,
) -> tuple[ModelPart, ValidationRecord | None]:
    """The model with ``fuse``, ``rerank``, ``evidence`` and ``film_gate``, of the index that ``change`` has
    built from ``studies``, and what the bundle keeps of the validation films; the demo bundle, which never
    changes, keeps none.

    ``films`` is the fp32 encoder. ``train`` films are asked by the film gate alone, test films by nothing.
    """
    cases = Cases.of(validation, studies)
    views = [view_code(film.view) for film in cases.films]
    held_out = embed_films(films, [film.path for film in cases.films], model.dim, silent, views)
    seen = Validated(cases.only(held_out.read), held_out.vectors, held_out.logits)
    frontal = seen.of_view(FRONTAL) if model.takes_laterals else seen
    fitted = replace(
        model,
        fuse=_fusion(model, frontal, change.path, index),
        rerank=_head(model, frontal, model.calibration, train, change.path, index),
        evidence=_evidence(model, frontal, model.calibration, change.path, index),
        film_gate=gate_for(change.file("film_gate"), model, train, validation, say),
        by_view=_by_view(model, seen, train, change.path, index, say) if model.takes_laterals else {},
    )
    if model.purpose == "demo" or not len(seen.vectors):
        return fitted, None
    kept = KeptFilms.made(seen.cases.films, seen.cases.studies, seen.vectors, seen.logits)
    return fitted, kept.write(change.file("validation"))


def _by_view(
    model: ModelPart, seen: Validated, train: Sequence[Study], path: Path, index: IndexRecord, say: Say
) -> dict[str, ViewRecord]:
    """What laterals, and studies of both views, are measured by: their own, of at least ``LEAST`` each."""
    parts = {
        "lateral": (seen.of_view(LATERAL), "lateral films"),
        "both": (seen.of_both(), "studies of both views"),
    }
    measured = {}
    for name, (part, what) in parts.items():
        count = len(part.cases.films)
        if count < LEAST:
            say(f"{what} get no percentile and no verdict: {count} of validation, fewer than {LEAST}")
            continue
        fitted = fit_calibration(part.cases.labels, part.logits) if model.abnormal_head else None
        calibration = fitted.record() if fitted else None
        evidence = _evidence(model, part, calibration, path, index)
        rerank = _head(model, part, calibration, train, path, index)
        measured[name] = ViewRecord(calibration, evidence, rerank)
    return measured


def _evidence(
    model: ModelPart,
    seen: Validated,
    calibration: CalibrationRecord | None,
    path: Path,
    index: IndexRecord,
) -> EvidenceRecord:
    """What a film's evidence is measured by: what the validation films got in the index just built."""
    reports = np.load(path / index.vectors, mmap_mode="r", allow_pickle=False)[: index.reports]
    logits = seen.logits if model.abnormal_head else None
    searched = file_record(path / index.vectors).sha256
    return measure(seen.cases, seen.vectors, logits, reports, Calibration.of(calibration), searched)


def _fusion(model: ModelPart, seen: Validated, path: Path, index: IndexRecord) -> FuseRecord | None:
    """The weight of ``query --fuse auto``, chosen against the index just built; None without any film."""
    if not len(seen.vectors):
        return None
    vectors = np.load(path / index.vectors, mmap_mode="r", allow_pickle=False)
    with closing(ReportStore(path / index.store, model.model_id)) as store:
        owner = np.array([report for report, _ in store.films_of(range(index.reports))], np.int64)
    return tune(seen.cases, seen.vectors, vectors[: index.reports], vectors[index.reports :], owner).record()


def _head(
    model: ModelPart,
    seen: Validated,
    calibration: CalibrationRecord | None,
    train: Sequence[Study],
    path: Path,
    index: IndexRecord,
) -> RerankRecord | None:
    """The weight of the abnormal head in the order of reports; None without any film."""
    if not len(seen.vectors):
        return None
    reports = np.load(path / index.vectors, mmap_mode="r", allow_pickle=False)[: index.reports]
    logits = seen.logits if model.abnormal_head else None
    fitted = Calibration.of(calibration)
    return verified(seen.cases, seen.vectors, logits, reports, fitted, prior_of(train)).record()
