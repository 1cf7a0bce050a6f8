"""Retrieval and classification figures in NumPy, one definition for training, export gate and evaluation.

Scores are float [queries, items]; ``positive`` is bool of the same shape. Equal scores never help: an item
that ties with a positive counts as ranked before it, so a constant answer gets nothing for free. A figure
without a basis is None.
"""

import numpy as np

Array = np.ndarray


def auroc(label: Array, score: Array) -> float | None:
    """Area under the ROC curve: the chance that an abnormal case scores above a normal one, ties half
    (Mann-Whitney U).

    ``label`` int [cases]: 0 normal, 1 abnormal, anything else is left out.
    """
    return _one(weighted_auroc(label, score, np.ones((1, len(label)))))


def weighted_auroc(label: Array, score: Array, weight: Array) -> Array:
    """The same where a case counts ``weight`` times: float [draws, cases] to float [draws], NaN without
    both classes.
    """
    normal, abnormal, ends = _sorted_counts(label, score, weight)
    below = np.cumsum(normal, axis=1)[:, ends]  # normal cases up to the end of each group of equal scores
    before = np.concatenate([np.zeros((len(weight), 1)), below[:, :-1]], axis=1)
    here = np.diff(np.cumsum(abnormal, axis=1)[:, ends], axis=1, prepend=0.0)
    return _ratio((here * (before + below) / 2).sum(axis=1), normal.sum(axis=1) * abnormal.sum(axis=1))


def weighted_average_precision(label: Array, score: Array, weight: Array) -> Array:
    """Area under the precision-recall curve of finding abnormal cases, as the sum of (R_i - R_i-1) P_i over
    falling thresholds.

    A case counts ``weight`` times: float [draws, cases] to float [draws].
    """
    normal, abnormal, ends = _sorted_counts(label, -np.asarray(score, np.float64), weight)
    true, false = np.cumsum(abnormal, axis=1)[:, ends], np.cumsum(normal, axis=1)[:, ends]
    precision = true / np.maximum(true + false, 1e-12)
    return _ratio((np.diff(true, axis=1, prepend=0.0) * precision).sum(axis=1), abnormal.sum(axis=1))


def calibration_error(label: Array, probability: Array, bins: int = 10) -> float | None:
    """Expected calibration error: |share abnormal - mean probability| over bins of equal width, weighted
    by their cases.
    """
    return _one(weighted_calibration_error(label, probability, np.ones((1, len(label))), bins))


def weighted_calibration_error(label: Array, probability: Array, weight: Array, bins: int = 10) -> Array:
    """The same where a case counts ``weight`` times: float [draws, cases] to float [draws]."""
    labelled = (label == 0) | (label == 1)
    label, probability, weight = (
        label[labelled],
        np.asarray(probability, np.float64)[labelled],
        weight[:, labelled],
    )
    place = np.minimum((probability * bins).astype(int), bins - 1)
    gap = weight * (label - probability)
    off = sum(np.abs(gap[:, place == bin].sum(axis=1)) for bin in range(bins))
    return _ratio(np.asarray(off), weight.sum(axis=1))


def weighted_mean(value: Array, weight: Array) -> Array:
    """Mean of float [cases] under float [draws, cases]: float [draws]. NaN values are left out."""
    counted = ~np.isnan(value)
    return _ratio(weight[:, counted] @ value[counted], weight[:, counted].sum(axis=1))


def weighted_median(value: Array, weight: Array) -> Array:
    """Lower median of float [cases] under float [draws, cases]: float [draws].

    NaN values are left out, infinite ones are not.
    """
    counted = ~np.isnan(value)
    order = np.argsort(value[counted], kind="stable")
    value, weight = value[counted][order], weight[:, counted][:, order]
    if not len(value):
        return np.full(len(weight), np.nan)
    reached = np.cumsum(weight, axis=1) >= weight.sum(axis=1, keepdims=True) / 2
    return np.where(weight.sum(axis=1) > 0, value[np.argmax(reached, axis=1)], np.nan)


def weighted_aurc(trust: Array, wrong: Array, weight: Array) -> Array:
    """Area under the risk-coverage curve (Geifman et al. 2019): the share of wrong decisions, averaged over
    every coverage.

    ``trust`` float [cases], the most trusted first; ``wrong`` float [cases], 0 or 1 (NaN is left out);
    ``weight`` float [draws, cases]. Equal trust is one step of the curve, so a constant trust has the risk of
    all. Small is good.
    """
    wrong, weight, ends = _by_trust(trust, wrong, weight)
    risk = _curve(wrong, weight, ends)
    step = np.diff(np.cumsum(weight, axis=1)[:, ends], axis=1, prepend=0.0)
    return _ratio((np.nan_to_num(risk) * step).sum(axis=1), weight.sum(axis=1))


def risk_coverage(trust: Array, wrong: Array) -> tuple[Array, Array]:
    """The risk-coverage curve: coverage (0 to 1] and the share of wrong decisions among the most trusted,
    float [steps] each.
    """
    weight = np.ones((1, len(trust)))
    wrong, weight, ends = _by_trust(trust, wrong, weight)
    return np.cumsum(weight, axis=1)[0, ends] / max(weight.sum(), 1), _curve(wrong, weight, ends)[0]


def best_aurc(wrong: Array) -> float | None:
    """The AURC of a trust that knows which decisions are wrong: all of them come last."""
    decided = np.sort(wrong[~np.isnan(wrong)])
    return float((np.cumsum(decided) / np.arange(1, len(decided) + 1)).mean()) if len(decided) else None


