"""Judges whether a film is a frontal chest film at all: ok, warn or reject, each with reasons.

Header and picture facts (``gate_facts``) need no model. A bundle adds two scores, fitted on training films
only, with thresholds from validation films (``export/fitted/film_gate``): **layout**, the Mahalanobis
distance of the film's 8 x 8 mean grey values, and **mirror**, how much better the layout fits with left and
right exchanged. A film whose layout is odd is tried inverted and turned: negating and turning 64 numbers
needs no second pass through the tower.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import ArtefactDamaged
from .film import DecodedFilm
from .gate_facts import REJECT, WARN, Fact, facts_of

OK = "ok"
GRID = 8
INVERTED = "black and white seem to be exchanged: ask again {} --invert"
_TURNS = {1: "a quarter turn to the right", 2: "half a turn", 3: "a quarter turn to the left"}


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution on few axes: ``mean`` [dim], ``axes`` [axes, dim], and ``rest``, the variance
    along every other axis.

    ``axes`` are the leading unit eigenvectors v of variance l, as v * sqrt(1/rest - 1/l) (probabilistic PCA,
    Tipping and Bishop 1999).
    """

    mean: np.ndarray
    axes: np.ndarray
    rest: float

    def distance(self, rows: np.ndarray) -> np.ndarray:
        """Squared Mahalanobis distance a dimension, float64 [rows] of [rows, dim]: about 1 for what it
        was fitted on.
        """
        away = rows.astype(np.float64) - self.mean
        return ((away**2).sum(axis=1) / self.rest - ((away @ self.axes.T) ** 2).sum(axis=1)) / rows.shape[1]


@dataclass(frozen=True)
class Thresholds:
    """A score above its threshold counts; None where there were too few validation films for one."""

    layout_warn: float | None = None
    layout_reject: float | None = None
    mirror_warn: float | None = None


@dataclass(frozen=True)
class FilmGate:
    """What a bundle knows of frontal chest films."""

    layout: Gaussian
    thresholds: Thresholds

    @classmethod
    def load(
        cls, file: Path, shape: tuple[int, int, float], thresholds: Mapping[str, float | None]
    ) -> "FilmGate":
        """The gate of a (checked) file; ``shape``: dim, axes and rest of the layout. Errors: ArtefactDamaged.

        Numbers of an embedding may follow: bundles of 0.1.0 asked that too, and their threshold for it is not
        asked any more.
        """
        dim, axes, rest = shape
        try:
            rows = np.load(file, allow_pickle=False)[: (axes + 1) * dim].reshape(axes + 1, dim)
        except (ValueError, IndexError, TypeError) as error:
            raise ArtefactDamaged(f"{file}: not this bundle's film gate", type(error).__name__) from None
        named = {name: thresholds.get(name) for name in Thresholds.__dataclass_fields__}
        return cls(Gaussian(rows[0], rows[1:], rest), Thresholds(**named))

    def numbers(self) -> np.ndarray:
        """What the file holds, float32: the mean of the layout, then its axes."""
        return np.concatenate([self.layout.mean, self.layout.axes.reshape(-1)]).astype("<f4")

    def facts(self, layout: np.ndarray) -> list[Fact]:
        """What the scores say against a film, by its layout [GRID * GRID]."""
        odd = self._odd(layout)
        most = self.thresholds.layout_warn
        if most is None or odd <= most:
            return list(self._mirror_facts(layout, odd))
        reject = self.thresholds.layout_reject
        weight = REJECT if reject is not None and odd > reject else WARN
        other = self._otherwise(layout, most)
        return [
            Fact(
                weight,
                other
                or (
                    f"it does not look like the frontal chest films this bundle knows ({odd:.1f}, they stay "
                    f"below {most:.1f})"
                ),
            )
        ]

    def _odd(self, layout: np.ndarray) -> float:
        return float(self.layout.distance(layout[None])[0])

    def _mirror_facts(self, layout: np.ndarray, odd: float) -> Iterator[Fact]:
        most = self.thresholds.mirror_warn
        if most is not None and odd - self._odd(mirrored(layout)) > most:
            yield Fact(WARN, "left and right may be exchanged: the heart seems to lie on the other side")

    def _otherwise(self, layout: np.ndarray, most: float) -> str | None:
        """How an odd film would look ordinary: with its grey values inverted or turned; None where
        neither helps.
        """
        grid = layout.reshape(GRID, GRID)
        tried = np.stack([-grid, *(np.rot90(grid, turns) for turns in _TURNS)]).reshape(-1, GRID * GRID)
        distance = self.layout.distance(tried)
        best = int(np.argmin(distance))
        if distance[best] > most:
            return None
        if best == 0:
            return INVERTED.format("with")
        # np.rot90 turns to the left: what one turn to the left mends was turned to the right.
        return f"it seems to be turned by {_TURNS[best]}: turn it upright"


