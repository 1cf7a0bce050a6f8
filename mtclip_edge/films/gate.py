"""Judges whether a film is a frontal chest film at all, or, where the bundle was trained with them, a lateral
one: ok, warn or reject, each with reasons.

Header and picture facts (``gate_facts``) need no model. A bundle adds two scores, fitted on training films
only, with thresholds from validation films (``export/fitted/film_gate``): **layout**, the Mahalanobis
distance of the film's 8 x 8 mean grey values, and **mirror**, how much better the layout fits with left and
right exchanged. A film whose layout is odd is tried inverted and turned: negating and turning 64 numbers
needs no second pass through the tower.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import ArtefactDamaged
from ..files import load_array
from ..studies import FRONTAL, LATERAL
from .film import DecodedFilm
from .gate_facts import REJECT, WARN, Fact, facts_of

OK = "ok"
GRID = 8
INVERTED = "black and white seem to be exchanged: ask again {} --invert"
FORCED = "answered all the same (--force)"
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
class LateralGate:
    """What a bundle that was trained with lateral films knows of these; ``thresholds`` have no mirror, since
    either side may face the detector.
    """

    layout: Gaussian
    thresholds: Thresholds

    def odd(self, rows: np.ndarray) -> np.ndarray:
        """How unlike a lateral film layouts [rows, GRID * GRID] are, facing either way, float64 [rows]."""
        other = rows.reshape(-1, GRID, GRID)[:, :, ::-1].reshape(-1, GRID * GRID)
        return np.minimum(self.layout.distance(rows), self.layout.distance(other))


@dataclass(frozen=True)
class FilmGate:
    """What a bundle knows of frontal chest films, and of lateral ones where it was trained with them."""

    layout: Gaussian
    thresholds: Thresholds
    lateral: LateralGate | None = None

    @classmethod
    def load(
        cls,
        file: Path,
        shape: tuple[int, int, float],
        thresholds: Mapping[str, float | None],
        lateral: tuple[tuple[int, int, float], Mapping[str, float | None]] | None = None,
    ) -> "FilmGate":
        """The gate of a (checked) file; ``shape``: dim, axes and rest of the layout; ``lateral`` the same of
        lateral films with their thresholds. Errors: ArtefactDamaged.

        Numbers of an embedding may follow: bundles of 0.1.0 asked that too, and their threshold for it is not
        asked any more.
        """
        try:
            numbers = load_array(file)
            layout, rest = _gaussian(numbers, shape)
            of_laterals = lateral and _gaussian(rest, lateral[0])[0]
        except (ValueError, IndexError, TypeError) as error:
            raise ArtefactDamaged(f"{file}: not this bundle's film gate", type(error).__name__) from None
        gate = cls(layout, _thresholds(thresholds))
        if lateral is None or of_laterals is None:
            return gate
        return replace(gate, lateral=LateralGate(of_laterals, _thresholds(lateral[1])))

    def numbers(self) -> np.ndarray:
        """What the file holds, float32: the mean of the layout, then its axes; those of laterals behind."""
        layouts = [self.layout, *([self.lateral.layout] if self.lateral else [])]
        parts = [part for one in layouts for part in (one.mean, one.axes.reshape(-1))]
        return np.concatenate(parts).astype("<f4")

    def sees_lateral(self, layout: np.ndarray) -> bool:
        """Whether a film looks like a lateral one, and more so than like a frontal one."""
        if self.lateral is None:
            return False
        odd, most = float(self.lateral.odd(layout[None])[0]), self.lateral.thresholds.layout_reject
        return odd < self._odd(layout) and (most is None or odd <= most)

    def facts(self, layout: np.ndarray, view: int = FRONTAL) -> list[Fact]:
        """What the scores say against a film of a view (``studies.view_code``): layout [GRID * GRID]."""
        if view == LATERAL and self.lateral is None:
            return []
        of_view = self.lateral if view == LATERAL and self.lateral else self
        odd = float(self.lateral.odd(layout[None])[0]) if of_view is self.lateral else self._odd(layout)
        most = of_view.thresholds.layout_warn
        if most is None or odd <= most:
            return list(self._mirror_facts(layout, odd)) if view == FRONTAL else []
        reject = of_view.thresholds.layout_reject
        weight = REJECT if reject is not None and odd > reject else WARN
        known = "lateral films" if view == LATERAL else "frontal chest films"
        how = f"{odd / most:.1f} times as far" if odd >= 1.05 * most else "just as far"
        plain = (
            f"it does not look like the {known} this bundle knows: its light and dark are spread {how} from "
            "the usual as 97 in 100 of them are at most"
        )
        return [Fact(weight, self._otherwise(layout) or plain)]

    def _odd(self, layout: np.ndarray) -> float:
        return float(self.layout.distance(layout[None])[0])

    def _mirror_facts(self, layout: np.ndarray, odd: float) -> Iterator[Fact]:
        most = self.thresholds.mirror_warn
        if most is not None and odd - self._odd(mirrored(layout)) > most:
            yield Fact(WARN, "left and right may be exchanged: the heart seems to lie on the other side")

    def _otherwise(self, layout: np.ndarray) -> str | None:
        """How an odd film would look ordinary, as a film of either view: with its grey values inverted or
        turned; None where neither helps.
        """
        grid = layout.reshape(GRID, GRID)
        tried = np.stack([-grid, *(np.rot90(grid, turns) for turns in _TURNS)]).reshape(-1, GRID * GRID)
        best, distance = self._likest(tried, self.layout.distance, self.thresholds.layout_warn)
        if distance is None and self.lateral:
            best, distance = self._likest(tried, self.lateral.odd, self.lateral.thresholds.layout_warn)
        if distance is None:
            return None
        if best == 0:
            return INVERTED.format("with")
        # np.rot90 turns to the left: what one turn to the left mends was turned to the right.
        return f"it seems to be turned by {_TURNS[best]}: turn it upright"

    @staticmethod
    def _likest(
        tried: np.ndarray, odd: Callable[[np.ndarray], np.ndarray], most: float | None
    ) -> tuple[int, float | None]:
        """Which of some layouts is the least odd, and how odd; None where that is odd too."""
        distance = odd(tried)
        best = int(np.argmin(distance))
        ordinary = most is not None and distance[best] <= most
        return best, float(distance[best]) if ordinary else None


def _gaussian(numbers: np.ndarray, shape: tuple[int, int, float]) -> tuple[Gaussian, np.ndarray]:
    """The distribution that some numbers begin with, and the numbers behind. Errors: ValueError."""
    dim, axes, rest = shape
    count = (axes + 1) * dim
    rows = numbers[:count].reshape(axes + 1, dim)
    return Gaussian(rows[0], rows[1:], rest), numbers[count:]


def _thresholds(named: Mapping[str, float | None]) -> Thresholds:
    return Thresholds(**{name: named.get(name) for name in Thresholds.__dataclass_fields__})


@dataclass(frozen=True)
class Verdict:
    """``verdict``: ok, warn, reject, or None where nothing speaks against a film but no gate could judge
    it.
    """

    verdict: str | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class FilmView:
    """What a film is taken for, as ``studies.view_code`` has it, and what says so: ``header``, ``picture``
    (the gate) or ``assumed``.
    """

    code: int
    source: str

    @property
    def name(self) -> str:
        return "lateral" if self.code == LATERAL else "frontal"


@dataclass(frozen=True)
class Admission:
    """How a retriever lets films in.

    ``force`` answers rejected ones all the same, ``invert`` takes grey values the other way round;
    ``laterals``: the bundle was trained with lateral films, so these are let in as such.
    """

    gate: FilmGate | None = None
    force: bool = False
    invert: bool = False
    laterals: bool = False

    def turned(self, film: DecodedFilm) -> DecodedFilm:
        """The film as it is to be looked at."""
        if not self.invert:
            return film
        return replace(
            film,
            grey=255 - film.grey,
            notes=(*film.notes, "grey values taken the other way round (--invert)"),
        )

    def view_of(self, film: DecodedFilm, pixels: np.ndarray) -> FilmView | None:
        """What a film is taken for; None where the bundle knows no views. A header that says lateral is
        believed; one that says PA is not against a picture that is lateral, as a third of Open-I's laterals
        have it.
        """
        if not self.laterals:
            return None
        named = film.header.projection if film.header else "unknown"
        if named == "lateral":
            return FilmView(LATERAL, "header")
        if self.gate is not None and self.gate.sees_lateral(layout_of(pixels)):
            return FilmView(LATERAL, "picture")
        if named != "unknown":
            return FilmView(FRONTAL, "header")
        judged = self.gate is not None and self.gate.lateral is not None
        return FilmView(FRONTAL, "picture" if judged else "assumed")

    def judge(
        self, film: DecodedFilm, pixels: np.ndarray, view: FilmView | None = None
    ) -> tuple[Verdict, bool]:
        """The verdict, and whether the film is answered; ``view`` as of ``view_of``."""
        verdict = judge_film(film, pixels, self.gate, view)
        if self.invert:
            wrong, right = (INVERTED.format(word) for word in ("with", "without"))
            verdict = replace(
                verdict, reasons=tuple(right if reason == wrong else reason for reason in verdict.reasons)
            )
        if verdict.verdict != REJECT:
            return verdict, True
        return (
            (replace(verdict, reasons=(*verdict.reasons, FORCED)), True) if self.force else (verdict, False)
        )


def judge_film(
    film: DecodedFilm, pixels: np.ndarray, gate: FilmGate | None, view: FilmView | None = None
) -> Verdict:
    """The verdict on a film, from its tower input float32 [3, size, size]; ``view``: what it is taken for,
    None where the bundle knows frontal films alone.

    How it was decoded (``film.notes``) and that it is a lateral film stand before the reasons and do not
    change the verdict.
    """
    facts = facts_of(film, laterals=view is not None)
    code = view.code if view else FRONTAL
    if gate is not None:
        facts += gate.facts(layout_of(pixels), code)
    weights = {fact.weight for fact in facts}
    judging = gate and (gate.lateral if code == LATERAL else gate)
    passed = OK if judging and judging.thresholds.layout_warn is not None else None
    verdict = next((weight for weight in (REJECT, WARN) if weight in weights), passed)
    notes = (*film.notes, *([_lateral_note(film, view)] if view and code == LATERAL else []))
    return Verdict(verdict, (*notes, *(fact.reason for fact in facts)))


def _lateral_note(film: DecodedFilm, view: FilmView) -> str:
    otherwise = film.header.view_word if film.header and view.source == "picture" else ""
    though = f", though its header says {otherwise}" if otherwise else ""
    return f"a lateral film by its {view.source}{though}; this bundle was trained with them"


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