def _by_trust(trust: Array, wrong: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Decisions and weights by falling trust, and where each group of equal trust ends."""
    decided = ~np.isnan(wrong)
    trust, wrong, weight = np.asarray(trust, np.float64)[decided], wrong[decided], weight[:, decided]
    order = np.argsort(-trust, kind="stable")
    trust, wrong, weight = trust[order], wrong[order], weight[:, order]
    return (
        wrong,
        weight,
        np.flatnonzero(np.append(trust[1:] != trust[:-1], True)) if len(trust) else np.zeros(0, int),
    )


def _curve(wrong: Array, weight: Array, ends: Array) -> Array:
    """Risk among the cases up to each end, float [draws, steps], NaN where none has any weight."""
    return _ratio(np.cumsum(weight * wrong, axis=1)[:, ends], np.cumsum(weight, axis=1)[:, ends])


def _sorted_counts(label: Array, score: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Weights of normal and of abnormal cases by rising score, float [draws, cases], and where each group
    of equal scores ends.
    """
    labelled = (label == 0) | (label == 1)
    label, score, weight = label[labelled], np.asarray(score, np.float64)[labelled], weight[:, labelled]
    order = np.argsort(score, kind="stable")
    label, score, weight = label[order], score[order], weight[:, order]
    ends = np.flatnonzero(np.append(score[1:] != score[:-1], True)) if len(score) else np.zeros(0, int)
    return weight * (label == 0), weight * (label == 1), ends


def _ratio(above: Array, below: Array) -> Array:
    """Above over below, NaN where there is nothing below."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)


def _one(values: Array) -> float | None:
    return None if np.isnan(values[0]) else float(values[0])


def first_hit_rank(score: Array, positive: Array) -> Array:
    """Rank (from 1) of each query's best positive, float [queries]; infinity where it has none."""
    score = np.where(np.isnan(score), -np.inf, score)  # a NaN is never a hit
    best = np.where(positive, score, -np.inf).max(axis=1, initial=-np.inf)
    before = ((score >= best[:, None]) & ~positive).sum(axis=1)
    return np.where(positive.any(axis=1), before + 1.0, np.inf)


def chance_recall_at(positive: Array, k: int) -> float | None:
    """What a random order gets: 1 - C(n-m, k) / C(n, k) for a query with m positives among n items,
    averaged.
    """
    if not positive.size:
        return None
    n = positive.shape[1]
    if k >= n:
        return float(positive.any(axis=1).mean())
    m = positive.sum(axis=1)
    draws = np.arange(k)
    miss = np.clip((n - m[:, None] - draws) / (n - draws), 0.0, None).prod(axis=1)
    return float((1.0 - miss).mean())


def ceiling_recall_at(positive: Array, k: int) -> float | None:
    """What a perfect order gets: a query without any positive can never hit."""
    return float(positive.any(axis=1).mean()) if len(positive) and k > 0 else None


def top_k(score: Array, k: int, allowed: Array | None = None) -> Array:
    """Indices of the k best items of each query, best first, ties by index, int [queries, k]; -1 where
    there are fewer.
    """
    score = np.where(np.isnan(score), -np.inf, np.asarray(score, np.float64))
    if allowed is not None:
        score = np.where(allowed, score, -np.inf)
    k = min(k, score.shape[1])
    order = np.argsort(-score, axis=1, kind="stable")[:, :k]
    return np.where(np.isneginf(np.take_along_axis(score, order, axis=1)), -1, order)


def precision_at(score: Array, query: Array, item: Array, k: int) -> Array:
    """Share of each query's first k items that have its label, float [queries]; NaN where nothing is asked.

    ``query`` int [queries] and ``item`` int [queries, items] or [items]: 0 normal, 1 abnormal, else unknown.
    Unknown items are not ranked, unknown queries not asked.
    """
    item = np.broadcast_to(item, score.shape)
    best = top_k(score, k, allowed=(item == 0) | (item == 1))
    hit = (np.take_along_axis(item, best, axis=1) == query[:, None]) & (best >= 0)
    retrieved = (best >= 0).sum(axis=1)
    counted = (retrieved > 0) & ((query == 0) | (query == 1))
    return np.where(counted, hit.sum(axis=1) / np.maximum(retrieved, 1), np.nan)


def average_precision_at(score: Array, relevant: Array, k: int, allowed: Array) -> Array:
    """AP@K of each query, float [queries]: mean precision at the ranks of its relevant items among the first
    K, over min(K, relevant).

    ``relevant`` and ``allowed`` bool [queries, items]; items not allowed are not ranked. NaN without a
    relevant item.
    """
    best = top_k(score, k, allowed)
    hit = np.take_along_axis(relevant, best, axis=1) & (best >= 0)
    precision = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
    return _ratio(
        (precision * hit).sum(axis=1), np.minimum(k, (relevant & allowed).sum(axis=1)).astype(float)
    )


def ndcg_at(score: Array, gain: Array, k: int, allowed: Array) -> Array:
    """nDCG@K of each query, float [queries]: graded gains 0..1, discounted by log2(rank + 1), over the best
    order's (Jarvelin 2002).

    ``gain`` float and ``allowed`` bool [queries, items]; items not allowed are not ranked. NaN where no item
    has a gain.
    """
    best = top_k(score, k, allowed)
    discount = 1 / np.log2(np.arange(2, best.shape[1] + 2))
    gained = np.where(best >= 0, np.take_along_axis(gain, best, axis=1), 0.0) @ discount
    ideal = -np.sort(-np.where(allowed, gain, 0.0), axis=1)[:, : best.shape[1]] @ discount
    return _ratio(gained, ideal)
