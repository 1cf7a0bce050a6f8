"""All that changes the order of reports after the search: of a film what the abnormal head says of it, and
how like it the reports' own films are; of a typed text the words that reports have.

The search gives the nearest by cosine. Of these the first ``CANDIDATES`` are put in order anew, by

    cosine + weight · log (p(label of the report | film) / p(label))    the head's part, where a bundle
                                                                        stores a weight
           + what the films of the report add                           ``query --fuse``, off unless asked for

and all others follow as they were. Whatever was fitted on cosines (percentiles, verdicts, votes) goes on
reading cosines. The weights were chosen out of fold (docs/results/results.md, "Re-ranking").

A typed text puts reports into groups by what they say of the findings that it names; within a group their
places by vector, by names and by words count, 1 / (RANKS + place) each (reciprocal rank fusion, Cormack et
al. 2009).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bundle.records import FuseRecord, RerankRecord
from ..errors import WrongOption
from .filters import Filters
from .index import DECIMALS, Hits
from .library import Library, Scope

Array = np.ndarray
CANDIDATES = 200
HEAD_WEIGHT = 0.15  # what export gives a bundle whose validation films are no worse for it
# A head that is all too sure moves a report by some weight · log 100 at most.
_LEAST, _MOST = 0.01, 0.99
RANKS = 10  # 5 to 60 differ little, small ones serve wordings that no report has better (docs/results)
NOT_ASKED = "not asked for"
_FURTHER = 10.0  # more than scores differ by: what is no candidate comes after all that are


@dataclass(frozen=True)
class Weight:
    """How much a part of the order counts, 0 for not, and why it is that."""

    weight: float
    why: str

    def record(self) -> FuseRecord:
        """As a bundle's manifest stores it."""
        return FuseRecord(self.weight, self.why)

    def to_dict(self) -> dict[str, Any]:
        return {"weight": self.weight, "why": self.why}


@dataclass(frozen=True)
class HeadWeight:
    """How much the head counts, 0 for not, and why; ``prior`` is the share of abnormal that it was trained
    on, None where nothing counts.
    """

    weight: float
    prior: float | None
    why: str

    def record(self) -> RerankRecord:
        """As a bundle's manifest stores it."""
        return RerankRecord(self.weight, 0.5 if self.prior is None else self.prior, self.why)

    def to_dict(self) -> dict[str, Any]:
        return {"weight": self.weight, "prior": self.prior, "why": self.why}


@dataclass(frozen=True)
class Weights:
    """The weights in force for films and studies; texts are ordered by other rules (``typed``)."""

    head: HeadWeight
    films: Weight

    @property
    def any(self) -> bool:
        """Whether anything but the cosine counts."""
        return bool(self.head.weight or self.films.weight)

    def to_dict(self) -> dict[str, Any]:
        return {"head": self.head.to_dict(), "films": self.films.to_dict(), "first": CANDIDATES}


_WITH_TEXT = "a film and a text together are ordered by cosine alone"
BY_COSINE = Weights(HeadWeight(0.0, None, _WITH_TEXT), Weight(0.0, _WITH_TEXT))


@dataclass(frozen=True)
class Placed:
    """What put a report in its place: ``score`` is the sum of the others, each to four decimals."""

    score: float
    cosine: float
    head: float
    films: float

    def to_dict(self) -> dict[str, float]:
        return {"score": self.score, "cosine": self.cosine, "head": self.head, "films": self.films}


@dataclass(frozen=True)
class Owed:
    """What a report owes its place to, for a typed text: places count from 1 among the reports of its group,
    equal ones alike, None where it is not in that list.

    ``marks``: on how many of the findings named it agrees, less those it contradicts: its group. ``score`` is
    the sum of what the places give.
    """

    score: float
    vector: int | None
    names: int | None
    words: int | None
    marks: int

    def to_dict(self) -> dict[str, float | int | None]:
        return {
            "score": self.score,
            "vector": self.vector,
            "names": self.names,
            "words": self.words,
            "marks": self.marks,
        }


