"""Measures what a film's evidence is told by, from what validation films get among a bundle's reports: when
the bundle is exported, and again when its reports change.

Test films have no part in it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ..bundle.manifest import ModelPart
from ..bundle.records import EvidenceRecord
from ..index.filters import Filters
from ..index.library import Library, Scope
from ..index.report_store import ReportStore
from ..studies import LABEL_CODES, majority
from .calibration import Calibration
from .enough import NOT_CALIBRATED
from .kept_films import KeptFilms, pseudonym
from .validation_reference import LEAST, Similarities
from .verdict import (
    RARE,
    TEMPERATURE,
    VERDICTS,
    VOTERS,
    Measured,
    TrustRule,
    against,
    fitted_temperature,
    parted,
    trust_in,
    vote_of,
)

Array = np.ndarray
CONFIDENT_RISK = 0.10  # of the decisions called confident at most one in ten was wrong
ABSTAIN_RISK = 0.45  # where decisions were wrong nearly as often as a coin
_BLOCK = 65_536  # reports compared at a time


@dataclass(frozen=True)
class NearestReports:
    """Of each film the ten nearest reports of other patients, best first: cosines float64 [films, 10], minus
    infinity where there are fewer, and labels int [films, 10] without that patient's own studies.

    ``share``: that of abnormal among all labelled reports.
    """

    scores: Array
    labels: Array
    share: float


def evidence_record(
    near: NearestReports,
    labels: Array,
    logits: Array | None,
    calibration: Calibration | None,
    searched: str,
) -> EvidenceRecord:
    """The manifest's entry from films with ``labels`` int [films] (-1 unknown) and ``logits`` float32
    [films], None where the head was not trained; ``searched`` is the hash of the file that holds the reports.
    """
    answered = np.isfinite(near.scores).any(axis=1)
    temperature = fitted_temperature(near.scores[answered])
    best = Similarities.fit(near.scores[answered, 0])
    vote = vote_of(near.scores, near.labels, temperature or TEMPERATURE)
    rule, why = None, _why_not(labels, logits, calibration)
    if logits is not None and calibration and not why:
        rare = np.array([best is not None and best.percentile(score) < RARE for score in near.scores[:, 0]])
        probability = calibration.probability(logits)
        doubtful = rare | parted(np.round(probability, 4), calibration.point)
        rule = fit_rule(labels, probability, vote, doubtful, near.share)
    return EvidenceRecord(
        films=int(answered.sum()),
        searched=searched,
        temperature=temperature,
        best_scores=best.best if best else None,
        best_scores_why="" if best else f"fewer than {LEAST} validation films",
        trust=rule.record() if rule else None,
        trust_why=why,
    )


Nearest = Callable[[KeptFilms], NearestReports]


def measured(kept: KeptFilms, model: ModelPart, nearest: Nearest, searched: str) -> dict[str, EvidenceRecord]:
    """What the films that a bundle keeps get among the reports that are searched: by frontal, lateral and
    both, as far as the model has them. Where a site has refitted it, its films tell of frontal ones, and
    verdicts too if enough of them are labelled. ``nearest``: ``nearest_in_bundle``, ``nearest_in_library``.
    """
    if not len(kept.rows):
        return {}
    site, before = kept.of_site(True), _by_view(kept.of_site(False), model, nearest, searched)
    if not len(site.rows):
        return before
    now = _by_view(site, replace(model, by_view={}), nearest, searched)["frontal"]
    told = before["frontal"] if before["frontal"].trust else model.evidence
    if now.trust is None and told is not None:
        now = replace(now, trust=told.trust, trust_why=told.trust_why)
    return {**before, "frontal": now}


def _by_view(kept: KeptFilms, model: ModelPart, nearest: Nearest, searched: str) -> dict[str, EvidenceRecord]:
    parts = {name: (kept.of_view(name), model.calibration_of(name)) for name in model.by_view}
    parts["frontal"] = kept.of_view("frontal") if model.takes_laterals else kept, model.calibration
    evidence = {}
    for name, (films, calibration) in parts.items():
        near = nearest(films)
        logits = films.rows["logit"] if model.abnormal_head else None
        labels = films.rows["label"].astype(np.int64)
        evidence[name] = evidence_record(near, labels, logits, Calibration.of(calibration), searched)
    return evidence


def nearest_in_bundle(films: KeptFilms, store: ReportStore, reports: Array) -> NearestReports:
    """Among unit vectors float32 [reports, dim] of a bundle's reports; in blocks, so that a million reports
    take no more memory than some thousands.
    """
    own = dict(_own_reports(films, store))
    count = len(films.rows)
    scores, rows = np.full((count, 0), -np.inf), np.zeros((count, 0), np.int64)
    for start in range(0, len(reports), _BLOCK):
        score = (films.rows["vector"] @ reports[start : start + _BLOCK].T).astype(np.float64)
        here = np.arange(start, start + score.shape[1])
        for film, labels in own.items():
            score[film, np.isin(here, [row for row, label in labels.items() if label is None])] = -np.inf
        scores = np.concatenate([scores, score], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(here, score.shape)], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :VOTERS]
        scores, rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
    told = store.labels(np.unique(rows).tolist())
    voted: list[list[int]] = [
        [LABEL_CODES[own.get(film, {}).get(row) or told[row]] for row in found]
        for film, found in enumerate(rows.tolist())
    ]
    codes = np.array(voted, np.int64).reshape(rows.shape)
    return NearestReports(scores, np.where(np.isfinite(scores), codes, -1), store.abnormal_share())


class Patients(Protocol):
    """Whose reports there are."""

    def patients(self) -> Iterator[str]: ...

    def counts_without(self, patient: str) -> list[tuple[int, int, int, int]]: ...


class MeasuredLibrary(Library, Patients, Protocol):
    """A library that tells its patients to who measures."""


def nearest_in_library(films: KeptFilms, library: MeasuredLibrary) -> NearestReports:
    """By the library's own search, film by film."""
    patient_of = dict(_patients(films, library))
    scores = np.full((len(films.rows), VOTERS), -np.inf)
    labels = np.full((len(films.rows), VOTERS), -1, np.int64)
    for film, vector in enumerate(films.rows["vector"]):
        patient = patient_of.get(film)
        others = Scope() if patient is None else Scope(Filters(exclude_patient=(patient,)))
        hits = library.nearest(vector, VOTERS, others)
        told: dict[int, str | None] = dict(library.labels(hits.rows))
        if patient is not None:
            told |= {row: label for row, label in _without(library, patient).items() if row in told}
        scores[film, : len(hits.rows)] = hits.scores
        labels[film, : len(hits.rows)] = [LABEL_CODES[told[row] or "unknown"] for row in hits.rows]
    return NearestReports(scores, labels, library.abnormal_share())


