"""Evidence for the answer to one query: from the index, the report store, and what validation films got."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from ..index.filters import FilteredRows, Filters
from ..index.hits import ReportHit
from ..index.index import Hits, Index
from ..index.report_store import ReportStore
from ..studies import LABELS
from .calibration import Abnormal
from .evidence import Agreement, Contrast, Evidence, FindingVote, SimilarityFacts
from .validation_reference import ValidationReference
from .verdict import VOTERS, Judgement, abnormal_share, verdict_of, weights

_CODES = {"normal": 0, "abnormal": 1, "unknown": -1}
_TEXT = "a text has neither a film's probability nor its similarities"
_FUSED = "with --fuse a score is not a cosine"


class Gatherer:
    """Gathers evidence for one open bundle. What the whole index has is asked once and kept.

    ``shown`` makes hits of found rows; ``fused``: scores of hits are not plain cosines.
    """

    def __init__(
        self,
        index: Index,
        store: ReportStore,
        standards: ValidationReference,
        filters: Filters,
        passing: FilteredRows | None,
        fused: bool,
        shown: Callable[[Hits], tuple[ReportHit, ...]],
    ):
        self._index, self._store, self._standards = index, store, standards
        self._filters, self._passing, self._fused, self._shown = filters, passing, fused, shown
        self._naming: dict[str, float] = {}

    def needed(self, k: int) -> int:
        """How many reports to search for at once, of which k are shown: where nothing is filtered, the voters are the first of them."""
        return max(k, VOTERS) if self._votes_are_hits else k

    def of_film(self, vector: np.ndarray, found: Hits, hits: Sequence[ReportHit], abnormal: Abnormal | None, film: str | None) -> Evidence:
        """``hits`` are the first of those ``found``; ``film`` is what the film itself was judged (warn, reject), if anything judged it."""
        rows = found.rows[: len(hits)]
        decision = None if abnormal is None else "abnormal" if abnormal.probability >= 0.5 else "normal"
        contrast = Contrast(*(hit and replace(hit, percentile=self._percentile(hit.score)) for hit in self._contrasted(vector, hits)))
        return Evidence(
            decision, self._judged(vector, found, abnormal, film), self._similarity(hits), self._agreement(rows, hits), contrast
        )

    def of_text(self, vector: np.ndarray, rows: Sequence[int], hits: Sequence[ReportHit]) -> Evidence:
        """A text has agreement and contrast only."""
        similarity = SimilarityFacts(None, None, _TEXT)
        contrast = Contrast(*self._contrasted(vector, hits))
        return Evidence(None, Judgement(None, _TEXT), similarity, self._agreement(rows, hits), contrast)

    def percentile(self, score: float) -> float | None:
        """Of a film's hit; None where there is nothing to compare it with."""
        return None if self._fused else self._percentile(score)

    def _percentile(self, cosine: float) -> float | None:
        known = self._standards.similarities
        return known.percentile(cosine) if known else None

    def _similarity(self, hits: Sequence[ReportHit]) -> SimilarityFacts:
        known = self._standards.similarities
        if known is None:
            return SimilarityFacts(None, None, self._standards.similarities_why)
        if self._fused or not hits:
            return SimilarityFacts(None, known.films, _FUSED if self._fused else "no report was found")
        return SimilarityFacts(known.percentile(hits[0].score), known.films, "")

    def _judged(self, vector: np.ndarray, found: Hits, abnormal: Abnormal | None, film: str | None) -> Judgement:
        """By the ten nearest reports, whatever was asked for: of all but an excluded patient's."""
        rule = self._standards.rule
        if rule is None or abnormal is None:
            return Judgement(None, self._standards.rule_why)
        if not self._votes_are_hits:
            found = self._index.search_reports(vector, VOTERS, self._store.report_ids, self._voters)
        percentile = self._percentile(found.scores[0]) if found.rows else None
        return verdict_of(rule, abnormal.probability, self._vote(found.first(VOTERS)), self._abnormal_share, percentile, film)

    def _vote(self, found: Hits) -> float:
        """The share of abnormal among some reports, by weight; NaN where none has a label."""
        if not found.rows:
            return float("nan")
        labels = self._store.labels(found.rows)
        codes = np.array([_CODES[labels[row]] for row in found.rows], int)
        return float(abnormal_share(codes, weights(np.array(found.scores), self._standards.temperature)))

    @property
    def _votes_are_hits(self) -> bool:
        return self._passing is None and not self._fused

    @cached_property
    def _voters(self) -> np.ndarray | None:
        excluded = self._filters.exclude_patient
        if not excluded:
            return None
        only = Filters(exclude_patient=excluded)
        return self._passing.reports if self._passing and self._filters == only else self._store.allowed(only, None).reports

    @cached_property
    def _labelled(self) -> dict[str, np.ndarray]:
        """The rows of each label, of those that pass the filters."""
        rows = {label: self._store.labelled(label) for label in LABELS}
        return {label: self._among_passing(found) for label, found in rows.items()}

    @cached_property
    def _counts(self) -> dict[str, int]:
        """How many reports of each label pass the filters; without any, no row is read for it."""
        if self._passing is None:
            return {label: self._store.count_labelled(label) for label in LABELS}
        return {label: len(rows) for label, rows in self._labelled.items()}

    @cached_property
    def _abnormal_share(self) -> float:
        """Of the labelled reports of the whole index."""
        return self._store.abnormal_share()

    @property
    def _pool(self) -> int:
        """How many reports are searched."""
        return len(self._passing.reports) if self._passing else self._index.reports

    def _among_passing(self, rows: np.ndarray) -> np.ndarray:
        return np.intersect1d(rows, self._passing.reports, assume_unique=True) if self._passing else rows

    def _agreement(self, rows: Sequence[int], hits: Sequence[ReportHit]) -> Agreement | None:
        if not hits:
            return None
        weight = weights(np.array([hit.score for hit in hits]), self._standards.temperature)
        labels = {label: round(float(weight[[hit.label == label for hit in hits]].sum()), 4) for label in LABELS}
        everywhere = {label: round(count / self._pool, 4) for label, count in self._counts.items()}
        return Agreement(tuple(round(float(w), 4) for w in weight), labels, everywhere, self._findings(rows, weight))

    def _findings(self, rows: Sequence[int], weight: np.ndarray) -> tuple[FindingVote, ...]:
        """Votes for findings, whose names are compared without regard to capitals; two studies of a report vote once."""
        weight_of = dict(zip(rows, weight.tolist(), strict=True))
        named: dict[str, tuple[str, set[int]]] = {}
        for row, name in self._store.findings(rows, self._filters.where()):
            named.setdefault(name.lower(), (name, set()))[1].add(row)
        votes = [
            FindingVote(name, len(found), round(sum(weight_of[row] for row in found), 4), self._share_naming(name))
            for name, found in named.values()
        ]
        return tuple(sorted(votes, key=lambda vote: (-vote.share, vote.share_in_index, vote.finding)))

    def _share_naming(self, finding: str) -> float:
        """The share of the reports searched that name a finding."""
        key = finding.lower()
        if key not in self._naming:
            self._naming[key] = round(len(self._among_passing(self._store.naming(finding, self._filters.where()))) / self._pool, 6)
        return self._naming[key]

    def _contrasted(self, vector: np.ndarray, hits: Sequence[ReportHit]) -> list[ReportHit | None]:
        return [self._nearest(vector, label, hits) for label in ("abnormal", "normal")]

    def _nearest(self, vector: np.ndarray, label: str, hits: Sequence[ReportHit]) -> ReportHit | None:
        """The nearest report with a label: among the hits if it is there, which come by cosine; else by a search of its own."""
        first = next((hit for hit in hits if hit.label == label), None)
        if first is not None and not self._fused:
            return replace(first, rank=1)
        found = self._shown(self._index.search_reports(vector, 1, self._store.report_ids, self._labelled[label]))
        return found[0] if found else None
