"""Film or text in, ranked reports out: a bundle opened for queries, without torch and without a network.

with Retriever.open("bundle") as retriever:
    for hit in retriever.query("film.png", k=5).hits:
        print(hit.score, hit.label, hit.impression)
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle.demo import WORD, resolve
from ..errors import MtclipError, WrongOption, not_among
from ..folders import user_path
from ..index.filters import Filters, check_filters
from ..index.hits import ReportHit
from ..inference.preprocessing import RENDERS
from .answers import Answerer
from .intake import (
    EmbeddedFilm,
    GivenFilm,
    Intake,
    Named,
    as_direction,
    check_k,
    check_many,
    decode_workers,
    name_of,
    named,
    or_raise,
    source_of,
)
from .opening import OpenBundle, Opened, OpenOptions, open_now
from .results import Clock, QueryResult

if TYPE_CHECKING:
    from ..evidence.heat_map import Explained
    from ..index.own_priors import OwnPriors
    from .own_priors import OwnPriorsAnswerer
    from .study_mean import StudyQuery
    from .typed_text import TextReader

Seen = Iterator[EmbeddedFilm | MtclipError]
Answers = Iterator[QueryResult | MtclipError]
_MOST_FILTERS = 8  # other than its own that a retriever keeps rows for


class Retriever(OpenBundle):
    """An open bundle. Use ``Retriever.open``; close it, or use it as a context manager."""

    def __init__(
        self,
        opened: Opened,
        *,
        render: str | None,
        show_ids: bool,
        evidence: bool,
        keep_films: bool,
        isolated: bool,
    ):
        super().__init__(opened)
        self._workers = decode_workers() if isolated else None
        reader = {"read": self._workers.read} if self._workers else {}
        self._intake = Intake(opened.films, opened.admission, render, show_ids, keep_films, **reader)
        self._answers, self._evidence = Answerer(opened, evidence), evidence
        self._filtered: dict[Filters, Answerer] = {}
        self._reopen: Callable[[], Retriever] | None = None

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        exact: bool | None = None,
        fuse: str = "off",
        rerank: bool = True,
        filters: Filters | None = None,
        queries: int | None = None,
        library: str | None = None,
        render: str | None = None,
        show_ids: bool = False,
        evidence: bool = True,
        keep_films: bool = False,
        force: bool = False,
        invert: bool = False,
        isolated: bool = False,
    ) -> "Retriever":
        """Open a bundle for queries; ``"demo"`` is the one in the package. Every file read is hashed first.

        ``exact``: compare with every report (True), use the graph (False), or what is better (None).
        ``filters`` hold for every query; ``queries`` tells how many there will be, where that is known: a
        large graph is not loaded for one. ``library``: the URL of a database that is searched instead of the
        bundle's own reports. ``fuse``: off, auto (the weight chosen when the bundle was exported) or a
        weight; how much the films of reports count. ``rerank``: whether the abnormal head may change the
        order of reports, where the bundle stores by how much. ``render``: how DICOM films become grey (voi,
        percentile, minmax), None for the bundle's own way. ``show_ids``: answers say whose film it was.
        ``evidence``: gather what an answer rests on; ``keep_films``: keep its pixels. ``force`` answers
        rejected films too; ``invert`` turns grey values; ``isolated`` reads films by a ``films.worker``.

        Errors: NotABundle, ArtefactDamaged, ArtefactIncompatible, DeviceUnavailable, WrongOption,
        ExtraMissing, LibraryUnreachable.
        """
        if render is not None and render not in RENDERS:
            raise not_among("render", render, RENDERS)
        check_filters(filters)
        options = OpenOptions(
            device, precision, exact, fuse, rerank, filters or Filters(), queries, force, invert, library
        )
        path = resolve(Path(bundle))[0] if bundle == WORD else user_path(bundle)
        shown: dict[str, Any] = {
            "render": render,
            "show_ids": show_ids,
            "evidence": evidence,
            "keep_films": keep_films,
            "isolated": isolated,
        }
        retriever = cls(open_now(path, options), **shown)
        retriever._reopen = partial(cls.open, path.absolute(), **shown, **vars(options))
        return retriever

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process opens its bundle again, in the generation that is there then."""
        self._check_open()
        assert self._reopen is not None
        return self._reopen, ()

    def query(
        self,
        film: GivenFilm,
        k: int = 5,
        *,
        text: str | None = None,
        filters: Filters | None = None,
        own_priors: str | None = None,
        name: str | None = None,
    ) -> QueryResult:
        """The k reports nearest to one film: a path, a file's bytes, an open file, a Pillow image, an array
        of grey values [height, width] (uint8, or deeper: then scaled), or a pydicom dataset.

        ``text`` asks for both together, by the direction between their vectors. ``filters`` hold for this
        query in place of the retriever's own; ``name`` is what the film is shown under. ``own_priors``: an id
        of the film's patient, or of a study of theirs: their reports are a list of their own, and none of the
        hits. A film that is rejected gives an answer without hits (``ok``).

        Errors: FilmUnreadable, WrongOption, Closed, TextTowerMissing; Refused for an id or text unknown here.
        """
        check_k(k)
        self._check_open()
        answerer, typed = self._asked(filters, own_priors), self._typed(text)
        return answerer.film(self.see(film, name=name), k, typed)

    def see(self, film: GivenFilm, *, name: str | None = None) -> EmbeddedFilm:
        """One film, given as for ``query``, embedded and judged: ``answer`` answers it as often as is wanted.

        Errors: FilmUnreadable, Closed.
        """
        return or_raise(next(self._seen([(name or name_of(film) or "-", film)], 1)))

    def answer(
        self,
        film: "EmbeddedFilm | StudyQuery",
        k: int = 5,
        *,
        text: str | None = None,
        filters: Filters | None = None,
        own_priors: str | None = None,
    ) -> QueryResult:
        """As ``query``, of a film that was seen, or of films of one study (``study_mean.grouped``).

        Errors: WrongOption, Refused, Closed, StudyUnanswered; TextTowerMissing for a ``text``.
        """
        check_k(k)
        self._check_open()
        answerer, typed = self._asked(filters, own_priors), self._typed(text)
        if isinstance(film, EmbeddedFilm):
            return answerer.film(film, k, typed)
        if typed is not None:
            raise WrongOption("a study and a text together", "expected one film, or no text")
        return or_raise(answerer.study(film, k))

    def _typed(self, text: str | None) -> tuple[str, np.ndarray] | None:
        return None if text is None else (text, self._texts.embedded(text)[0])

    def query_many(
        self,
        films: Iterable[GivenFilm | Named],
        k: int = 5,
        *,
        filters: Filters | None = None,
        own_priors: str | None = None,
        errors: str = "raise",
    ) -> Answers:
        """Many films in order, each given as for ``query``, or as a pair of the name it is shown under and
        the film.

        The first film that cannot be read raises; with ``errors="return"`` its error stands in its place.
        An error that is given in place of a film is handed through. ``own_priors``: of the one patient whose
        films all are. Errors: WrongOption, FilmUnreadable, Refused, Closed.
        """
        seen, answerer = self._seen(films, k, errors), self._asked(filters, own_priors)
        return (film if isinstance(film, MtclipError) else answerer.film(film, k) for film in seen)

    def query_studies(
        self,
        films: Iterable[GivenFilm | Named],
        k: int = 5,
        *,
        together: Mapping[str, str] | None = None,
        filters: Filters | None = None,
        own_priors: str | None = None,
        errors: str = "raise",
    ) -> Answers:
        """The films of each study answered as one (``study_mean``), in the order of their first films.

        ``together``: of films without a StudyInstanceUID, by name, what those of one study share. With
        ``errors="return"`` films that cannot be read give their errors before; a study without a film that
        counts gives an error.
        """
        from .study_mean import answered  # for studies only

        seen, answerer = self._seen(films, k, errors), self._asked(filters, own_priors)
        answers = answered(seen, answerer.study, k, together)
        return answers if errors == "return" else map(or_raise, answers)

    def embed(self, films: Iterable[GivenFilm | Named]) -> np.ndarray:
        """Unit vectors float32 [films, dim] of many films, given as for ``query_many``. The film gate is not
        asked.

        Errors: FilmUnreadable for the first that cannot be read, WrongOption, Closed.
        """
        vectors = [or_raise(film).vector for film in self._seen(films, 1)]
        return np.stack(vectors) if vectors else np.zeros((0, self.bundle.model.dim), np.float32)

    def embed_texts(self, texts: Iterable[str]) -> np.ndarray:
        """Unit vectors float32 [texts, dim] of many texts, each read as the reports of an index are.

        Errors: TextTowerMissing, WrongOption, Refused (less than half of their words are known), Closed.
        """
        self._check_open()
        if isinstance(texts, str):
            raise WrongOption("one text where many are expected", "expected a list of texts")
        return self._texts.embedded_many(texts)

    def search(
        self,
        vector: np.ndarray,
        k: int = 5,
        *,
        filters: Filters | None = None,
        own_priors: str | None = None,
    ) -> tuple[ReportHit, ...]:
        """The k reports nearest to a vector of the bundle's space, [dim] of any length but zero, by cosine
        alone: of ``embed``, ``embed_texts``, or of a mean of theirs. ``own_priors`` of a patient are left
        out; the method of that name gives them.

        Errors: WrongOption, ZeroQuery, Refused, Closed.
        """
        check_k(k)
        self._check_open()
        wanted = as_direction(vector, self.bundle.model.dim)
        return self._asked(filters, own_priors).near(wanted, k)

    def own_priors(self, vector: np.ndarray, id: str) -> "OwnPriors":
        """All reports of one patient by date, with their cosines to a vector as of ``search``; ``id`` is the
        patient's, or that of a study of theirs.

        Errors: WrongOption, ZeroQuery, Refused, Closed.
        """
        self._check_open()
        wanted, answerer = as_direction(vector, self.bundle.model.dim), self._apart(None, id)
        return answerer.own(wanted)

    def _asked(self, filters: Filters | None, own: str | None) -> "Answerer | OwnPriorsAnswerer":
        """What answers through some filters, with a patient's own reports apart.

        Errors: WrongOption, Refused.
        """
        return self._answerer(filters) if own is None else self._apart(filters, own)

    def _apart(self, filters: Filters | None, own: str) -> "OwnPriorsAnswerer":
        from .own_priors import OwnPriorsAnswerer  # for one patient only

        check_filters(filters)
        self._check_open()
        return OwnPriorsAnswerer(
            self._opened, self._evidence, own, self.filters if filters is None else filters
        )

    def _answerer(self, filters: Filters | None) -> Answerer:
        """What answers through some filters; their rows are kept for the next query. Errors: WrongOption."""
        check_filters(filters)
        if filters is None or filters == self.filters:
            return self._answers
        self._check_open()
        known = self._filtered.get(filters)
        if known is None:
            if len(self._filtered) >= _MOST_FILTERS:
                self._filtered.clear()
            known = self._filtered[filters] = Answerer(self._opened.filtered(filters), self._evidence)
        return known

    def _seen(self, films: Iterable[GivenFilm | Named], k: int, errors: str = "return") -> Seen:
        """What is wrong with the call is said here, before the first film is asked for."""
        check_many(films, k, errors)
        self._check_open()
        seen = self._while_open(self._intake.see(named(films)))
        return seen if errors == "return" else map(or_raise, seen)

    def _while_open(self, seen: Seen) -> Seen:
        for film in seen:
            self._check_open()
            yield film

    def query_text(self, text: str, k: int = 5, *, filters: Filters | None = None) -> QueryResult:
        """The k reports and the k films nearest to a text; of a text that names findings those first that
        affirm them (of a denial, those that deny them), then those that do not name them, then the others;
        among these by vector and words together. Without a text tower words alone find reports.

        Errors: TextTowerMissing, WrongOption, Refused (words unknown to it), where words cannot answer
        either.
        """
        check_k(k)
        self._check_open()
        answerer = self._answerer(filters)
        self._texts.open()
        clock = Clock()
        vector, precision = self._texts.searched(text)
        clock.lap("encode")
        return answerer.text(text, vector, precision, k, clock)

    def explain(
        self,
        film: GivenFilm,
        answer: QueryResult | None = None,
        *,
        text: str | None = None,
        name: str | None = None,
    ) -> "Explained":
        """A map of where a film resembles the first report of its ``answer`` (None: it is asked now), or a
        text. Writes nothing.

        Errors: WrongOption, NothingToExplain (no report, or a rejected film), MapMissing, TextTowerMissing,
        FilmUnreadable.
        """
        name = name or name_of(film) or "-"
        source = source_of(film, name)  # which can be read twice
        if answer is None:
            answer = self.query(source, 1, name=name)
        return self.explain_grey(self._intake.read(source, name).grey, answer, text=text)

    def explain_grey(
        self, grey: np.ndarray, answer: QueryResult | None, *, text: str | None = None
    ) -> "Explained":
        """The same of a film that is decoded, uint8 [height, width], taken for the view of its answer; None
        for frontal, with a text.
        """
        self._check_open()
        from .explaining import explained  # few films are

        vector = None if text is None else self._texts.embedded(text)[0]
        return explained(self._opened, grey, answer, vector)

    @cached_property
    def _texts(self) -> "TextReader":
        from .typed_text import TextReader  # for texts only

        return TextReader(self.bundle, self.device.used, self._precision, self._answers.search.naming)

    @property
    def force(self) -> bool:
        """Whether films that are rejected are answered all the same."""
        return self._intake.force

    def text_note(self, text: str) -> str | None:
        """One line where a text has words that the text tower does not know, is longer than it reads, or
        names what no report names; where words alone answer.

        Errors: as of ``query_text``.
        """
        return self._texts.note(text)

    def close(self) -> None:
        """No query is answered any more; closing twice is nothing."""
        super().close()
        if self._workers:
            self._workers.close()

    def __enter__(self) -> "Retriever":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
