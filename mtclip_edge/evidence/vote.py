"""How near reports vote: a weight for each, from its cosine, and the share of a label under those weights.

Cosines of one list lie close together (on Open-I the tenth report is 0.05 below the first), so they are no weights themselves: ten of
them would weigh nearly the same whatever they are. A report weighs exp((cosine - best cosine) / temperature) instead, where the
temperature is how far the tenth report of a median validation film lies below its first. A report as far below weighs 1/e of the best;
where all are equally near, all weigh the same.
"""

import numpy as np

Array = np.ndarray
VOTERS = 10  # reports that a verdict asks, whatever -k shows
TEMPERATURE = 0.05  # where a bundle brings none: what Open-I has, rounded


def weights(scores: Array, temperature: float) -> Array:
    """Weights float [..., k] that sum to 1, of cosines float [..., k]; a score of minus infinity (no report) weighs nothing."""
    scores = np.asarray(scores, np.float64)
    best = scores.max(axis=-1, keepdims=True)
    weight = np.exp((scores - np.where(np.isfinite(best), best, 0.0)) / temperature)
    total = weight.sum(axis=-1, keepdims=True)
    return np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)


def abnormal_share(labels: Array, weight: Array) -> Array:
    """Weighted share of abnormal among the labelled, float [...]; labels int [..., k], 0 normal, 1 abnormal. NaN without any."""
    known = (weight * ((labels == 0) | (labels == 1))).sum(axis=-1)
    return np.divide((weight * (labels == 1)).sum(axis=-1), known, out=np.full(np.shape(known), np.nan), where=known > 0)


def fitted_temperature(scores: Array) -> float | None:
    """The temperature of float [films, k] falling cosines, minus infinity where there are fewer; None without two reports to compare."""
    last = np.where(np.isfinite(scores), scores, np.inf).min(axis=1, initial=np.inf)
    gap = (scores[:, 0] - last)[np.isfinite(scores).sum(axis=1) > 1]
    return max(round(float(np.median(gap)), 4), 0.001) if len(gap) else None