def _patients(films: KeptFilms, held: Patients) -> Iterator[tuple[int, str]]:
    """The films whose patients have reports here, with the patient."""
    rows: dict[bytes, list[int]] = {}
    for row, patient in enumerate(films.rows["patient"]):
        rows.setdefault(patient.tobytes(), []).append(row)
    for patient in held.patients():
        for film in rows.get(pseudonym(films.salt, patient), ()):
            yield film, patient


def _own_reports(films: KeptFilms, store: ReportStore) -> Iterator[tuple[int, dict[int, str | None]]]:
    """Of each film whose patient has reports here: their rows, with the label that the studies of others give
    each, None where nobody else has it.
    """
    for film, patient in _patients(films, store):
        yield film, _without(store, patient)


def _without(held: Patients, patient: str) -> dict[int, str | None]:
    others = held.counts_without(patient)
    return {row: majority(n, a) if n + a + u else None for row, n, a, u in others}


def fit_rule(labels: Array, probability: Array, vote: Array, rare: Array, share: float) -> TrustRule:
    """Thresholds, and what they are worth, from float [films] probability and vote; unlabelled films say
    nothing (``labels`` int [films] as of ``LABEL_CODES``).

    ``rare`` bool [films]: whether a film is less like any report than nearly all others, or the operating
    point calls it other than one half does; ``share``: that of
    abnormal among the labelled reports.
    """
    labelled = labels >= 0
    probability, vote, labels = probability[labelled], vote[labelled], labels[labelled]
    doubt = rare[labelled] | against(probability, vote, share)
    wrong = ((probability >= 0.5) != (labels == 1)).astype(float)
    trust = trust_in(probability)
    rule = TrustRule(*thresholds(trust, wrong), {})
    verdict = rule.verdicts(trust, doubt)
    return replace(
        rule, validation={name: _measured(wrong, verdict == place) for place, name in enumerate(VERDICTS)}
    )


def thresholds(trust: Array, wrong: Array) -> tuple[float | None, float | None]:
    """The least trust that is confident and the most that abstains, float [films] each: from the risk as it
    falls with trust.

    That risk is the falling function of trust nearest to what was seen (isotonic regression, Barlow et al.
    1972), so that films of one verdict keep its promise among themselves, not only on average with better
    ones. None where fewer than 20 films would have it.
    """
    order = np.argsort(trust, kind="stable")
    trust, risk = trust[order], -isotonic(-wrong[order], trust[order])
    sure, unsure = trust[risk <= CONFIDENT_RISK], trust[risk >= ABSTAIN_RISK]
    # To four decimals, which a trust is told with, and outwards, so that the films at a threshold stay on
    # their side of it.
    least = float(np.floor(sure.min() * 1e4) / 1e4) if len(sure) >= LEAST else None
    return least, float(np.ceil(unsure.max() * 1e4) / 1e4) if len(unsure) >= LEAST else None


def isotonic(value: Array, key: Array) -> Array:
    """The rising function of ``key`` nearest to ``value`` by squares, float [n] each, ``key`` rising
    (pool adjacent violators).
    """
    blocks: list[tuple[float, int]] = []  # sum and count
    ends = np.flatnonzero(np.append(key[1:] != key[:-1], True)) + 1
    if not len(key):
        return np.zeros(0)
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        total, count = float(value[start:end].sum()), int(end - start)
        while blocks and blocks[-1][0] * count >= total * blocks[-1][1]:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    return np.repeat([total / count for total, count in blocks], [count for _, count in blocks])


def _measured(wrong: Array, chosen: Array) -> Measured:
    films = int(chosen.sum())
    return Measured(
        films, round(float(wrong[chosen].mean()), 4) if films else None, round(films / len(wrong), 4)
    )


def _why_not(labels: Array, logits: Array | None, calibration: Calibration | None) -> str:
    """Why there can be no rule; empty where there can."""
    if logits is None:
        return "the abnormal head was not trained"
    if calibration is None:
        return NOT_CALIBRATED
    few = (labels >= 0).sum() < LEAST
    return f"fewer than {LEAST} validation films with a label could be read at export" if few else ""