@dataclass(frozen=True)
class Verdict:
    """``verdict``: ok, warn, reject, or None where nothing speaks against a film but no gate could judge
    it.
    """

    verdict: str | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Admission:
    """How a retriever lets films in.

    ``force`` answers rejected ones all the same, ``invert`` takes grey values the other way round.
    """

    gate: FilmGate | None = None
    force: bool = False
    invert: bool = False

    def turned(self, film: DecodedFilm) -> DecodedFilm:
        """The film as it is to be looked at."""
        if not self.invert:
            return film
        return replace(
            film,
            grey=255 - film.grey,
            notes=(*film.notes, "grey values taken the other way round (--invert)"),
        )

    def judge(self, film: DecodedFilm, pixels: np.ndarray) -> tuple[Verdict, bool]:
        """The verdict, and whether the film is answered."""
        verdict = judge_film(film, pixels, self.gate)
        if self.invert:
            wrong, right = (INVERTED.format(word) for word in ("with", "without"))
            verdict = replace(
                verdict, reasons=tuple(right if reason == wrong else reason for reason in verdict.reasons)
            )
        if verdict.verdict != REJECT:
            return verdict, True
        return (
            (replace(verdict, reasons=(*verdict.reasons, "answered all the same (--force)")), True)
            if self.force
            else (verdict, False)
        )


def judge_film(film: DecodedFilm, pixels: np.ndarray, gate: FilmGate | None) -> Verdict:
    """The verdict on a film, from its tower input float32 [3, size, size].

    How it was decoded (``film.notes``) stands before the reasons and does not change the verdict.
    """
    facts = facts_of(film)
    if gate is not None:
        facts += gate.facts(layout_of(pixels))
    weights = {fact.weight for fact in facts}
    passed = OK if gate is not None and gate.thresholds.layout_warn is not None else None
    verdict = next((weight for weight in (REJECT, WARN) if weight in weights), passed)
    return Verdict(verdict, (*film.notes, *(fact.reason for fact in facts)))


def layout_of(pixels: np.ndarray, grid: int = GRID) -> np.ndarray:
    """Mean grey of grid x grid fields of a tower's input [3, size, size], standardised, float64 [grid *
    grid]; zeros if it is uniform.

    Brightness, contrast and the backbone's own normalisation drop out; inverting a film negates it, turning a
    film turns it.
    """
    edges = np.linspace(0, pixels.shape[1], grid + 1).round().astype(int)
    sums = np.add.reduceat(
        np.add.reduceat(pixels[0].astype(np.float64), edges[:-1], axis=0), edges[:-1], axis=1
    )
    means = (sums / np.outer(np.diff(edges), np.diff(edges))).ravel()
    away = means - means.mean()
    spread = away.std()
    return away / spread if spread > 1e-9 else np.zeros_like(away)


def mirrored(layout: np.ndarray) -> np.ndarray:
    """The layout with left and right exchanged."""
    return layout.reshape(GRID, GRID)[:, ::-1].reshape(-1)
