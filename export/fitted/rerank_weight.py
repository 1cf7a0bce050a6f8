"""Whether the abnormal head may change the order of a bundle's reports, as its validation films say.

The weight itself was chosen by five folds (``benchmarks/retrieval/rerank.py``): the validation films of one
run are too few to choose by. They can tell that it does harm: then it is 0.
"""

from collections.abc import Sequence

import numpy as np

from ...evaluation.bootstrap import Bootstrapped, differences
from ...evaluation.cases import Cases
from ...evaluation.figures import Judged
from ...evaluation.model_on_cases import ModelOutput
from ...evidence.calibration import Calibration
from ...evidence.enough import NOT_CALIBRATED
from ...index.rerank import HEAD_WEIGHT, HeadWeight, score_table
from ...studies import Study

Array = np.ndarray
# By what an order is judged, the first that can be computed: findings, or labels where the source names none.
_JUDGED_BY = {"ndcg@10": "nDCG@10", "precision@10.macro": "macro P@10"}


def prior_of(train: Sequence[Study]) -> float:
    """The share of abnormal among labelled films; half where one label is missing."""
    labels = [study.label for study in train for _ in study.films]
    normal, abnormal = labels.count("normal"), labels.count("abnormal")
    return round(abnormal / (normal + abnormal), 4) if normal and abnormal else 0.5


def verified(
    cases: Cases,
    films: Array,
    logits: Array | None,
    reports: Array,
    calibration: Calibration | None,
    prior: float,
) -> HeadWeight:
    """The weight from the folds, or 0 where these films' order is worse with it.

    Unit vectors ``films`` float32 [films, dim] and ``reports`` float32 [reports, dim], ``logits`` float32
    [films]; None where the head was not trained; ``prior`` as of ``prior_of`` its train films.
    """

    def without(why: str) -> HeadWeight:
        return HeadWeight(0.0, prior, why)

    if logits is None:
        return without("the abnormal head was not trained")
    if calibration is None:
        return without(NOT_CALIBRATED)
    probability = np.round(calibration.probability(logits), 4)  # as a query tells it
    plain, with_head = (
        _judged(cases, films, reports, probability, prior, weight) for weight in (0.0, HEAD_WEIGHT)
    )
    gains = {figure.name: figure for figure in differences(plain, with_head)}
    gain = next((gains[name] for name in _JUDGED_BY if name in gains), None)
    if gain is None or gain.value is None or gain.low is None or gain.high is None:
        return without(f"{len(films)} validation films tell nothing: no label or finding is known")
    told = (
        f"{_JUDGED_BY[gain.name]} {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] on {len(films)} "
        "validation films"
    )
    if gain.value < 0:
        return without(f"with {HEAD_WEIGHT} it would be worse: {told}")
    return HeadWeight(HEAD_WEIGHT, prior, f"chosen by five folds; {told}")


def _judged(
    cases: Cases, films: Array, reports: Array, probability: Array, prior: float, weight: float
) -> list[Bootstrapped]:
    """The figures of class and findings with a weight."""
    score = score_table(films @ reports.T, cases.told_labels, probability, prior, weight)
    judgement = Judged(cases, ModelOutput(films, None, reports, score=score))
    return judgement.drawn([*judgement.precisions((10,)), *judgement.gradings()])
