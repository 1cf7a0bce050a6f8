"""Divides studies into folds that share nothing, and puts the figures of the folds together.

What must lie in one fold is one cluster: all studies of a patient, all whose reports are the same or nearly
so, all with the same film by its bytes. So no report that is judged has a near twin in what was trained on.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import WrongOption
from ..sources.inspection.near_twins import exact_groups
from ..studies import LABEL_CODES, LABELS, Study, folded
from .bootstrap import Bootstrapped, Figure, interval
from .leaks import registries

Array = np.ndarray
# Of the studies that a fold trains on, one in so many chooses the epoch and fits the calibration: with five
# folds a tenth of all, as the split by hash has it.
INNER = 8


@dataclass(frozen=True)
class Fold:
    """``held`` is judged by what ``train`` fitted and ``validation`` chose; ``number`` counts from 1."""

    number: int
    train: tuple[Study, ...]
    validation: tuple[Study, ...]
    held: tuple[Study, ...]


def fold_studies(
    studies: Sequence[Study], digests: Mapping[Path, bytes], count: int, seed: int
) -> tuple[list[Fold], Array]:
    """Every study held out once, in ``count`` folds of like size and like share of each label, drawn from the
    seed; and the cluster of each study, int64 [studies].

    ``digests`` tells films of the same bytes; one that cannot be read may be missing. Errors: WrongOption
    where there are too few clusters.
    """
    if count < 2:
        raise WrongOption(f"--folds {count}", "expected 2 or more")
    cluster = clusters(studies, digests)
    place = parts(studies, cluster, count, seed)
    folds = []
    for number in range(count):
        rest = np.flatnonzero(place != number)
        left = [studies[int(i)] for i in rest]
        inner = parts(left, cluster[rest], INNER, seed + 1 + number)
        folds.append(
            Fold(
                number + 1,
                tuple(study for study, part in zip(left, inner, strict=True) if part != 0),
                tuple(study for study, part in zip(left, inner, strict=True) if part == 0),
                tuple(studies[int(i)] for i in np.flatnonzero(place == number)),
            )
        )
    return folds, cluster


def patient_parts(studies: Sequence[Study], count: int, seed: int = 0) -> Array:
    """The part of each study, int64 [studies], by patient alone: as new patients come, whose reports may well
    be like those there are.

    Errors: WrongOption where there are fewer patients than parts.
    """
    return parts(studies, _united(len(studies), _patient_ties(studies)), count, seed)


def clusters(studies: Sequence[Study], digests: Mapping[Path, bytes]) -> Array:
    """Which studies must stay together, int64 [studies]: the number of the first study of its cluster."""
    return _united(len(studies), _ties(studies, digests))


def _united(count: int, ties: Iterable[tuple[int, Hashable]]) -> Array:
    """``clusters`` by ties, each a study's number and what it is tied by: an equal key ties two."""
    first = np.arange(count)

    def root(i: int) -> int:
        while first[i] != i:
            first[i] = first[first[i]]
            i = int(first[i])
        return i

    holder: dict[Hashable, int] = {}
    for i, key in ties:
        a, b = root(i), root(holder.setdefault(key, i))
        first[max(a, b)] = min(a, b)
    return np.array([root(i) for i in range(count)], np.int64)


def _patient_ties(studies: Sequence[Study]) -> Iterator[tuple[int, Hashable]]:
    for i, study in enumerate(studies):
        for registry in registries(study):
            yield i, ("patient", registry, study.patient_id)


def _ties(studies: Sequence[Study], digests: Mapping[Path, bytes]) -> Iterator[tuple[int, Hashable]]:
    """By patient, by report and by film."""
    yield from _patient_ties(studies)
    texts = {s.report_id: folded(s.text) for s in studies if s.report_id}
    group = dict(zip(texts, exact_groups(list(texts.values())), strict=True))
    for i, study in enumerate(studies):
        if study.report_id:
            yield i, ("report", group[study.report_id])
        for film in study.films:
            if digest := digests.get(film.path):
                yield i, ("film", digest)


def parts(studies: Sequence[Study], cluster: Array, count: int, seed: int) -> Array:
    """The part of each study, int64 [studies], ``count`` of them: the largest clusters first, each to where
    its labels are fewest; in an order of the seed among clusters of one size.

    Errors: WrongOption where there are fewer clusters than parts.
    """
    films = np.zeros((len(studies), len(LABELS)))
    for i, study in enumerate(studies):
        films[i, LABEL_CODES[study.label]] = len(study.films)
    names, member = np.unique(cluster, return_inverse=True)
    if len(names) < count:
        raise WrongOption(
            f"{len(names)} groups of patients cannot be divided into {count} parts",
            "a group is all who share a patient, a film or nearly a report",
        )
    size = np.zeros((len(names), len(LABELS)))
    np.add.at(size, member, films)
    share = size / np.maximum(films.sum(axis=0), 1)  # of all films with a label
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(-size.sum(axis=1)[shuffled], kind="stable")]
    held, place = np.zeros((count, len(LABELS))), np.zeros(len(names), np.int64)
    for one in order:
        # Of equal ones the smallest altogether, so that what has one label alone is spread too.
        crowded = np.round(held @ size[one], 9)
        place[one] = np.lexsort((held.sum(axis=1), crowded))[0]
        held[place[one]] += share[one]
    return place[member]


def together(folds: Sequence[Sequence[Bootstrapped]]) -> list[Bootstrapped]:
    """Each figure over all folds: the mean of the folds', each as heavy as the studies it asked.

    A rank, a probability or a score is never compared across folds, which are judged by different trainings.
    The draws are put together likewise, one of each fold with one of each other.
    """
    keyed = [{(d.figure.name, d.figure.subset): d for d in fold} for fold in folds]
    keys = dict.fromkeys(key for fold in keyed for key in fold)
    return [_mean([fold[key] for fold in keyed if key in fold]) for key in keys]


def _mean(folds: Sequence[Bootstrapped]) -> Bootstrapped:
    figures = [drawn.figure for drawn in folds]
    weight = np.array([figure.studies for figure in figures], float)
    draws = weighted(np.stack([drawn.draws for drawn in folds]), weight)
    low, high = interval(draws)
    return Bootstrapped(
        replace(
            figures[0],
            value=_weighted_value(figures, "value"),
            low=low,
            high=high,
            chance=_weighted_value(figures, "chance"),
            ceiling=_weighted_value(figures, "ceiling"),
            studies=int(weight.sum()),
            prevalence=_weighted_value(figures, "prevalence"),
        ),
        draws,
    )


def weighted(values: Array, weight: Array) -> Array:
    """Weighted mean over the first axis, float [folds, n] to [n]; what is not finite takes no part."""
    finite = np.isfinite(values)
    total = (finite * weight[:, None]).sum(axis=0)
    summed = (np.where(finite, values, 0.0) * weight[:, None]).sum(axis=0)
    return np.divide(summed, total, out=np.full(values.shape[1], np.nan), where=total > 0)


def _weighted_value(figures: Sequence[Figure], name: str) -> float | None:
    there = [f for f in figures if getattr(f, name) is not None and f.studies]
    if not there:
        return None
    values = np.array([[getattr(f, name)] for f in there], float)
    return float(weighted(values, np.array([f.studies for f in there], float))[0])
