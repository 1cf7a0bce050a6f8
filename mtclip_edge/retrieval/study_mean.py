"""Films of one study answered as one: the mean of their embeddings, of frontal films, and of laterals where
the bundle was trained with them.

A study is what shares a StudyInstanceUID; pictures without one are one study where they lie in one folder or
zip that was given as such, and else each a study of its own. How films become one vector is told by
``inference.study_vector``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import MtclipError
from ..inference.study_vector import study_vector
from .intake import EmbeddedFilm
from .results import Input, QueryResult, StudyFilm


@dataclass(frozen=True)
class StudyQuery:
    """The films of one study in the order given, and which of them count."""

    films: tuple[EmbeddedFilm, ...]

    @cached_property
    def counted(self) -> tuple[EmbeddedFilm, ...]:
        """Those that take part in the mean."""
        return tuple(film for film in self.films if not_counted(film) is None)

    @property
    def seen(self) -> str:
        """Which views count: ``frontal``, ``lateral``, or ``both``."""
        views = {film.view.name if film.view else "frontal" for film in self.counted}
        return "both" if len(views) > 1 else next(iter(views))

    @cached_property
    def mean(self) -> tuple[np.ndarray, float]:
        """Mean direction of the films that count, float32 [dim], and mean logit."""
        vectors = np.stack([film.vector for film in self.counted])
        views = np.array([film.view.code if film.view else 0 for film in self.counted])
        return study_vector(vectors, np.array([film.logit for film in self.counted]), views)

    @property
    def input(self) -> Input:
        """Of the first film that counts, with the gravest verdict and the reasons of all of these."""
        first = self.counted[0].input
        reasons = dict.fromkeys(reason for film in self.counted for reason in film.input.reasons)
        verdicts = [film.input.verdict for film in self.counted]
        verdict = next((grave for grave in ("reject", "warn") if grave in verdicts), first.verdict)
        view = self.seen if first.view else None
        return Input(first.kind, verdict, tuple(reasons), first.ids, view, first.view_from)

    @property
    def timings(self) -> dict[str, float]:
        total: dict[str, float] = {}
        for film in self.films:
            for stage, milliseconds in film.timings.items():
                total[stage] = total.get(stage, 0.0) + milliseconds
        return total

    def to_films(self) -> tuple[StudyFilm, ...]:
        return tuple(
            StudyFilm(
                film.name, (why := not_counted(film)) is None, why, film.input.view, film.input.view_from
            )
            for film in self.films
        )


def answered(
    seen: Iterable[EmbeddedFilm | MtclipError],
    answer: "Callable[[StudyQuery, int], QueryResult | MtclipError]",
    k: int,
    together: Mapping[str, str] | None,
) -> Iterator[QueryResult | MtclipError]:
    """The answer to each study of some films, behind the errors of those that cannot be read."""
    embedded: list[EmbeddedFilm] = []
    for film in seen:
        if isinstance(film, MtclipError):
            yield film
        else:
            embedded.append(film)
    for study in grouped(embedded, together):
        yield answer(study, k)


def not_counted(film: EmbeddedFilm) -> str | None:
    """Why a film is left out of its study's mean; None where it counts."""
    left_out = ("other",) if film.view else ("lateral", "other")
    if film.header is not None and film.header.projection in left_out:
        return f"view position {film.header.view_word}: not frontal"
    if not film.answered:
        return f"rejected: {film.input.reasons[-1]}"
    return None


def grouped(films: Iterable[EmbeddedFilm], together: Mapping[str, str] | None = None) -> Sequence[StudyQuery]:
    """Studies in the order of their first film. ``together``: of films without a StudyInstanceUID, by name,
    what they share with others of their study.
    """
    studies: dict[Any, list[EmbeddedFilm]] = {}
    for number, film in enumerate(films):
        shared = (together or {}).get(film.name)
        uid = film.header.study if film.header is not None else ""
        key = uid or (number if shared is None else ("together", shared))
        studies.setdefault(key, []).append(film)
    return [StudyQuery(tuple(members)) for members in studies.values()]
