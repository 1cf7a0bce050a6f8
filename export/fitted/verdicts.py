"""What a film's evidence is measured by, made from validation films when a bundle is exported.

Test films have no part in it.
"""

from dataclasses import replace

import numpy as np

from ...bundle.records import EvidenceRecord
from ...evaluation.cases import Cases
from ...evaluation.metrics import isotonic, top_k
from ...evidence.calibration import Calibration
from ...evidence.validation_reference import LEAST, Similarities
from ...evidence.verdict import (
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


def measure(
    cases: Cases,
    vectors: Array,
    logits: Array | None,
    reports: Array,
    calibration: Calibration | None,
    searched: str,
) -> EvidenceRecord:
    """The manifest's ``evidence``: of validation films against the reports of the bundle, own patients left
    out.

    Unit vectors ``vectors`` float32 [films, dim] and ``reports`` float32 [reports, dim]; ``logits`` float32
    [films] or None where the head was not trained; ``searched`` is the hash of the file that holds
    ``reports``.
    """
    scores, labels = _nearest(cases, vectors, reports)
    answered = np.isfinite(scores).any(axis=1)
    temperature = fitted_temperature(scores[answered])
    best = Similarities.fit(scores[answered, 0])
    vote = vote_of(scores, labels, temperature or TEMPERATURE)
    rule, why = None, _why_not(cases, logits, calibration)
    if logits is not None and calibration and not why:
        rare = np.array([best is not None and best.percentile(score) < RARE for score in scores[:, 0]])
        probability = calibration.probability(logits)
        rule = fit(cases, probability, vote, rare | parted(np.round(probability, 4), calibration.point))
    return EvidenceRecord(
        films=int(answered.sum()),
        searched=searched,
        temperature=temperature,
        best_scores=best.best if best else None,
        best_scores_why="" if best else f"fewer than {LEAST} validation films",
        trust=rule.record() if rule else None,
        trust_why=why,
    )


def fit(cases: Cases, probability: Array, vote: Array, rare: Array) -> TrustRule:
    """Thresholds, and what they are worth, from float [films] probability and vote; unlabelled films say
    nothing.

    ``rare`` bool [films]: whether a film is less like any report than nearly all others, or the operating
    point calls it other than one half does.
    """
    labelled = cases.labels >= 0
    probability, vote, labels = probability[labelled], vote[labelled], cases.labels[labelled]
    doubt = rare[labelled] | against(probability, vote, index_share(cases))
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


def index_share(cases: Cases) -> float:
    """The share of abnormal among the labelled distinct reports; half where none is."""
    labels = [report.label for report in cases.reports]
    labelled = labels.count("normal") + labels.count("abnormal")
    return labels.count("abnormal") / labelled if labelled else 0.5


def _nearest(cases: Cases, vectors: Array, reports: Array) -> tuple[Array, Array]:
    """Cosines and labels of each film's nearest reports of other patients, [films, 10]; minus infinity
    where there are fewer.
    """
    score = vectors @ reports.T
    best = top_k(score, VOTERS, cases.foreign)
    scores = np.where(best >= 0, np.take_along_axis(score, best, axis=1), -np.inf).astype(np.float64)
    return scores, np.where(best >= 0, np.take_along_axis(cases.report_labels, best, axis=1), -1)


def _measured(wrong: Array, chosen: Array) -> Measured:
    films = int(chosen.sum())
    return Measured(
        films, round(float(wrong[chosen].mean()), 4) if films else None, round(films / len(wrong), 4)
    )


def _why_not(cases: Cases, logits: Array | None, calibration: Calibration | None) -> str:
    """Why there can be no rule; empty where there can."""
    if logits is None:
        return "the abnormal head was not trained"
    if calibration is None:
        return "the abnormal head is not calibrated: fewer than 20 normal or abnormal validation films"
    few = (cases.labels >= 0).sum() < LEAST
    return f"fewer than {LEAST} validation films with a label could be read at export" if few else ""
