"""What the server knows: an open retriever and the last films that were asked about, in memory alone.

One question is answered at a time. Everything here is synchronous and safe from several threads.
"""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..display.answer_page import Answer, answer_page
from ..display.page_writer import SIDE, heat_of, prior_films, provenance
from ..errors import (
    FilmUnreadable,
    LibraryUnreachable,
    MtclipError,
    NoFilms,
    Refused,
    WrongOption,
    not_among,
)
from ..films.file_types import is_zip
from ..films.film import DecodedFilm, FilmSource
from ..films.gate import FORCED
from ..films.thumbnail import thumbnail
from ..films.worker import DecodeWorkers
from ..index.filters import Filters
from ..notice import NOTICE, __version__
from ..retrieval.intake import EmbeddedFilm
from ..retrieval.results import QueryResult
from ..retrieval.retriever import Retriever
from ..retrieval.study_mean import StudyQuery, grouped
from .marks import Marked, Marks
from .telling import error_document, told

if TYPE_CHECKING:
    from ..films.values import FilmValues

KEPT = 8  # films in memory, and the most of one upload that are answered
Given = TypeVar("Given")


class KeyGone(MtclipError):
    """A film is not in memory any more."""


@dataclass(frozen=True)
class Kept:
    """A film in memory: what it is read from (None where its grey was turned, and is not that of the file),
    its name, its pixels, what is asked by it, its last answer and when that was given.
    """

    source: FilmSource | None
    name: str
    grey: np.ndarray
    asked: EmbeddedFilm | StudyQuery
    answer: QueryResult
    shown_at: datetime
    film_id: str = ""  # what marks call it


@dataclass(frozen=True)
class Wanted:
    """How an answer is wanted: hits of what passes, to each film or study, the patient's own apart."""

    k: int = 5
    filters: Filters | None = None
    by: str = "film"
    own_priors: str | None = None


@dataclass(frozen=True)
class Turned:
    """``force``: a film that was rejected is answered all the same; ``invert``: its black and white are
    exchanged.
    """

    force: bool = False
    invert: bool = False


