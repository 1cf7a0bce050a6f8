"""The patient's own reports beside those of others: in a list of their own, by date, and nowhere else.

Loaded only where somebody asks for them.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import MtclipError, WrongOption
from ..index.filters import Filters
from ..index.hits import ReportHit
from ..index.index import direction
from ..index.library import Scope
from ..index.own_priors import OwnPriors
from .answers import Answerer
from .intake import EmbeddedFilm
from .opening import Opened
from .results import QueryResult

if TYPE_CHECKING:
    from .study_mean import StudyQuery


class OwnPriorsAnswerer:
    """Answers as others do, with one patient's studies left out and told apart.

    Errors: WrongOption for an id that is no text, Refused for one that no patient or study has.
    """

    def __init__(self, opened: Opened, evidence: bool, name: str, filters: Filters):
        if not isinstance(name, str):
            raise WrongOption(f"own_priors of type {type(name).__name__}", "expected an id")
        self._own, self._library = opened.library.reports_of(name), opened.library
        barred = dict.fromkeys((*filters.exclude_patient, self._own.patient))
        self._others = Answerer(opened.filtered(replace(filters, exclude_patient=tuple(barred))), evidence)
        # What was asked for is told, not who the patient is: a study's id may have been given.
        self._asked = replace(opened, options=replace(opened.options, filters=filters)).filter_facts

    def film(self, film: EmbeddedFilm, k: int, typed: tuple[str, np.ndarray] | None = None) -> QueryResult:
        """The answer to one film, or to it and a text together."""
        vector = film.vector if typed is None else direction(film.vector + typed[1])
        return self._library.reading(
            lambda: self._told(self._others.film(film, k, typed), vector if film.answered else None)
        )

    def study(self, study: "StudyQuery", k: int) -> QueryResult | MtclipError:
        """The answer to a study's mean, or why it has none."""
        answer = self._others.study(study, k)
        if isinstance(answer, MtclipError):
            return answer
        return self._told(answer, study.mean[0] if study.counted else None)

    def near(self, vector: np.ndarray, k: int) -> tuple[ReportHit, ...]:
        """The k reports of others nearest to a unit vector, float32 [dim]."""
        return self._others.near(vector, k)

    def own(self, vector: np.ndarray) -> OwnPriors:
        """The patient's own reports, with their cosines to a unit vector, float32 [dim]."""
        rows = tuple(sorted({report.row for report in self._own.reports}))
        found = self._library.nearest(vector, len(rows), Scope(rows=rows))
        score_of = dict(zip(found.rows, found.scores, strict=True))
        hits = tuple(
            ReportHit(
                rank=rank,
                score=score_of.get(report.row),  # None: it went meanwhile, or has no vector
                report_id=report.report_id,
                label=report.label,
                studies=1,
                study_ids=(report.study_id,),
                findings=report.findings,
                impression=report.impression,
                text=report.text,
                date=report.date,
                study_dates=(report.date,),
                finding_labels=report.finding_labels,
            )
            for rank, report in enumerate(self._own.reports, 1)
        )
        return OwnPriors(hits, len(hits) - self._own.shared, self._own.shared)

    def _told(self, answer: QueryResult, vector: np.ndarray | None) -> QueryResult:
        """Without a ``vector`` the film was rejected: nothing is compared with it."""
        own = None if vector is None else self.own(vector)
        return replace(answer, filters=self._asked, own_priors=own)
