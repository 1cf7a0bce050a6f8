"""A figure with what bounds it: interval, chance, ceiling and the number of studies asked; and
differences between two models.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

Array = np.ndarray
ANECDOTE = 20  # studies; fewer are an anecdote


@dataclass(frozen=True)
class Figure:
    """One figure. ``low`` and ``high`` bound its 95 % interval; ``studies`` counts what was asked.

    ``prevalence`` is the share of abnormal films, of sensitivity and specificity; ``control`` the same figure
    with films dealt to reports at random.
    """

    name: str
    subset: str
    value: float | None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    ceiling: float | None = None
    studies: int = 0
    prevalence: float | None = None
    control: "Figure | None" = None

    @property
    def lift(self) -> float | None:
        """How many times chance; of recalls only, where chance is near 0."""
        return (
            self.value / self.chance
            if self.name.startswith("recall") and self.value is not None and self.chance
            else None
        )

    @property
    def anecdote(self) -> bool:
        return self.studies < ANECDOTE

    def to_dict(self) -> dict[str, Any]:
        names = ("name", "subset", "value", "low", "high", "chance", "ceiling", "lift", "studies", "anecdote")
        control = self.control and {name: getattr(self.control, name) for name in ("value", "low", "high")}
        return {
            **{name: getattr(self, name) for name in names},
            "prevalence": self.prevalence,
            "control": control,
        }


@dataclass(frozen=True)
class Measure:
    """A figure still to be drawn: ``draw`` takes weights of films and of reports, float [draws, n], and
    gives float [draws].
    """

    figure: Figure
    draw: Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Bootstrapped:
    """A figure with its bootstrap draws, float [draws]."""

    figure: Figure
    draws: Array


def drawn(measure: Measure, films: Array, reports: Array) -> Bootstrapped:
    """A measure under weights: the first row, where all count once, gives the value, the others its
    interval.
    """
    values = measure.draw(films, reports)
    low, high = interval(values[1:])
    value = None if np.isnan(values[0]) or np.isinf(values[0]) else float(values[0])
    return Bootstrapped(replace(measure.figure, value=value, low=low, high=high), values[1:])


def with_control(drawn: Sequence[Bootstrapped], control: Sequence[Bootstrapped]) -> list[Bootstrapped]:
    """Each figure with what the control has of the same name and subset beside it."""
    others = {(d.figure.name, d.figure.subset): d.figure for d in control}
    return [
        replace(d, figure=replace(d.figure, control=others.get((d.figure.name, d.figure.subset))))
        for d in drawn
    ]


def interval(draws: Array) -> tuple[float | None, float | None]:
    """The 2.5th and 97.5th percentile of the draws that have a value."""
    finite = draws[np.isfinite(draws)]
    return (
        (float(np.quantile(finite, 0.025)), float(np.quantile(finite, 0.975)))
        if len(finite)
        else (None, None)
    )


def over_trainings(trainings: Sequence[Sequence[Bootstrapped]], seed: int) -> list[Bootstrapped]:
    """The mean over trainings of every figure; each draw takes trainings with replacement besides, the same
    ones for every figure and model, so an interval says how far a result carries to other trainings too.
    """
    keyed = [{(d.figure.name, d.figure.subset): d for d in training} for training in trainings]
    means = []
    for key, first in keyed[0].items():
        same = [training[key] for training in keyed if key in training]
        values = [d.figure.value for d in same if d.figure.value is not None]
        table = np.stack([d.draws for d in same])  # [trainings, draws]
        taken = np.random.default_rng(seed).integers(len(same), size=table.shape)
        draws = np.take_along_axis(table, taken, axis=0).mean(axis=0)
        low, high = interval(draws)
        figure = replace(first.figure, value=fmean(values) if values else None, low=low, high=high)
        means.append(Bootstrapped(figure, draws))
    return means


def differences(a: Sequence[Bootstrapped], b: Sequence[Bootstrapped]) -> list[Figure]:
    """b minus a with paired intervals, for the figures that both have.

    Both must come from the same cases, draws and seed.
    """
    first = {(d.figure.name, d.figure.subset): d for d in a}
    paired = []
    for drawn in b:
        other = first.get((drawn.figure.name, drawn.figure.subset))
        if other is None or drawn.figure.value is None or other.figure.value is None:
            continue
        low, high = interval(drawn.draws - other.draws)
        value = drawn.figure.value - other.figure.value
        paired.append(
            Figure(drawn.figure.name, drawn.figure.subset, value, low, high, studies=drawn.figure.studies)
        )
    return paired
