"""What a search finds, as it is shown: reports and films with rank, score and what the store says of them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ReportHit:
    """A distinct report. ``score`` is the cosine of the embeddings; ``studies`` counts the twins that share the text.

    ``percentile``: how many of a hundred validation films had a best report that was less like them.
    """

    rank: int
    score: float
    report_id: str
    label: str
    studies: int
    study_ids: tuple[str, ...]
    findings: str
    impression: str
    text: str
    percentile: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "rank": self.rank,
            "kind": "report",
            "score": self.score,
            "percentile": self.percentile,
            "report_id": self.report_id,
            "label": self.label,
            "studies": self.studies,
            "study_ids": list(self.study_ids),
            "findings": self.findings,
            "impression": self.impression,
            "text": self.text,
        }


@dataclass(frozen=True)
class FilmHit:
    """A film of the index, by its path in the source; no pixels are stored."""

    rank: int
    score: float
    study_id: str
    film: str
    label: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "rank": self.rank,
            "kind": "film",
            "score": self.score,
            "study_id": self.study_id,
            "film": self.film,
            "label": self.label,
        }


Hit = ReportHit | FilmHit