def choose_fusion(wanted: str, tuned: FuseRecord | None) -> Weight:
    """From ``off``, ``auto`` or a number above 0 and at most 1. Errors: WrongOption."""
    if wanted == "off":
        return Weight(0.0, NOT_ASKED)
    if wanted == "auto":
        return (
            Weight(tuned.weight, tuned.why)
            if tuned
            else Weight(0.0, "this bundle was exported without validation films to choose a weight by")
        )
    try:
        weight = float(wanted)
    except ValueError:
        weight = 0.0
    if not 0 < weight <= 1:
        raise WrongOption(f"--fuse {wanted}", "expected auto, off, or a number above 0 and at most 1")
    return Weight(weight, "asked for")


def choose_head(wanted: bool, record: RerankRecord | None, has_head: bool, filters: Filters) -> HeadWeight:
    """The head's weight: what the bundle stores, unless it is not wanted or can change nothing."""
    if not wanted:
        return HeadWeight(0.0, None, "switched off")
    if record is None:
        return HeadWeight(0.0, None, "this bundle was exported before there was a weight: export it again")
    if not has_head:
        return HeadWeight(0.0, None, "the abnormal head was not trained")
    if filters.label:
        return HeadWeight(0.0, None, "one label alone passes --label: the head has nothing to choose between")
    return HeadWeight(record.weight, record.prior, record.why)


def head_terms(labels: Array, probability: Array | float, prior: float, weight: float) -> Array:
    """What the head adds to reports, float like ``labels``: weight · log (p(label | film) / p(label)), how
    much more a report's label is to be expected for this film than for any.

    ``labels`` int, 0 normal, 1 abnormal, else unknown: nothing is added, which lies between what the two
    labels get. ``probability`` of abnormal, of the same shape or one that broadcasts; ``prior`` is its share
    among the films that the head was trained on: without it the more frequent label would come first for
    most films.
    """
    abnormal, often = (np.clip(np.asarray(p, np.float64), _LEAST, _MOST) for p in (probability, prior))
    ratio = np.where(labels == 1, abnormal / often, np.where(labels == 0, (1 - abnormal) / (1 - often), 1.0))
    return weight * np.log(ratio)


def film_terms(library: Library, query: Array, first: Hits, weight: float) -> Array:
    """What their own films add to candidates' cosines for a unit vector [dim], float [candidates]; nothing to
    one without a film.
    """
    cosine = np.array(first.scores)
    if not weight or not len(cosine):
        return np.zeros(len(cosine))
    owner, vectors = library.film_vectors(first.rows)
    films = vectors.astype(np.float64)
    likest = most_similar(first.rows, owner, (films * query.astype(np.float64)).sum(axis=1))
    return np.round(fused(cosine, likest, weight), DECIMALS) - cosine


def candidates(library: Library, query: Array, k: int, weights: Weights, scope: Scope) -> Hits:
    """The hits by cosine that are put in order anew, or more where more are wanted.

    With films they are always found exactly: their mean and spread are those of all of them.
    """
    return library.nearest(query, max(k, CANDIDATES), scope, exact=bool(weights.films.weight))


