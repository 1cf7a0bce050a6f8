"""What an answer rests on: a verdict, how the hits vote, the nearest report of either label.

``to_dict`` is the JSON of docs/reference/json.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..index.hits import ReportHit
from .verdict import Judgement


@dataclass(frozen=True)
class SimilarityFacts:
    """Where the first hit's similarity lies among the best of validation films, in percent;
    ``percentile`` None: ``why`` says why not.
    """

    percentile: float | None
    films: int | None
    why: str


@dataclass(frozen=True)
class FindingVote:
    """``share`` of the hits' weights that names a finding, ``reports`` how many of them,
    ``share_in_index`` of all that were searched.
    """

    finding: str
    reports: int
    share: float
    share_in_index: float

    @property
    def lift(self) -> float | None:
        return round(self.share / self.share_in_index, 2) if self.share_in_index else None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "lift": self.lift}


@dataclass(frozen=True)
class Agreement:
    """How the hits vote. ``weights`` are theirs in their order and sum to 1; labels and findings are shares
    of them.

    ``labels_in_index`` are shares of the distinct reports that were searched; ``findings`` come by share,
    then by lift.
    """

    weights: tuple[float, ...]
    labels: Mapping[str, float]
    labels_in_index: Mapping[str, float]
    findings: tuple[FindingVote, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "weights": list(self.weights),
            "labels": dict(self.labels),
            "labels_in_index": dict(self.labels_in_index),
            "findings": [vote.to_dict() for vote in self.findings],
        }


@dataclass(frozen=True)
class Contrast:
    """The nearest abnormal and the nearest normal report of all that pass the filters, None where there
    is none. Each has rank 1.
    """

    abnormal: ReportHit | None
    normal: ReportHit | None

    @property
    def margin(self) -> float | None:
        """How much nearer the abnormal one is (below 0: the normal one)."""
        abnormal, normal = (hit.score if hit else None for hit in (self.abnormal, self.normal))
        return None if abnormal is None or normal is None else round(abnormal - normal, 4) + 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "abnormal": self.abnormal and self.abnormal.to_dict(),
            "normal": self.normal and self.normal.to_dict(),
            "margin": self.margin,
        }


@dataclass(frozen=True)
class Evidence:
    """``judgement`` of the normal/abnormal decision, ``decision`` (None for a text), ``similarity``,
    ``agreement`` and ``contrast``.

    ``agreement`` is None without hits.
    """

    decision: str | None
    judgement: Judgement
    similarity: SimilarityFacts
    agreement: Agreement | None
    contrast: Contrast

    def to_dict(self) -> dict[str, Any]:
        judgement = self.judgement
        return {
            "decision": self.decision,
            "verdict": judgement.verdict,
            "why": judgement.why,
            "trust": judgement.trust,
            "validation": judgement.validation and asdict(judgement.validation),
            "similarity": asdict(self.similarity),
            "agreement": self.agreement and self.agreement.to_dict(),
            "contrast": self.contrast.to_dict(),
        }
