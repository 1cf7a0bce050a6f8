"""How far the normal/abnormal decision of a film is to be trusted: confident, uncertain or abstain.

Trust is the calibrated probability of the decision that the head makes. Two thresholds on it were chosen on
validation films (``evidence.measuring``), with the share of wrong decisions they left. A vote of the
nearest reports mixed into it hardly helped (docs/results), so it only speaks against. Whatever speaks against
a film besides only ever lowers its verdict.

How near reports vote: cosines of one list lie close together (on Open-I the tenth report is 0.05 below the
first), so they are no weights themselves: ten of them would weigh nearly the same whatever they are. A report
weighs exp((cosine - best cosine) / temperature) instead, where the temperature is how far the tenth report of
a median validation film lies below its first. A report as far below weighs 1/e of the best; where all are
equally near, all weigh the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..bundle.records import VERDICTS, Measured, TrustRecord

Array = np.ndarray
CONFIDENT, UNCERTAIN, ABSTAIN = VERDICTS
RARE = 1.0  # percentile of similarity below which no verdict is confident


@dataclass(frozen=True)
class TrustRule:
    """``confident``: the least trust of that verdict, ``abstain`` the most of that one; None where no
    threshold keeps its promise.

    ``validation``: what each verdict was worth on validation films.
    """

    confident: float | None
    abstain: float | None
    validation: Mapping[str, Measured]

    def verdicts(self, trust: Array, doubt: Array) -> Array:
        """Places in VERDICTS, int [films], of float [films] trust; where there is ``doubt``, bool
        [films], none is confident.
        """
        sure = trust >= self.confident if self.confident is not None else np.zeros(len(trust), bool)
        unsure = trust <= self.abstain if self.abstain is not None else np.zeros(len(trust), bool)
        return np.where(unsure, 2, np.where(sure & ~doubt, 0, 1))

    def record(self) -> TrustRecord:
        return TrustRecord(self.confident, self.abstain, self.validation)

    @classmethod
    def of(cls, record: TrustRecord | None) -> "TrustRule | None":
        return None if record is None else cls(record.confident, record.abstain, record.validation)


def trust_in(probability: Array) -> Array:
    """Trust in the head's decision, float [films]: the probability of what it decides, of float [films]
    probability of abnormal.
    """
    return np.where(probability >= 0.5, probability, 1 - probability)


@dataclass(frozen=True)
class Judgement:
    """A verdict with its reason; ``verdict``, ``trust`` and ``validation`` are None where nothing was
    fitted to judge by.
    """

    verdict: str | None
    why: str
    trust: float | None = None
    validation: Measured | None = None


@dataclass(frozen=True)
class FilmVerdicts:
    """Many films' trust, float [films], and their verdicts as places in VERDICTS, int [films]."""

    trust: Array
    verdict: Array


def against(probability: Array, vote: Array, share: float) -> Array:
    """Whether the vote speaks against the head's decision: its label is rarer among the nearest reports
    than in the index. bool [films].
    """
    with np.errstate(invalid="ignore"):
        return np.where(probability >= 0.5, vote < share, vote > share) & ~np.isnan(vote)


def parted(probability: Array, threshold: float | None) -> Array:
    """Whether the operating point calls a film other than one half does, for which trust was fitted. bool
    [films]; none is without a ``threshold``.
    """
    return (probability >= 0.5) != (probability >= (0.5 if threshold is None else threshold))


def verdict_of(
    rule: TrustRule,
    probability: float,
    vote: float,
    share: float,
    percentile: float | None = None,
    film: str | None = None,
    threshold: float | None = None,
) -> Judgement:
    """The verdict of one film. ``vote`` is the nearest reports' (NaN without any), ``share`` that of abnormal
    in the index.

    ``percentile`` is that of the best report's similarity; ``film`` what the film itself was judged, ``warn``
    or ``reject``; ``threshold`` the operating point that calls a film abnormal.
    """
    one, voted = np.array([probability]), np.array([vote])
    trust = float(trust_in(one)[0])
    told = round(trust, 4)
    if film == "reject":
        return Judgement(ABSTAIN, "the film was rejected", told, rule.validation[ABSTAIN])
    split = bool(parted(one, threshold)[0])
    doubt = _doubt(split, bool(against(one, voted, share)[0]), percentile, film)
    verdict = VERDICTS[int(rule.verdicts(np.array([trust]), np.array([doubt is not None]))[0])]
    lowered = rule.confident is not None and trust >= rule.confident and verdict == UNCERTAIN
    return Judgement(
        verdict, doubt if doubt and lowered else _why(rule, verdict), told, rule.validation[verdict]
    )


def _doubt(split: bool, opposed: bool, percentile: float | None, film: str | None) -> str | None:
    """What speaks against being confident, apart from trust itself."""
    if film == "warn":
        return "the film itself is in doubt"
    if split:
        return "its probability lies between one half and the operating point"
    if percentile is not None and percentile < RARE:
        return "less like any report than 99 % of the validation films"
    return "the nearest reports speak against it" if opposed else None


def _why(rule: TrustRule, verdict: str) -> str:
    worth = rule.validation[verdict]
    how = {CONFIDENT: "this sure", UNCERTAIN: "about as sure", ABSTAIN: "this unsure"}[verdict]
    if worth.risk is None:
        return f"no validation film was {how}"
    wrong = round(worth.risk * worth.films)
    verb = "was" if wrong < 2 else "were"
    return f"{wrong or 'none'} of {worth.films} validation films {how} {verb} judged wrongly"


VOTERS = 10  # reports that a verdict asks, whatever -k shows
TEMPERATURE = 0.05  # where a bundle brings none: what Open-I has, rounded


def weights(scores: Array, temperature: float) -> Array:
    """Weights float [..., k] that sum to 1, of cosines float [..., k]; a score of minus infinity (no
    report) weighs nothing.
    """
    scores = np.asarray(scores, np.float64)
    best = scores.max(axis=-1, keepdims=True)
    weight = np.exp((scores - np.where(np.isfinite(best), best, 0.0)) / temperature)
    total = weight.sum(axis=-1, keepdims=True)
    return np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)


def abnormal_share(labels: Array, weight: Array) -> Array:
    """Weighted share of abnormal among the labelled, float [...]; labels int [..., k], 0 normal, 1 abnormal.

    NaN without any.
    """
    labelled = (weight * ((labels == 0) | (labels == 1))).sum(axis=-1)
    return np.divide(
        (weight * (labels == 1)).sum(axis=-1),
        labelled,
        out=np.full(np.shape(labelled), np.nan),
        where=labelled > 0,
    )


def vote_of(scores: Array, labels: Array, temperature: float) -> Array:
    """The vote of the nearest reports: the weighted share of abnormal among the labelled, float [...]; NaN
    where none has a label.

    ``scores`` float [..., k] cosines, minus infinity where there are fewer; ``labels`` int [..., k], 0
    normal, 1 abnormal, -1 unknown.
    """
    if not np.shape(scores)[-1]:
        return np.full(np.shape(scores)[:-1], np.nan)
    return abnormal_share(labels, weights(scores, temperature))


def fitted_temperature(scores: Array) -> float | None:
    """The temperature of float [films, k] falling cosines, minus infinity where there are fewer; None
    without two reports to compare.
    """
    last = np.where(np.isfinite(scores), scores, np.inf).min(axis=1, initial=np.inf)
    gap = (scores[:, 0] - last)[np.isfinite(scores).sum(axis=1) > 1]
    return max(round(float(np.median(gap)), 4), 0.001) if len(gap) else None
