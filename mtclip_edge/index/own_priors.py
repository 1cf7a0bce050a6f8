"""The reports of a film's own patient as an answer shows them, beside those of others."""

from dataclasses import dataclass
from typing import Any

from .hits import ReportHit


@dataclass(frozen=True)
class OwnPriors:
    """``hits`` are all reports of the patient, one for each study and in that study's words, the newest
    first, undated ones last. ``score`` is the cosine to what was asked; filters, ``k`` and percentiles have
    no part in them.

    ``left_out``: how many of them no other patient has: none of these is among the answer's hits. ``shared``:
    how many other patients have word for word too; as theirs they may be among the hits. Together they are
    all.
    """

    hits: tuple[ReportHit, ...]
    left_out: int
    shared: int

    @property
    def study_ids(self) -> frozenset[str]:
        """The patient's studies that have a report."""
        return frozenset(study for hit in self.hits for study in hit.study_ids)

    def to_dict(self) -> dict[str, Any]:
        """JSON of schema mtclip.query/2, ``own_priors``."""
        return {
            "left_out": self.left_out,
            "shared": self.shared,
            "hits": [hit.to_dict() for hit in self.hits],
        }
