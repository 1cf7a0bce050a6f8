"""The films of one study as one vector: what a query of a study asks, and what its evidence is fitted on."""

import numpy as np

from ..studies import FRONTAL, LATERAL

LATERAL_SHARE = 0.5  # of the laterals beside the frontal films


def study_vector(vectors: np.ndarray, logits: np.ndarray, views: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean direction float32 [dim] and mean logit of a study's films: unit vectors float32 [films, dim],
    logits [films], ``views`` int [films] as ``studies.view_code``.

    Films of one view are averaged, then the two views, so that two frontal films do not outvote a lateral.
    The abnormal head's logits are averaged likewise: the head reads one film at a time.
    """
    means = [_mean(vectors[views == view], logits[views == view]) for view in (FRONTAL, LATERAL)]
    there = [mean for mean in means if mean is not None]
    if len(there) == 1:
        return there[0]
    (frontal, one), (lateral, other) = there
    both = (1 - LATERAL_SHARE) * frontal.astype(np.float64) + LATERAL_SHARE * lateral
    return _unit(both), (1 - LATERAL_SHARE) * one + LATERAL_SHARE * other


def _mean(vectors: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, float] | None:
    if not len(vectors):
        return None
    return _unit(vectors.mean(axis=0, dtype=np.float64)), float(np.mean(logits))


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / np.linalg.norm(vector), np.float32)