class Desk:
    """``retriever`` is closed with it; ``no_dicom``: why DICOM films are refused, None where they are not."""

    def __init__(
        self,
        retriever: Retriever,
        marks: Marks | None = None,
        no_dicom: str | None = None,
        kept: int = KEPT,
    ):
        self._marks, self._no_dicom = marks, no_dicom
        self._render = retriever.bundle.model.preprocessing.render or "voi"
        self._retriever, self._workers, self._most = retriever, DecodeWorkers(), kept
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._contents: dict[str, Any] = {}
        self._one = threading.Lock()  # one inference at a time
        self._changing = threading.Lock()

    def query(self, data: bytes, name: str, wanted: Wanted) -> dict[str, Any]:
        """The answer to a film; of a zip ``answers`` to its first films, an error in place of each that
        cannot be read, or one to each of its studies.

        Errors: FilmUnreadable of a film, NoFilms of a zip, WrongOption.
        """
        if not is_zip(data):
            (one,) = self._answered([(name, data)], wanted)
            if isinstance(one, MtclipError):
                raise one
            return one
        films = self._workers.films_in(data, name)
        if len(films) == 1 and isinstance(films[0][1], NoFilms):
            raise films[0][1]
        answers = self._answered(films[: self._most], wanted)
        return {
            "answers": [error_document(one) if isinstance(one, MtclipError) else one for one in answers],
            "left_out": max(0, len(films) - self._most),
            "notice": NOTICE,
        }

    def search(self, key: str | None, text: str | None, wanted: Wanted, turned: "Turned") -> dict[str, Any]:
        """The answer to a film in memory by other filters, to it and a text together, or to a text alone.

        Errors: KeyGone, WrongOption, TextTowerMissing, Refused.
        """
        if key is None:
            if text is None:
                raise WrongOption("neither a key nor a text", "expected one of them, or both")
            with self._one:
                return told(self._retriever.query_text(text, wanted.k, filters=wanted.filters))
        kept = self._of(key)
        with self._one:
            kept = self._turned(kept, turned)
            answer = self._asked(kept.asked, wanted, text)
        with self._changing:
            if key in self._kept:
                self._kept[key] = replace(kept, answer=answer, shown_at=datetime.now().astimezone())
        return told(answer, key)

    def _turned(self, kept: Kept, turned: "Turned") -> Kept:
        """A film with black and white exchanged, and one that was rejected taken all the same.

        Errors: WrongOption for films of a study.
        """
        if not (turned.invert or turned.force):
            return kept
        film = kept.asked
        if isinstance(film, StudyQuery):
            raise WrongOption("force and invert", "of one film, not of a study", "drop the film alone")
        if turned.invert:
            grey = 255 - kept.grey
            kind = film.input.kind
            film = self._retriever.see(DecodedFilm(grey, kind, header=film.header), name=film.name)
            kept = replace(kept, grey=grey, source=None)
        if turned.force and not film.answered:
            said = replace(film.input, reasons=(*film.input.reasons, FORCED))
            film = replace(film, answered=True, input=said)
        return replace(kept, asked=film)

    def film(self, key: str) -> np.ndarray:
        """Its pixels, uint8 [height, width]. Errors: KeyGone."""
        return self._of(key).grey

    def values(self, key: str) -> "FilmValues | None":
        """What its file stores; None where that is no more than the pixels. Errors: KeyGone."""
        kept = self._of(key)
        if kept.source is None:
            return None
        try:
            return self._workers.values(kept.source, kept.name)
        except FilmUnreadable:  # the film itself was read before
            return None

    def heat(self, key: str, rank: int, text: str | None) -> dict[str, Any]:
        """The map of a hit of the last answer, or of a text, with its scale.

        Errors: KeyGone, WrongOption, NothingToExplain, MapMissing, TextTowerMissing, Refused.
        """
        kept = self._of(key)
        shown = _only(kept.answer, rank) if text is None else kept.answer
        with self._one:
            found = self._retriever.explain_grey(kept.grey, shown, text=text)
        return {
            **found.to_dict(),
            "values": [[round(float(value), 6) for value in row] for row in found.values],
            "range": list(found.range),
            "legend": list(found.legend),
        }

    def report(self, name: str) -> dict[str, Any]:
        """A report with its studies and films. Errors: Refused where there is none."""
        return {"notice": NOTICE, **self._retriever.report(name).to_dict()}

    def preview(self, report_id: str, key: str | None, study: str | None) -> bytes | None:
        """A film of a report, or of one study of it, as a WebP; with a ``key`` none of the patient's own
        whose film that is. None where the bundle packed none. Errors: KeyGone.
        """
        own = self._of(key).answer.own_priors if key else None
        without = own.study_ids if own and study is None else ()
        only = None if study is None else (study,)
        return self._retriever.preview(report_id, only=only, without=without)

    def page(self, key: str) -> str:
        """The last answer to a film as a page by itself, to be kept. Errors: KeyGone."""
        kept = self._of(key)
        result = replace(kept.answer, grey=kept.grey)
        with self._one:
            heat, priors = heat_of(self._retriever, result, False), prior_films(self._retriever, result)
        answer = Answer(kept.answer, thumbnail(kept.grey, SIDE), heat, None, priors)
        return answer_page([answer], provenance(self._retriever, kept.answer))

    def about(self) -> dict[str, Any]:
        """What is searched, and what can be asked of it."""
        bundle = self._retriever.bundle
        said, contents = self._said()
        return {
            "notice": NOTICE,
            "version": __version__,
            "bundle": bundle.identity,
            "demo": bundle.demo,
            "device": self._retriever.device.used,
            "precision": self._retriever.precision,
            "maps": bundle.model.explain is not None,
            "previews": bundle.manifest.site.previews is not None,
            "kept": self._most,
            "marks": self._marks is not None,
            "notes": [line for line in said if line],
            **contents,
        }

    def _said(self) -> tuple[list[str | None], dict[str, Any]]:
        """What is to be known, and what is held; while a database is down, what was held when it was asked
        last. Errors: LibraryUnreachable where it was never asked.
        """
        notes = self._retriever.notes
        try:
            with self._one:
                said = [notes.lacks, notes.library, notes.search, notes.words]
                self._contents = self._retriever.contents()
            return said, self._contents
        except LibraryUnreachable as away:
            if not self._contents:
                raise
            return [away.what], self._contents

    def mark(self, key: str, report_id: str | None, kind: str, note: str | None) -> dict[str, Any]:
        """Keep a reader's mark on the last answer to a film, or on a report of it.

        Errors: KeyGone, WrongOption, Refused.
        """
        kept, marks = self._of(key), self._kept_marks()
        reports = [hit.report_id for hit in kept.answer.reports]
        facts = kept.answer.bundle.identity
        return marks.add(Marked(kept.film_id, key, kept.shown_at, facts, reports, report_id), kind, note)

    def marks(self, format: str) -> str:
        """All marks, json or csv. Errors: WrongOption, Refused."""
        marks = self._kept_marks()
        if format not in ("json", "csv"):
            raise not_among("format", format[:40], ("json", "csv"))
        return marks.as_json() if format == "json" else marks.as_csv()

    def _kept_marks(self) -> Marks:
        if self._marks is None:
            raise Refused("no marks are kept here", hint="mtclip view --marks FILE")
        return self._marks

    def close(self) -> None:
        with self._one:
            self._workers.close()
            self._retriever.close()
        with self._changing:
            self._kept.clear()

    def _answered(
        self, films: list[tuple[str, FilmSource | MtclipError]], wanted: Wanted
    ) -> list[dict[str, Any] | MtclipError]:
        """An answer to each film, or to each study of them after the films that cannot be read."""
        seen: list[tuple[EmbeddedFilm, FilmSource, np.ndarray] | MtclipError] = []
        for name, source in films:
            seen.append(source if isinstance(source, MtclipError) else _or_error(self._seen, source, name))
        if wanted.by == "film":
            return [
                one if isinstance(one, MtclipError) else self._told(one[0], {one[0].name: one}, wanted)
                for one in seen
            ]
        good = [one for one in seen if not isinstance(one, MtclipError)]
        by_name = {film.name: (film, source, grey) for film, source, grey in good}
        together = {film.name: "upload" for film, _, _ in good}
        errors = [one for one in seen if isinstance(one, MtclipError)]
        studies = grouped([film for film, _, _ in good], together)
        return [*errors, *(_or_error(self._told, study, by_name, wanted) for study in studies)]

    def _seen(self, source: FilmSource, name: str) -> tuple[EmbeddedFilm, FilmSource, np.ndarray]:
        """Errors: FilmUnreadable."""
        started = time.perf_counter()
        decoded = self._workers.read(source, name, self._render)
        if self._no_dicom and decoded.kind == "dicom":
            raise FilmUnreadable(f"{name}: {self._no_dicom}")
        decoding = 1000 * (time.perf_counter() - started)
        with self._one:
            film = self._retriever.see(decoded, name=name)
        return replace(film, timings={**film.timings, "decode": decoding}), source, decoded.grey

    def _told(
        self,
        asked: EmbeddedFilm | StudyQuery,
        films: Mapping[str, tuple[EmbeddedFilm, FilmSource, np.ndarray]],
        wanted: Wanted,
    ) -> dict[str, Any]:
        """The answer as it is sent, kept by a new key. Errors: StudyUnanswered."""
        with self._one:
            answer = self._asked(asked, wanted)
        _, source, grey = films[answer.image or ""]
        key = secrets.token_urlsafe(12)
        with self._changing:
            self._kept[key] = Kept(
                *(source, answer.image or "", grey, asked, answer, datetime.now().astimezone()),
                film_id=self._marks.film_id(grey) if self._marks else "",
            )
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return told(answer, key)

    def _asked(
        self, asked: EmbeddedFilm | StudyQuery, wanted: Wanted, text: str | None = None
    ) -> QueryResult:
        return self._retriever.answer(
            asked, wanted.k, text=text, filters=wanted.filters, own_priors=wanted.own_priors
        )

    def _of(self, key: str) -> Kept:
        with self._changing:
            kept = self._kept.get(key)
            if kept is None:
                raise KeyGone(
                    "this film is not in memory any more",
                    f"the last {self._most} are kept, and none after the server was ended",
                    "drop it again",
                )
            self._kept.move_to_end(key)
            return kept


def _only(answer: QueryResult, rank: int) -> QueryResult:
    """The answer with one hit. Errors: WrongOption."""
    hit = next((hit for hit in answer.reports if hit.rank == rank), None)
    if hit is None:
        raise WrongOption(f"rank {rank}", f"this answer has {len(answer.reports)} reports")
    return replace(answer, hits=(hit,))


def _or_error(ask: Callable[..., Given], *words: Any) -> Given | MtclipError:
    try:
        return ask(*words)
    except MtclipError as error:
        return error
