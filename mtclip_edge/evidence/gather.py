"""Evidence for the answer to one query, computed from what the index said and what validation films got.

Searches nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..index.hits import ReportHit
from ..studies import LABELS
from .calibration import Abnormal
from .evidence import Agreement, Contrast, Evidence, FindingVote, SimilarityFacts
from .validation_reference import ValidationReference
from .verdict import Judgement, verdict_of, vote_of, weights

_TEXT = "a text has neither a film's probability nor its similarities"
_BOTH = "validation films were asked without a text"
_FUSED = "with --fuse a score is not a cosine"


@dataclass(frozen=True)
class Voters:
    """The ten nearest reports that a verdict asks: cosines, falling, and labels as ``LABEL_CODES``.

    ``abnormal_share`` is that of the labelled reports of the whole index.
    """

    scores: tuple[float, ...]
    labels: tuple[int, ...]
    abnormal_share: float


@dataclass(frozen=True)
class NamedFinding:
    """A finding that some of the hits name: their places among the hits, and the share of the reports
    searched that name it.
    """

    name: str
    hits: frozenset[int]
    share_in_index: float


@dataclass(frozen=True)
class Neighbours:
    """All that an index was asked for one query.

    ``label_shares`` are of the distinct reports searched; ``nearest`` holds the nearest report of a label,
    None where there is none; ``voters`` is None where no verdict is wanted; ``best`` is the cosine of the
    nearest report, None where there is none; ``fused``: scores of hits are not plain cosines.
    """

    hits: tuple[ReportHit, ...]
    findings: tuple[NamedFinding, ...]
    label_shares: Mapping[str, float]
    nearest: Mapping[str, ReportHit | None]
    voters: Voters | None
    best: float | None
    fused: bool


def evidence_of_film(
    around: Neighbours, reference: ValidationReference, abnormal: Abnormal | None, film: str | None
) -> Evidence:
    """``film`` is what the film itself was judged (warn, reject), if anything judged it."""
    probability = abnormal.probability if abnormal else None
    decision = None if probability is None else "abnormal" if probability >= 0.5 else "normal"
    nearest = [
        hit and replace(hit, percentile=reference.percentile(hit.score))
        for hit in (around.nearest["abnormal"], around.nearest["normal"])
    ]
    judgement = _judged(around.voters, reference, abnormal, film)
    return Evidence(
        decision, judgement, _similarity(around, reference), _agreement(around, reference), Contrast(*nearest)
    )


def evidence_of_text(around: Neighbours, reference: ValidationReference, with_film: bool = False) -> Evidence:
    """A text has agreement and contrast only, alone or together with a film."""
    why = _BOTH if with_film else _TEXT
    contrast = Contrast(around.nearest["abnormal"], around.nearest["normal"])
    similarity = SimilarityFacts(None, None, why)
    return Evidence(None, Judgement(None, why), similarity, _agreement(around, reference), contrast)


def with_percentiles(
    hits: Sequence[ReportHit], reference: ValidationReference, fused: bool
) -> tuple[ReportHit, ...]:
    """A film's hits with their percentiles among what validation films got; none where scores are not
    plain cosines.
    """
    return (
        tuple(hits)
        if fused
        else tuple(replace(hit, percentile=reference.percentile(hit.score)) for hit in hits)
    )


def _similarity(around: Neighbours, reference: ValidationReference) -> SimilarityFacts:
    similarities = reference.similarities
    if similarities is None:
        return SimilarityFacts(None, None, reference.similarities_why)
    if around.fused or around.best is None:
        return SimilarityFacts(None, similarities.films, _FUSED if around.fused else "no report was found")
    return SimilarityFacts(similarities.percentile(around.best), similarities.films, "")


def _judged(
    voters: Voters | None, reference: ValidationReference, abnormal: Abnormal | None, film: str | None
) -> Judgement:
    rule = reference.rule
    if rule is None or abnormal is None or abnormal.probability is None or voters is None:
        return Judgement(None, reference.rule_why)
    percentile = reference.percentile(voters.scores[0]) if voters.scores else None
    vote = float(vote_of(np.array(voters.scores), np.array(voters.labels, int), reference.temperature))
    share, point = voters.abnormal_share, abnormal.threshold
    return verdict_of(rule, abnormal.probability, vote, share, percentile, film, point)


def _agreement(around: Neighbours, reference: ValidationReference) -> Agreement | None:
    hits = around.hits
    if not hits:
        return None
    weight = weights(np.array([hit.score for hit in hits]), reference.temperature)
    labels = {label: round(float(weight[[hit.label == label for hit in hits]].sum()), 4) for label in LABELS}
    votes = [
        FindingVote(
            f.name, len(f.hits), round(float(sum(weight[place] for place in f.hits)), 4), f.share_in_index
        )
        for f in around.findings
    ]
    ordered = tuple(sorted(votes, key=lambda vote: (-vote.share, vote.share_in_index, vote.finding)))
    return Agreement(tuple(round(float(w), 4) for w in weight), labels, around.label_shares, ordered)
