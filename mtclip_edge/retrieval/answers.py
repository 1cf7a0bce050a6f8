"""An embedded film, study or text becomes an answer: the index is asked once for everything, then
evidence is computed from that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import MtclipError, StudyUnanswered
from ..evidence.calibration import Abnormal
from ..evidence.gather import (
    NamedFinding,
    Neighbours,
    Voters,
    evidence_of_film,
    evidence_of_text,
    with_percentiles,
)
from ..evidence.validation_reference import ValidationReference
from ..evidence.verdict import VOTERS
from ..index.filters import Filters
from ..index.hits import FilmHit, ReportHit, film_hits, report_hits
from ..index.index import Hits, SearchChoice, direction
from ..index.library import Scope
from ..index.rerank import (
    BY_COSINE,
    CANDIDATES,
    Owed,
    Placed,
    Weights,
    candidates,
    film_terms,
    head_terms,
    reordered,
    typed_ranking,
)
from ..inference.precision import Precision
from ..studies import LABEL_CODES, LABELS
from .intake import EmbeddedFilm
from .opening import Opened
from .results import BundleFacts, Clock, Input, QueryResult, StudyFilm

if TYPE_CHECKING:
    from .naming import Naming
    from .study_mean import StudyQuery


@dataclass(frozen=True)
class Found:
    """Reports for a film: ``nearest`` by cosine, ``hits`` in the order that is shown, and what put each of
    these in its place; ``placed`` is empty where the cosine alone did.
    """

    nearest: Hits
    hits: Hits
    placed: tuple[Placed | None, ...] = ()


class NeighbourSearch:
    """Asks one library for all that an answer needs."""

    def __init__(self, opened: Opened, evidence: bool):
        self._library, self._weights = opened.library, opened.weights
        self._filters, self._scope, self._evidence = opened.options.filters, opened.scope, evidence

    def reports(self, vector: np.ndarray, k: int) -> Hits:
        """At least the k nearest reports of those that pass the filters, by cosine.

        Where nothing is filtered, the voters are the first of them, so that many are searched at once.
        """
        k = max(k, VOTERS) if self._evidence and not self._filters else k
        return self._library.nearest(vector, k, self._scope)

    def of_film(self, vector: np.ndarray, k: int, abnormal: Abnormal | None, weights: Weights) -> Found:
        """At least the k best reports for a film of those that pass the filters, re-ranked by ``weights``."""
        if not weights.any:
            nearest = self.reports(vector, k)
            return Found(nearest, nearest)
        nearest = candidates(self._library, vector, k, weights, self._scope)
        first = nearest.first(CANDIDATES)
        labels = self._library.labels(first.rows)
        prior = 0.5 if weights.head.prior is None else weights.head.prior
        head = head_terms(
            np.array([LABEL_CODES[labels[row]] for row in first.rows], np.int64),
            prior if abnormal is None or abnormal.probability is None else abnormal.probability,
            prior,
            weights.head.weight,
        )
        films = film_terms(self._library, vector, first, weights.films.weight)
        return Found(nearest, *reordered(nearest, self._library.report_ids(first.rows), head, films))

    def shown(self, hits: Hits, placed: Sequence[Placed | Owed | None] = ()) -> tuple[ReportHit, ...]:
        """Hits as a person sees them, with what put each in its place; of their studies those that pass the
        filters.
        """
        shown = report_hits(self._library, hits, self._filters)
        if not placed:
            return shown
        return tuple(
            replace(hit, rank_by=part.to_dict() if part else None)
            for hit, part in zip(shown, placed, strict=False)
        )

    def films(self, vector: np.ndarray, k: int) -> tuple[FilmHit, ...]:
        """The k nearest films of those that pass the filters."""
        return self.shown_films(self._library.nearest_films(vector, k, self._scope))

    def shown_films(self, hits: Hits) -> tuple[FilmHit, ...]:
        """Films as a person sees them."""
        return film_hits(self._library, hits)

    def naming(self, text: str) -> "Naming | None":
        """What a typed text names, and which reports affirm or deny it; None where it names nothing, or where
        full-text search is not to be had.
        """
        from .naming import naming_of  # for texts only

        return naming_of(text, self._library)

    def by_naming(
        self, vector: np.ndarray | None, k: int, naming: "Naming"
    ) -> tuple[Hits, tuple[ReportHit, ...], tuple[FilmHit, ...]]:
        """The k reports, also as they are shown, and the k films that stand first for what is named; without
        a vector reports alone.
        """
        from .naming import TypedSearch

        search = TypedSearch(self._library, self._scope)
        hits, owed = search.reports(vector, k, naming)
        shown = naming.marked(hits, self.shown(hits, owed))
        films = () if vector is None else self.shown_films(search.films(vector, k, naming))
        return hits, shown, films

    def around(
        self,
        vector: np.ndarray,
        found: Found,
        shown: tuple[ReportHit, ...],
        verdict: bool,
        by_cosine: bool = True,
    ) -> Neighbours:
        """All else that evidence rests on.

        ``shown`` are the first hits of ``found``; ``verdict``: whether anybody votes; ``by_cosine``: whether
        hits of one label come by their cosines, as the head leaves them.
        """
        near = shown if by_cosine and not self.fused else ()
        nearest = {label: self._nearest(vector, label, near) for label in ("abnormal", "normal")}
        findings = self._findings(found.hits.rows[: len(shown)])
        voters = self._voters(vector, found.nearest) if verdict else None
        best = found.nearest.scores[0] if found.nearest.scores else None
        shares = self._label_shares if shown else {}
        return Neighbours(shown, findings, shares, nearest, voters, best, self.fused)

    @property
    def fused(self) -> bool:
        """Whether films count, so that scores of hits are not plain cosines."""
        return bool(self._weights.films.weight)

    def _voters(self, vector: np.ndarray, nearest: Hits) -> Voters:
        """The ten nearest reports by cosine, whatever was asked for: of all but an excluded patient's."""
        if self._filters:
            others = Scope(Filters(exclude_patient=self._filters.exclude_patient))
            nearest = self._library.nearest(vector, VOTERS, others)
        first = nearest.first(VOTERS)
        labels = self._library.labels(first.rows)
        return Voters(
            first.scores,
            tuple(LABEL_CODES[labels[row]] for row in first.rows),
            self._library.abnormal_share(),
        )

    @property
    def _label_shares(self) -> dict[str, float]:
        """Of the reports searched."""
        counts = {label: self._library.count(self._scope.of_label(label)) for label in LABELS}
        return {label: round(count / self._pool, 4) for label, count in counts.items()}

    @property
    def _pool(self) -> int:
        """How many reports are searched."""
        return self._library.count(self._scope)

    def _findings(self, rows: Sequence[int]) -> tuple[NamedFinding, ...]:
        """What the hits name, without regard to capitals; two studies of a report name a finding once."""
        place_of = {row: place for place, row in enumerate(rows)}
        named: dict[str, tuple[str, set[int]]] = {}
        for row, name in self._library.findings(rows, self._filters):
            named.setdefault(name.lower(), (name, set()))[1].add(place_of[row])
        return tuple(
            NamedFinding(name, frozenset(places), self._share_naming(name)) for name, places in named.values()
        )

    def _share_naming(self, finding: str) -> float:
        """The share of the reports searched that name a finding."""
        return round(self._library.count_naming(finding, self._scope) / self._pool, 6)

    def _nearest(self, vector: np.ndarray, label: str, hits: Sequence[ReportHit]) -> ReportHit | None:
        """The nearest report with a label: among ``hits``, which come by cosine, if it is there; else by a
        search of its own.
        """
        first = next((hit for hit in hits if hit.label == label), None)
        if first is not None:
            return first.at(1)
        nearest = self.shown(self._library.nearest(vector, 1, self._scope.of_label(label)))
        return nearest[0] if nearest else None