def reordered(
    first: Hits, ids: Mapping[int, str], head: Array, films: Array
) -> tuple[Hits, tuple[Placed | None, ...]]:
    """Hits by cosine in their new order, and what put each there; None for those behind the candidates.

    ``head`` and ``films`` are float [candidates] of the first hits; ``ids`` of all rows break ties. The score
    of a hit is its cosine with what films add: the head's part has its place in ``Placed`` alone.
    """
    count = len(head)
    added = np.round(head, DECIMALS)  # a sum of two numbers of four decimals keeps the order of cosines
    scores = [round(float(s), DECIMALS) + 0.0 for s in np.array(first.scores[:count]) + films]
    parts = [
        Placed(
            round(score + float(of_head), DECIMALS) + 0.0,
            cosine,
            float(of_head) + 0.0,
            round(float(of_films), DECIMALS) + 0.0,
        )
        for score, cosine, of_head, of_films in zip(scores, first.scores, added, films, strict=False)
    ]
    order = sorted(range(count), key=lambda i: (-parts[i].score, ids[first.rows[i]]))
    hits = Hits(
        (*(first.rows[i] for i in order), *first.rows[count:]),
        (*(scores[i] for i in order), *first.scores[count:]),
        first.choice,
    )
    return hits, (*(parts[i] for i in order), *[None] * (len(first.rows) - count))


def typed_ranking(by_vector: bool, by_words: bool) -> dict[str, Any]:
    """By what the reports of a typed text are ordered: the lists that count, the constant of their sum."""
    lists = {"vector": by_vector, "names": by_words, "words": by_words, "marks": by_words}
    return {"by": [name for name, counts in lists.items() if counts], "constant": RANKS if by_words else None}


def places(rows: Sequence[int], values: Array) -> dict[int, int]:
    """The place of each row by falling value, from 1; equal values have one place, NaN has none."""
    known = [(row, float(value)) for row, value in zip(rows, values, strict=True) if not np.isnan(value)]
    falling = np.sort([-value for _, value in known])
    return {row: int(np.searchsorted(falling, -value)) + 1 for row, value in known}


def first_places(rows: Sequence[int], values: Array, most: int) -> dict[int, int]:
    """Those of the first ``most`` places."""
    return {row: place for row, place in places(rows, values).items() if place <= most}


def owed(row: int, lists: Sequence[Mapping[int, int]], marks: int) -> Owed:
    """What a report owes its place to, of its places in the lists by vector, names and words."""
    vector, names, words = (places.get(row) for places in lists)
    given = (1 / (RANKS + place) for place in (vector, names, words) if place is not None)
    return Owed(round(sum(given), 6), vector, names, words, marks)


def score_table(cosines: Array, labels: Array, probability: Array, prior: float, weight: float) -> Array:
    """What reports are ordered by for many films, float64 [films, reports]: the head's part on the first
    candidates of each film, all others behind them by cosine.

    ``cosines`` float and ``labels`` int [films, reports] as in ``head_terms``, ``probability`` float [films].
    """
    table = np.asarray(cosines, np.float64)
    if not weight or not table.size:
        return table
    scores = table + head_terms(labels, np.asarray(probability)[:, None], prior, weight)
    if table.shape[1] > CANDIDATES:
        least = np.partition(table, -CANDIDATES, axis=1)[:, -CANDIDATES, None]
        scores = np.where(table >= least, scores, table - _FURTHER)
    return scores


def fused(report: Array, film: Array, weight: float) -> Array:
    """Scores float [n] of n candidates: report cosines, and film cosines brought to their mean and spread.

    ``film`` is the likeness of each report's most similar film, NaN where it has none: that one keeps its
    report score.
    """
    with_film = ~np.isnan(film)
    spread = film[with_film].std() if with_film.any() else 0.0
    if spread < 1e-9:
        return report
    scaled = report.mean() + report.std() * (film - film[with_film].mean()) / spread
    return np.where(with_film, (1 - weight) * report + weight * scaled, report)


def most_similar(reports: Sequence[int], owner: Array, likeness: Array) -> Array:
    """For each report row the highest likeness among its films, NaN without one: float [reports].

    ``owner`` int [films] names the report row of each film, ``likeness`` float [films].
    """
    best = dict.fromkeys(reports, -np.inf)
    for row, value in zip(owner.tolist(), likeness.tolist(), strict=True):
        if row in best:
            best[row] = max(best[row], value)
    likest = np.array([best[row] for row in reports])
    return np.where(np.isneginf(likest), np.nan, likest)
