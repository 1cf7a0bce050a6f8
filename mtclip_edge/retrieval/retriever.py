"""Film or text in, ranked reports out: a bundle opened for queries, without torch and without a network.

with Retriever.open("bundle") as retriever:
    for hit in retriever.query("film.png", k=5).hits:
        print(hit.score, hit.label, hit.impression)
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from importlib.util import find_spec
from numbers import Integral
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.demo import WORD, resolve
from ..errors import Closed, MtclipError, NothingToExplain, WrongOption, not_among
from ..films.film import FilmSource
from ..folders import user_path
from ..index.filters import Filters
from ..index.index import SearchChoice
from ..index.rerank import NOT_ASKED
from ..inference.preprocessing import RENDERS
from ..studies import view_code
from .answers import Answerer
from .intake import EmbeddedFilm, Intake, Named
from .opening import Opened, OpenOptions, open_parts
from .results import Clock, QueryResult

if TYPE_CHECKING:
    from ..evidence.heat_map import Explained, Target
    from ..films.worker import DecodeWorkers
    from .typed_text import TextReader

Seen = Iterator[EmbeddedFilm | MtclipError]
Answers = Iterator[QueryResult | MtclipError]


class Retriever:
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
        self.bundle, self.device, self.weights = opened.bundle, opened.films.device, opened.weights
        self.filters, self._passing = opened.options.filters, opened.passing
        self._precision = opened.precision
        self._films, self._store, self._index = opened.films, opened.store, opened.index
        self._words, self._previews = opened.words, opened.previews
        self._workers = _decode_workers() if isolated else None
        reader = {"read": self._workers.read} if self._workers else {}
        self._intake = Intake(opened.films, opened.admission, render, show_ids, keep_films, **reader)
        self._answers = Answerer(opened, evidence)
        self._closed = False
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
        large graph is not loaded for one. ``fuse``: off, auto (the weight chosen when the bundle was
        exported) or a weight; how much the films of reports count. ``rerank``: whether the abnormal head may
        change the order of reports, where the bundle stores by how much. ``render``: how DICOM films become
        grey (voi, percentile, minmax), None for the bundle's own way. ``show_ids``: answers say whose film it
        was. ``evidence``: gather what an answer rests on; ``keep_films``: keep each film's pixels with its
        answer. ``force`` answers films that are rejected all the same; ``invert`` takes every film's grey
        values the other way round. ``isolated``: films are read in a process of their own, which a hostile
        file may bring down without harm (``films.worker``).

        Errors: NotABundle, ArtefactDamaged, ArtefactIncompatible, DeviceUnavailable, WrongOption,
        ExtraMissing.
        """
        if render is not None and render not in RENDERS:
            raise not_among("render", render, RENDERS)
        if not isinstance(filters, Filters | None):
            raise WrongOption(f"filters of type {type(filters).__name__}", "expected Filters(…)")
        options = OpenOptions(
            device, precision, exact, fuse, rerank, filters or Filters(), queries, force, invert
        )
        path = resolve(Path(bundle))[0] if bundle == WORD else user_path(bundle)
        shown: dict[str, Any] = {
            "render": render,
            "show_ids": show_ids,
            "evidence": evidence,
            "keep_films": keep_films,
            "isolated": isolated,
        }
        retriever = cls(_opened(path, options), **shown)
        retriever._reopen = partial(cls.open, path.absolute(), **shown, **vars(options))
        return retriever

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process opens its bundle again, in the generation that is there then."""
        self._check_open()
        assert self._reopen is not None
        return self._reopen, ()

    def query(self, film: str | FilmSource, k: int = 5, *, name: str | None = None) -> QueryResult:
        """The k reports nearest to one film, given as a path or as the file's bytes.

        Errors: FilmUnreadable, WrongOption.
        """
        result = next(self.query_many([(name or _name(film), film)], k))
        if isinstance(result, MtclipError):
            raise result
        return result

    def query_many(self, films: Iterable[Named], k: int = 5) -> Answers:
        """Many films, each with the name it is shown under, in order; one that cannot be read gives its error
        in its place.

        An error given in place of a film is handed through. Errors: WrongOption, Closed.
        """
        seen = self._seen(films, k)
        return (film if isinstance(film, MtclipError) else self._answers.film(film, k) for film in seen)

    def query_studies(
        self, films: Iterable[Named], k: int = 5, *, together: Mapping[str, str] | None = None
    ) -> Answers:
        """The films of each study answered as one (``study_mean``), in the order of their first films.

        ``together``: of films without a StudyInstanceUID, by name, what those of one study share. Films that
        cannot be read give their errors before; a study without a film that counts gives an error.
        """
        return self._studies(self._seen(films, k), k, together)

    def _studies(self, seen: Seen, k: int, together: Mapping[str, str] | None) -> Answers:
        embedded: list[EmbeddedFilm] = []
        for film in seen:
            if isinstance(film, MtclipError):
                yield film
            else:
                embedded.append(film)
        from .study_mean import grouped  # for studies only

        for study in grouped(embedded, together):
            yield self._answers.study(study, k)

    def _seen(self, films: Iterable[Named], k: int) -> Seen:
        """What is wrong with the call is said here, before the first film is asked for."""
        _check_k(k)
        self._check_open()
        if isinstance(films, str | bytes | PathLike):
            raise WrongOption(
                "query_many takes many films",
                "expected pairs of a name and a film",
                "of one film: query(film)",
            )
        return self._while_open(self._intake.see(map(_pair, films)))

    def _while_open(self, seen: Seen) -> Seen:
        for film in seen:
            self._check_open()
            yield film

    def _check_open(self) -> None:
        if self._closed:
            raise Closed(
                f"{self.bundle.path}: this retriever is closed",
                hint="open its bundle again with Retriever.open",
            )

    def query_text(self, text: str, k: int = 5) -> QueryResult:
        """The k reports and the k films nearest to a text; of a text that names findings those first that
        affirm them (of a denial, those that deny them), then those that do not name them, then the others;
        among these by vector and words together. Without a text tower words alone find reports.

        Errors: TextTowerMissing, WrongOption, Refused (words unknown to it), where words cannot answer
        either.
        """
        _check_k(k)
        self._check_open()
        self._texts.open()
        clock = Clock()
        vector, precision = self._texts.searched(text)
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

        Errors: WrongOption, NothingToExplain (the answer has no report), MapMissing, TextTowerMissing,
        FilmUnreadable.
        """
        return self.explain_grey(self._intake.read(film, name or _name(film)).grey, answer, text=text)

    def explain_grey(self, grey: np.ndarray, answer: QueryResult, *, text: str | None = None) -> "Explained":
        """The same of a film that is decoded, uint8 [height, width], taken for the view of its answer."""
        self._check_open()
        from ..evidence import heat_map
        from ..evidence.place_graph import Places

        places = Places.open(self.bundle, view_code((answer.input and answer.input.view) or ""))
        target = self._text_target(text) if text is not None else self._report_target(answer)
        pixels = self._films.prepare(grey)
        return heat_map.Explained(
            target, heat_map.place_map(places, self._films.features(pixels), target), grey
        )

    def _report_target(self, answer: QueryResult) -> "Target":
        from ..evidence.heat_map import Target

        if not answer.reports:
            raise NothingToExplain(f"{answer.value}: no report was found, so there is nothing to explain")
        best = answer.reports[0]
        vector = self._index.vectors[self._store.row_of([best.report_id])[best.report_id]]
        return Target(vector, self._index.common, best.report_id, best.rank)

    def _text_target(self, text: str) -> "Target":
        from ..evidence.heat_map import Target

        return Target(self._texts.embedded(text)[0], self._index.common)

    @cached_property
    def _texts(self) -> "TextReader":
        from .typed_text import TextReader  # for texts only

        return TextReader(self.bundle, self.device.used, self._precision, self._answers.search.naming)

    def preview(self, report_id: str) -> bytes | None:
        """The film that the bundle packed of a report, a grey WebP; None without, or where its study does not
        pass the filters. Errors: ArtefactDamaged, Closed.
        """
        self._check_open()
        return self._previews.of(report_id)

    def nearest(self, vector: np.ndarray, k: int) -> tuple[int, ...]:
        """Rows of the k reports nearest to a unit vector float32 [dim]; filters have no part in it."""
        self._check_open()
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
        return (
            f"without films: {self.weights.films.why}"
            if not self.weights.films.weight and self.weights.films.why != NOT_ASKED
            else None
        )

    @property
    def search(self) -> SearchChoice:
        """What searches the reports, and why."""
        return self._index.choice

    @property
    def search_note(self) -> str | None:
        """One line where search is exact because the graph cannot be used."""
        choice = self._index.choice
        if choice.fallback:
            return f"searching exactly: {choice.why}"
        if choice.used == "exact" and choice.why != "asked for" and find_spec("hnswlib") is None:
            return "searching exactly: hnswlib is not installed"
        return None

    @property
    def filter_note(self) -> str | None:
        """One line where filters leave nothing to find: which of them, and how many studies have what
        they ask about.
        """
        if self._passing is None or len(self._passing.reports):
            return None
        return self._store.why_nothing_passes(self.filters, self._words.matching)

    @property
    def words_note(self) -> str | None:
        """One line on what is not known of the denials in the reports, where words were asked for."""
        return self._words.note

    @property
    def patient_note(self) -> str | None:
        """One line where excluded patients have no study here: a new one has no priors, a misspelt one
        keeps them.
        """
        excluded = self.filters.exclude_patient
        unknown = self._store.unknown_patients(excluded) if excluded else 0
        if not unknown:
            return None
        count = len(set(excluded))
        return (
            f"--exclude-patient: {unknown} of {count} {'has' if count == 1 else 'have'} no study in this "
            "bundle: nothing to leave out"
        )

    def text_note(self, text: str) -> str | None:
        """One line where a text has words that the text tower does not know, is longer than it reads, or
        names what no report names; where words alone answer.

        Errors: as of ``query_text``.
        """
        return self._texts.note(text)

    def close(self) -> None:
        """No query is answered any more; closing twice is nothing."""
        self._closed = True
        self._words.close()
        self._store.close()
        self._previews.close()
        if self._workers:
            self._workers.close()

    def __enter__(self) -> "Retriever":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opened(path: Path, options: OpenOptions) -> Opened:
    """A bundle's parts of one generation, whatever a writer does meanwhile."""
    while True:
        bundle = Bundle.open(path)
        try:
            return open_parts(bundle, options)
        except Exception:
            # A writer may have published the next generation in between and removed ours, before or after its
            # hash was checked.
            if Bundle.open(path).identity == bundle.identity:
                raise


def _check_k(k: int) -> None:
    if not isinstance(k, Integral) or isinstance(k, bool):
        raise WrongOption(f"k {k!r}", "expected a whole number, 1 or more")
    if k < 1:
        raise WrongOption(f"-k {k}", "expected 1 or more")


def _pair(named: Named) -> Named:
    """What names one of many films.

    Errors: WrongOption; a film itself is not shown, it may be all its bytes.
    """
    if isinstance(named, tuple) and len(named) == 2:
        return named
    raise WrongOption(
        "query_many takes many films",
        f"expected pairs of a name and a film, found one {type(named).__name__}",
    )


def _name(film: str | FilmSource) -> str:
    return str(film) if isinstance(film, str | PathLike) else "-"


def _decode_workers() -> "DecodeWorkers":
    from ..films.worker import DecodeWorkers  # a plain query reads its films itself

    return DecodeWorkers()