class Answerer:
    """Makes answers of what a retriever embedded."""

    def __init__(self, opened: Opened, evidence: bool):
        self._opened, self._device, self._reading = opened, opened.films.device, opened.library.reading
        self.search = NeighbourSearch(opened, evidence)
        self._evidence, self._references = evidence, dict[tuple[str, str], ValidationReference]()

    def _reference(self, seen: str) -> ValidationReference | None:
        """What queries of a view are measured by; None where no evidence is gathered."""
        if not self._evidence:
            return None
        manifest, searched = self._opened.measured
        if (seen, searched) not in self._references:
            self._references[seen, searched] = ValidationReference.of(manifest, seen, searched)
        return self._references[seen, searched]

    def film(self, film: EmbeddedFilm, k: int, typed: tuple[str, np.ndarray] | None = None) -> QueryResult:
        """The answer to one film, or to it and a text together: to the direction between their unit vectors,
        by cosine alone. Nothing is searched for what is rejected.
        """
        judged = film.input if film.answered else None
        text, vector = None, film.vector
        if typed is not None:
            text, vector = typed[0], direction(film.vector + typed[1])
        return self._reading(
            lambda: self._answer("film", film, vector, film.logit, judged, k, film.timings, text=text)
        )

    def near(self, vector: np.ndarray, k: int) -> tuple[ReportHit, ...]:
        """The k reports nearest to a unit vector of this bundle's space, float32 [dim]."""
        return self._reading(lambda: self.search.shown(self.search.reports(vector, k).first(k)))

    def study(self, study: "StudyQuery", k: int) -> QueryResult | MtclipError:
        """The answer to a study's mean; an error where none of its films is of a view that counts, a
        rejection where all are rejected.
        """
        first, shown = (study.counted or study.films)[0], study.to_films()
        if study.counted:
            vector, logit = study.mean
            return self._reading(
                lambda: self._answer("study", first, vector, logit, study.input, k, study.timings, shown)
            )
        if all(film.answered for film in study.films):
            count = len(study.films)
            what = f"{first.name}: no frontal film in its study of {count}"
            return StudyUnanswered(what, shown[0].reason, films=count)
        return self._reading(
            lambda: self._answer("study", first, first.vector, 0.0, None, k, study.timings, shown)
        )

    def text(
        self, text: str, vector: np.ndarray | None, precision: Precision, k: int, clock: Clock
    ) -> QueryResult:
        """The k reports and the k films nearest to a text, by what they say of the findings that it names.

        Without a ``vector`` it names some, and words alone order reports: nothing is told of likeness.
        """
        return self._reading(lambda: self._text(text, vector, precision, k, clock))

    def _text(
        self, text: str, vector: np.ndarray | None, precision: Precision, k: int, clock: Clock
    ) -> QueryResult:
        naming = self.search.naming(text)
        if vector is not None and naming is None:
            hits = self.search.reports(vector, k)
            shown, films = self.search.shown(hits.first(k)), self.search.films(vector, k)
        elif naming is not None:
            hits, shown, films = self.search.by_naming(vector, k, naming)
        else:
            raise AssertionError("a text without a vector names something")
        clock.lap("search")
        reference, evidence = self._reference("frontal"), None
        if reference and vector is not None:
            found = Found(hits, hits)
            around = self.search.around(vector, found, shown, verdict=False, by_cosine=naming is None)
            evidence = evidence_of_text(around, reference)
        clock.lap("evidence")
        return QueryResult(
            kind="text",
            value=text,
            filters=self._opened.filter_facts,
            image=None,
            device=self._device,
            bundle=self._facts(precision, hits.choice),
            abnormal=None,
            input=None,
            hits=(*shown, *films),
            timings_ms=clock.timings(self._opened.load_ms),
            ranking=typed_ranking(vector is not None, naming is not None),
            evidence=evidence,
        )

    def _answer(
        self,
        kind: str,
        film: EmbeddedFilm,
        vector: np.ndarray,
        logit: float,
        judged: Input | None,
        k: int,
        timings: dict[str, float],
        study: tuple[StudyFilm, ...] | None = None,
        text: str | None = None,
    ) -> QueryResult:
        """``judged`` is what was answered as a whole (of a study the gravest verdict), None for a
        rejection of ``film``.
        """
        clock, choice = Clock(timings), self._opened.library.choice
        seen = (judged.view if judged else None) or "frontal"
        weights = self._opened.weights_of(seen) if text is None else BY_COSINE
        abnormal = Abnormal.of(logit, self._opened.bundle.model, seen) if judged else None
        nothing = Hits((), (), choice)
        found = self.search.of_film(vector, k, abnormal, weights) if judged else Found(nothing, nothing)
        shown = self.search.shown(found.hits.first(k), found.placed)
        clock.lap("search")
        reference, evidence = self._reference(seen), None
        if reference and judged and text is not None:
            around = self.search.around(vector, found, shown, verdict=False)
            evidence = evidence_of_text(around, reference, with_film=True)
        elif reference and judged:
            around = self.search.around(vector, found, shown, verdict=bool(reference.rule and abnormal))
            evidence = evidence_of_film(around, reference, abnormal, judged.verdict)
            shown = with_percentiles(shown, reference, self.search.fused)
        clock.lap("evidence")
        return QueryResult(
            kind=kind,
            value=film.name,
            filters=self._opened.filter_facts,
            image=film.name,
            device=self._device,
            bundle=self._facts(self._opened.precision, found.hits.choice),
            abnormal=abnormal,
            input=judged or film.input,
            hits=shown,
            ranking=weights.to_dict(),
            timings_ms=clock.timings(self._opened.load_ms),
            study=study,
            evidence=evidence,
            grey=film.grey,
            text=text,
        )

    def _facts(self, precision: Precision, choice: SearchChoice) -> BundleFacts:
        bundle, library = self._opened.bundle, self._opened.library
        studies, reports, _ = library.counts
        return BundleFacts(
            identity=bundle.identity,
            demo=bundle.demo,
            backbone=bundle.model.backbone.name,
            precision=precision,
            studies=studies,
            reports=reports,
            search=choice,
            weights=self._opened.weights,
            library=library.facts,
        )
