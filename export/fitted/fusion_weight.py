"""Chooses the weight of films in ``query --fuse auto``, chosen on validation films when a bundle is
exported.
"""

from collections.abc import Sequence

import numpy as np

from ...evaluation.bootstrap import Bootstrapped, differences
from ...evaluation.cases import Cases
from ...evaluation.figures import Judged
from ...evaluation.model_on_cases import ModelOutput
from ...index.rerank import CANDIDATES, Weight, fused, most_similar

Array = np.ndarray
WEIGHTS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
_JUDGED_BY = ("precision@10.macro", "map@10", "ndcg@10")


def fused_scores(queries: Array, reports: Array, films: Array, owner: Array, weight: float) -> Array:
    """Scores of all reports for many films, float [asked, reports]; what is not among a film's best 200 is
    minus infinity.

    Unit vectors: ``queries`` [asked, dim], ``reports`` [reports, dim], ``films`` [films, dim] of the index
    with their ``owner``.
    """
    score, likeness = queries @ reports.T, queries @ films.T
    best_film = np.full(score.shape, -np.inf)
    for row in range(len(queries)):
        best = np.argsort(-score[row], kind="stable")[:CANDIDATES]
        film = most_similar(best.tolist(), owner, likeness[row])
        best_film[row, best] = fused(score[row, best].astype(np.float64), film, weight)
    return best_film


def judged(
    cases: Cases, queries: Array, reports: Array, films: Array, owner: Array, weight: float
) -> list[Bootstrapped]:
    """The figures of class and findings with a weight; 0 is the search without films."""
    score = fused_scores(queries, reports, films, owner, weight) if weight else queries @ reports.T
    judgement = Judged(cases, ModelOutput(queries, None, reports, score=score))
    return judgement.drawn([*judgement.precisions((1, 5, 10)), *judgement.gradings()])


def tune(cases: Cases, queries: Array, reports: Array, films: Array, owner: Array) -> Weight:
    """The weight with the best mean of macro P@10, mAP@10 and nDCG@10 on validation films; 0 where
    nDCG@10 is not surely better.
    """
    without = judged(cases, queries, reports, films, owner, 0.0)
    tried = [(weight, judged(cases, queries, reports, films, owner, weight)) for weight in WEIGHTS]
    weight, best = max(tried, key=lambda pair: _mean(pair[1]))
    gain = {figure.name: figure for figure in differences(without, best)}.get("ndcg@10")
    if gain is None or gain.value is None or gain.low is None or gain.low <= 0:
        return Weight(0.0, f"on {len(queries)} validation films no weight is surely better than none")
    return Weight(
        weight,
        f"nDCG@10 {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] on {len(queries)} validation films",
    )


def _mean(drawn: Sequence[Bootstrapped]) -> float:
    values = [d.figure.value for d in drawn if d.figure.name in _JUDGED_BY and d.figure.value is not None]
    return sum(values) / len(values) if values else 0.0
