"""Films of one study answered as one: the mean of their embeddings, of frontal films only.

A study is what shares a StudyInstanceUID; a picture without one is a study of its own. The mean is of unit
vectors and is brought to length one again. The abnormal head's logits are averaged too: the head reads one
film at a time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .intake import EmbeddedFilm
from .results import Input, StudyFilm


@dataclass(frozen=True)
class StudyQuery:
    """The films of one study in the order given, and which of them count."""

    films: tuple[EmbeddedFilm, ...]

    @property
    def frontal(self) -> tuple[EmbeddedFilm, ...]:
        return tuple(film for film in self.films if not_counted(film) is None)

    @property
    def vector(self) -> np.ndarray:
        """Mean direction of the films that count, float32 [dim]."""
        mean = np.stack([film.vector for film in self.frontal]).mean(axis=0, dtype=np.float64)
        return np.asarray(mean / np.linalg.norm(mean), np.float32)

    @property
    def logit(self) -> float:
        return float(np.mean([film.logit for film in self.frontal]))

    @property
    def input(self) -> Input:
        """Of the first film that counts, with the gravest verdict and the reasons of all of these."""
        first = self.frontal[0].input
        reasons = dict.fromkeys(reason for film in self.frontal for reason in film.input.reasons)
        verdicts = [film.input.verdict for film in self.frontal]
        verdict = next((grave for grave in ("reject", "warn") if grave in verdicts), first.verdict)
        return Input(first.kind, verdict, tuple(reasons), first.ids)

    @property
    def timings(self) -> dict[str, float]:
        total: dict[str, float] = {}
        for film in self.films:
            for stage, milliseconds in film.timings.items():
                total[stage] = total.get(stage, 0.0) + milliseconds
        return total

    def to_films(self) -> tuple[StudyFilm, ...]:
        return tuple(StudyFilm(film.name, (why := not_counted(film)) is None, why) for film in self.films)


def not_counted(film: EmbeddedFilm) -> str | None:
    """Why a film is left out of its study's mean; None where it counts."""
    if film.header is not None and film.header.projection in ("lateral", "other"):
        return f"view position {film.header.view_word}: not frontal"
    if not film.answered:
        return f"rejected: {film.input.reasons[-1]}"
    return None


def grouped(films: Iterable[EmbeddedFilm]) -> Sequence[StudyQuery]:
    """Studies in the order of their first film."""
    studies: dict[Any, list[EmbeddedFilm]] = {}
    for number, film in enumerate(films):
        key = film.header.study if film.header is not None and film.header.study else number
        studies.setdefault(key, []).append(film)
    return [StudyQuery(tuple(members)) for members in studies.values()]
