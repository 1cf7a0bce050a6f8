"""Film or text in, ranked reports out: a bundle opened for queries, without torch and without a network.

with Retriever.open("bundle") as retriever:
    for hit in retriever.query("film.png", k=5).hits:
        print(hit.score, hit.label, hit.impression)
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from ..bundle.bundle import Bundle
from ..errors import MtclipError, NothingToExplain, WrongOption, not_among
from ..films.film import FilmSource
from ..folders import user_path
from ..index.filters import Filters
from ..index.index import SearchChoice
from ..inference.device import choose
from ..inference.encoders import TextEncoder, open_text_encoder
from ..inference.precision import ASKED, Precision
from ..inference.preprocessing import RENDERS
from .answers import Answerer
from .intake import Intake
from .opening import Opened, OpenOptions, open_parts
from .results import Clock, QueryResult
from .study_mean import EmbeddedFilm, grouped

if TYPE_CHECKING:
    from ..evidence.heat_map import Explained, Target


class Retriever:
    """An open bundle. Use ``Retriever.open``; close it, or use it as a context manager."""

    def __init__(self, opened: Opened, *, render: str | None, show_ids: bool, evidence: bool, keep_films: bool):
        self.bundle, self.device, self.fusion = opened.bundle, opened.films.device, opened.fusion
        self.filters, self._passing = opened.options.filters, opened.passing
        self._precision = opened.precision
        self._films, self._store, self._index = opened.films, opened.store, opened.index
        self._text: tuple[TextEncoder, Precision] | None = None
        self._intake = Intake(opened.films, opened.admission, render, show_ids, keep_films)
        self._answers = Answerer(opened, evidence)

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        exact: bool | None = None,
        fuse: str = "off",
        filters: Filters | None = None,
        queries: int | None = None,
        render: str | None = None,
        show_ids: bool = False,
        evidence: bool = True,
        keep_films: bool = False,
        force: bool = False,
        invert: bool = False,
    ) -> "Retriever":
        """Open a bundle for queries. Every file read is hashed first.

        ``exact``: compare with every report (True), use the graph (False), or what is better (None). ``filters`` hold for every query;
        ``queries`` tells how many there will be, where that is known: a large graph is not loaded for
        one. ``fuse``: off, auto (the weight chosen when the bundle was exported) or a weight; how much the films of reports count.
        ``render``: how DICOM films become grey (voi, percentile, minmax), None for the bundle's own way. ``show_ids``: answers say whose
        film it was.
        ``evidence``: gather what an answer rests on; ``keep_films``: keep each film's pixels with its answer.
        ``force`` answers films that are rejected all the same; ``invert`` takes every film's grey values the other way round.

        Errors: NotABundle, ArtefactDamaged, ArtefactIncompatible, DeviceUnavailable, WrongOption, ExtraMissing.
        """
        if render is not None and render not in RENDERS:
            raise not_among("render", render, RENDERS)
        options = OpenOptions(device, precision, exact, fuse, filters or Filters(), queries, force, invert)
        path = user_path(bundle)
        while True:
            found = Bundle.open(path)
            try:
                opened = open_parts(found, options)
            except Exception:
                # A writer may have published the next generation in between and removed ours, before or after its hash was checked.
                if Bundle.open(path).identity == found.identity:
                    raise
            else:
                return cls(opened, render=render, show_ids=show_ids, evidence=evidence, keep_films=keep_films)

    def query(self, film: str | FilmSource, k: int = 5, *, name: str | None = None) -> QueryResult:
        """The k reports nearest to one film, given as a path or as the file's bytes. Errors: FilmUnreadable, WrongOption."""
        result = next(self.query_many([(name or _name(film), film)], k))
        if isinstance(result, MtclipError):
            raise result
        return result

    def query_many(self, films: Iterable[tuple[str, str | FilmSource | MtclipError]], k: int = 5) -> Iterator[QueryResult | MtclipError]:
        """Many films, each with the name it is shown under, in order; one that cannot be read gives its error in its place.

        An error given in place of a film is handed through.
        """
        _check_k(k)
        for film in self._intake.see(films):
            yield film if isinstance(film, MtclipError) else self._answers.film(film, k)

    def query_studies(self, films: Iterable[tuple[str, str | FilmSource | MtclipError]], k: int = 5) -> Iterator[QueryResult | MtclipError]:
        """The films of each study answered as one (``by_study``), in the order of their first films.

        Films that cannot be read give their errors before; a study without a frontal film gives an error.
        """
        _check_k(k)
        seen: list[EmbeddedFilm] = []
        for film in self._intake.see(films):
            if isinstance(film, MtclipError):
                yield film
            else:
                seen.append(film)
        for study in grouped(seen):
            yield self._answers.study(study, k)

    def query_text(self, text: str, k: int = 5) -> QueryResult:
        """The k reports and the k films nearest to a text. Errors: TextTowerMissing, WrongOption."""
        _check_k(k)
        self._text_encoder()
        clock = Clock()
        vector, precision = self._embedded_text(text)
        clock.lap("encode")
        return self._answers.text(text, vector, precision, k, clock)

    def explain(
        self,
        film: str | FilmSource,
        answer: QueryResult,
        *,
        text: str | None = None,
        name: str | None = None,
    ) -> "Explained":
        """A map of where a film resembles the first report of its ``answer``, or a text. Writes nothing.

        Errors: WrongOption, NothingToExplain (the answer has no report), MapMissing, TextTowerMissing, FilmUnreadable.
        """
        return self.explain_grey(self._intake.read(film, name or _name(film)).grey, answer, text=text)

    def explain_grey(self, grey: np.ndarray, answer: QueryResult, *, text: str | None = None) -> "Explained":
        """The same of a film that is decoded, uint8 [height, width]."""
        from ..evidence import heat_map
        from ..evidence.place_graph import Places

        places = Places.open(self.bundle)
        target = self._text_target(text) if text is not None else self._report_target(answer)
        pixels = self._films.prepare(grey)
        return heat_map.Explained(target, heat_map.place_map(places, self._films.features(pixels), target), grey)

    def _report_target(self, answer: QueryResult) -> "Target":
        from ..evidence.heat_map import Target

        if not answer.reports:
            raise NothingToExplain(f"{answer.value}: no report was found, so there is nothing to explain")
        best = answer.reports[0]
        vector = self._index.vectors[self._store.row_of([best.report_id])[best.report_id]]
        return Target(vector, self._index.common, best.report_id, best.rank)

    def _text_target(self, text: str) -> "Target":
        from ..evidence.heat_map import Target

        return Target(self._embedded_text(text)[0], self._index.common)

    def nearest(self, vector: np.ndarray, k: int) -> tuple[int, ...]:
        """Rows of the k reports nearest to a unit vector float32 [dim]; filters have no part in it."""
        return self._index.search_reports(vector, k, self._store.report_ids).rows

    @property
    def force(self) -> bool:
        """Whether films that are rejected are answered all the same."""
        return self._intake.force

    @property
    def precision(self) -> str:
        """The precision that runs."""
        return self._precision.name

    @property
    def fuse_note(self) -> str | None:
        """One line where films do not count though that was asked for."""
        return f"without films: {self.fusion.why}" if not self.fusion.weight and self.fusion.why != "not asked for" else None

    @property
    def search(self) -> SearchChoice:
        """What searches the reports, and why."""
        return self._index.choice

    @property
    def search_note(self) -> str | None:
        """One line where search is exact because the graph cannot be used."""
        choice = self._index.choice
        return f"searching exactly: {choice.why}" if choice.fallback else None

    @property
    def filter_note(self) -> str | None:
        """One line where a filter leaves nothing to find."""
        return "no report of this bundle passes the filter" if self._passing and not len(self._passing.reports) else None

    def close(self) -> None:
        self._store.close()

    def __enter__(self) -> "Retriever":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _embedded_text(self, text: str) -> tuple[np.ndarray, Precision]:
        encoder, precision = self._text_encoder()
        if not text.strip():
            raise WrongOption("--text is empty", "expected some words, e.g. 'right pleural effusion'")
        return encoder.encode([text])[0], precision

    def _text_encoder(self) -> tuple[TextEncoder, Precision]:
        if self._text is None:
            asked = self.precision if self._precision.why == ASKED else "auto"
            self._text = open_text_encoder(self.bundle, choose(self.device.used), asked)
        return self._text


def _check_k(k: int) -> None:
    if k < 1:
        raise WrongOption(f"-k {k}", "expected 1 or more")


def _name(film: str | FilmSource) -> str:
    return str(film) if isinstance(film, str | Path) else "-"
