"""What validation films got in a bundle, as its manifest holds it: the measure for what a new film gets."""

from dataclasses import dataclass

import numpy as np

from ..bundle.manifest import Manifest
from ..index.library import OF_SITES
from .verdict import TEMPERATURE, TrustRule

Array = np.ndarray
LEAST = 20  # validation films; of fewer no percentile is told
_CHANGED = "the reports have changed since validation films were compared with them"
_OF_SITES = "validation films were compared with the reports of each site alone"
_NOT_OF = {
    "lateral": "measured on frontal films only: too few lateral validation films to say it of a lateral",
    "both": "measured on frontal films only: too few validation studies of both views to say it of a study",
}
_OLD = "the bundle was exported before this was measured: export it again"


@dataclass(frozen=True)
class Similarities:
    """How alike validation films and their best reports were: 101 quantiles (0 % to 100 %) of the best
    cosine, own patients left out.
    """

    films: int
    best: tuple[float, ...]

    @classmethod
    def fit(cls, best: Array) -> "Similarities | None":
        """From the best cosine of each film, float [films]. None of fewer than 20."""
        if len(best) < LEAST:
            return None
        return cls(len(best), tuple(round(float(q), 4) for q in np.quantile(best, np.linspace(0, 1, 101))))

    def percentile(self, score: float) -> float:
        """The share of validation films, in percent, whose best report was less like them than this;
        between quantiles interpolated.
        """
        return round(float(np.interp(score, self.best, np.arange(101.0))), 1)


@dataclass(frozen=True)
class ValidationReference:
    """What a query is measured by.

    ``similarities`` and ``rule`` are None where ``similarities_why`` and ``rule_why`` say so.
    """

    temperature: float
    similarities: Similarities | None
    similarities_why: str
    rule: TrustRule | None
    rule_why: str

    @classmethod
    def of(
        cls, manifest: Manifest, seen: str = "frontal", searched: str | None = None
    ) -> "ValidationReference":
        """Those of a bundle for queries of a view: ``frontal``, ``lateral`` or ``both`` together. Each has
        its own: what frontal films got is no measure for a lateral. ``searched`` stands for the reports that
        are searched, None for the bundle's own.

        What was measured against reports that are not (all) there any more is not told: a wrong number is
        worse.
        """
        record = manifest.evidence_of(seen)
        if record is None:
            why = _OLD if seen == "frontal" else _NOT_OF[seen]
            return cls(TEMPERATURE, None, why, None, why)
        changed, best = record.searched != (searched or manifest.searched), record.best_scores
        similarities = Similarities(record.films, best) if best and not changed else None
        ended = _OF_SITES if searched == OF_SITES else _CHANGED
        why = ended if best and changed else record.best_scores_why
        return cls(
            record.temperature or TEMPERATURE, similarities, why, TrustRule.of(record.trust), record.trust_why
        )

    def percentile(self, cosine: float | None) -> float | None:
        """Where a best report's cosine lies among those of validation films, in percent; None where
        nothing is known of them.
        """
        return self.similarities.percentile(cosine) if self.similarities and cosine is not None else None
