"""What a search finds, as it is shown: reports and films with rank, score and what the store says of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isnan
from typing import Any

from .filters import Filters
from .index import Hits
from .library import Library


@dataclass(frozen=True)
class ReportHit:
    """A distinct report. ``score`` is the cosine of the embeddings, None where words alone found it;
    ``studies`` counts the twins that share the text.

    ``study_ids`` are the first ten, ``study_dates`` theirs, ``date`` is the last of all, None where none is
    told; ``finding_labels``: what its studies name and its words do not deny.
    ``percentile``: how many of a hundred validation films had a best report that was less like them.
    ``rank_by``: what put it in its place, None where its score alone did. ``named``: of the findings that a
    typed text names, by name: affirmed, denied, or None where the report does not say.
    """

    rank: int
    score: float | None
    report_id: str
    label: str
    studies: int
    study_ids: tuple[str, ...]
    findings: str
    impression: str
    text: str
    percentile: float | None = None
    named: Mapping[str, str | None] | None = None
    rank_by: Mapping[str, Any] | None = None
    date: str | None = None
    study_dates: tuple[str | None, ...] = ()
    finding_labels: tuple[str, ...] = ()

    def at(self, rank: int) -> "ReportHit":
        """The same report in another place, which its score gives it."""
        return replace(self, rank=rank, rank_by=None)

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
            "study_dates": list(self.study_dates),
            "date": self.date,
            "finding_labels": list(self.finding_labels),
            "findings": self.findings,
            "impression": self.impression,
            "text": self.text,
            "named": None if self.named is None else dict(self.named),
            "rank_by": None if self.rank_by is None else dict(self.rank_by),
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


def report_hits(library: Library, hits: Hits, filters: Filters) -> tuple[ReportHit, ...]:
    """Found report rows with what the library says of them; of their studies those that pass the filters."""
    stored = library.reports(hits.rows, filters)
    named: dict[int, dict[str, str]] = {}
    for row, name in library.findings(hits.rows, filters):
        named.setdefault(row, {}).setdefault(name.lower(), name)
    return tuple(
        ReportHit(
            rank,
            None if isnan(score) else score,
            r.report_id,
            r.label,
            r.studies,
            r.study_ids,
            r.findings,
            r.impression,
            r.text,
            date=r.date or None,
            study_dates=tuple(date or None for date in r.study_dates),
            finding_labels=tuple(named.get(r.row, {}).values()),
        )
        for rank, (score, r) in enumerate(zip(hits.scores, stored, strict=True), 1)
    )


def film_hits(library: Library, hits: Hits) -> tuple[FilmHit, ...]:
    """Found film rows with what the library says of them."""
    return tuple(
        FilmHit(rank, score, film.study_id, film.name, film.label)
        for rank, (score, film) in enumerate(zip(hits.scores, library.films(hits.rows), strict=True), 1)
    )
