"""Films of one study → their answer: the retriever of a node, opened again when its bundle was replaced."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..bundle.bundle import MANIFEST
from ..errors import FilmUnreadable, LibraryUnreachable, MtclipError, NotABundle, Refused, StudyUnanswered
from ..index.filters import Filters
from ..retrieval.intake import EmbeddedFilm
from ..retrieval.results import QueryResult
from ..retrieval.retriever import Retriever
from ..retrieval.study_mean import StudyQuery
from .objects.origin import FilmHead
from .settings import NodeSettings
from .telling import notify, tell

# What is journalled of a film that cannot be read: a closed set, since an error may quote the file.
_REASONS = (
    ("took more than", "reading it took too long"),
    ("died of it", "the process that read it died of it"),
    ("is not read", "its transfer syntax is not read"),
    ("needs", "a decoder for it is not installed"),
    ("end early", "its pixel data end early"),
    ("million", "too many pixels"),
    ("expected grey or RGB", "neither grey nor RGB"),
    ("no pixel", "it holds no pixels"),
    ("damaged", "damaged"),
)


def reason_of(error: FilmUnreadable) -> str:
    """Why a film cannot be read, in words of ours alone."""
    return next((said for word, said in _REASONS if word in error.what), "it cannot be decoded")


@dataclass(frozen=True)
class Answered:
    """``result`` is None where no film of the study could be answered, ``why`` then says so."""

    result: QueryResult | None
    grey: np.ndarray | None
    heads: tuple[FilmHead, ...]  # of the films that were read
    why: str = ""
    previews: dict[str, bytes] = field(default_factory=dict)


class Answering:
    """Films go through the isolated decode worker; a patient's own reports are none of the hits."""

    def __init__(self, settings: NodeSettings):
        self._settings = settings
        self._retriever: Retriever | None = None
        self._stamp: tuple[int, ...] | None = None

    def open(self) -> None:
        """Errors: those of ``Retriever.open``."""
        settings = self._settings
        self._stamp = self._stamp_now()
        self._retriever = Retriever.open(
            settings.bundle,
            device=settings.device,
            precision=settings.precision,
            force=settings.force,
            library=settings.library,
            keep_films=True,
            isolated=True,
        )

    def close(self) -> None:
        if self._retriever is not None:
            self._retriever.close()
            self._retriever = None

    @property
    def bundle(self) -> str:
        assert self._retriever is not None
        return self._retriever.bundle.identity

    def refresh(self) -> None:
        """Take up a bundle that was replaced on disk; where it cannot be opened the old one stays at work."""
        stamp = self._stamp_now()
        if stamp is None or stamp == self._stamp:
            return
        before, self._retriever = self._retriever, None
        try:
            self.open()
        except MtclipError as error:
            tried = None if isinstance(error, LibraryUnreachable) else stamp  # else it is tried again
            self._retriever, self._stamp = before, tried
            tell("bundle not taken up", why=type(error).__name__)
            return
        if before is not None:
            before.close()
        tell("bundle taken up", bundle=self.bundle[7:23])

    def _stamp_now(self) -> tuple[int, ...] | None:
        with suppress(OSError):
            status = (self._settings.bundle / MANIFEST).stat()
            return status.st_ino, status.st_size, status.st_mtime_ns
        return None

    def answer(
        self, films: Sequence[tuple[FilmHead, Path]], unreadable: Callable[[str, str], object]
    ) -> Answered:
        """``unreadable`` is told the UID of a film that cannot be read, and why.

        Errors: MtclipError where the bundle cannot answer at all, OSError.
        """
        if self._retriever is None:
            raise NotABundle("no bundle is open")
        seen: list[tuple[FilmHead, EmbeddedFilm]] = []
        for head, path in films:
            notify("WATCHDOG=1")
            try:
                seen.append((head, self._retriever.see(path, name=head.uid)))
            except FilmUnreadable as error:
                unreadable(head.uid, reason_of(error))
        if not seen:
            return Answered(None, None, (), "no film can be read")
        heads = tuple(head for head, _ in seen)
        asked = seen[0][1] if len(seen) == 1 else StudyQuery(tuple(film for _, film in seen))
        try:
            result = self._retriever.answer(asked, self._settings.hits, filters=self._filters(heads))
        except StudyUnanswered as error:
            return Answered(None, None, heads, error.what.partition(": ")[2] or "no frontal film")
        grey = next((film.grey for head, film in seen if head.uid == result.image), seen[0][1].grey)
        return Answered(result, grey, heads, "", self._previews(result, seen))

    def _filters(self, heads: Sequence[FilmHead]) -> Filters | None:
        """Without the patient's own reports; a patient that the bundle does not know is the usual case."""
        own = tuple(dict.fromkeys(head.patient_id for head in heads if head.patient_id))
        return Filters(exclude_patient=own) if own and self._settings.send.exclude_own_patient else None

    def _previews(
        self, result: QueryResult, seen: Sequence[tuple[FilmHead, EmbeddedFilm]]
    ) -> dict[str, bytes]:
        """Films of the reports, none of the patient's own, which may share a report's words."""
        assert self._retriever is not None
        if not self._settings.send.previews:
            return {}
        own: set[str] = set()
        for head, film in seen:
            if head.patient_id and self._settings.send.exclude_own_patient:
                with suppress(Refused):  # a patient that the bundle does not know
                    own.update(self._retriever.own_priors(film.vector, head.patient_id).study_ids)
        films = {
            hit.report_id: self._retriever.preview(hit.report_id, without=tuple(own))
            for hit in result.reports
        }
        return {name: film for name, film in films.items() if film is not None}
