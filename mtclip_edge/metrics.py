"""Retrieval and classification figures in NumPy, one definition for training, export gate and evaluation.

Scores are float [queries, items]; ``positive`` is bool of the same shape. Equal scores never help: an item that ties with a positive
counts as ranked before it, so a constant answer gets nothing for free. A figure without a basis is None.
"""

from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def auroc(label: Array, score: Array) -> float | None:
    """Area under the ROC curve: the chance that an abnormal case scores above a normal one, ties half (Mann-Whitney U).

    ``label`` int [cases]: 0 normal, 1 abnormal, anything else is left out.
    """
    known = (label == 0) | (label == 1)
    label, score = label[known], np.asarray(score, np.float64)[known]
    abnormal = int((label == 1).sum())
    normal = len(label) - abnormal
    if not abnormal or not normal:
        return None
    _, inverse, count = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    rank = (last - (count - 1) / 2)[inverse]  # ties share the mean of their ranks
    return float((rank[label == 1].sum() - abnormal * (abnormal + 1) / 2) / (abnormal * normal))


def first_hit_rank(score: Array, positive: Array) -> Array:
    """Rank (from 1) of each query's best positive, float [queries]; infinity where it has none."""
    score = np.where(np.isnan(score), -np.inf, score)  # a NaN is never a hit
    best = np.where(positive, score, -np.inf).max(axis=1, initial=-np.inf)
    before = ((score >= best[:, None]) & ~positive).sum(axis=1)
    return np.where(positive.any(axis=1), before + 1.0, np.inf)


def recall_at(score: Array, positive: Array, k: int) -> float | None:
    """Share of queries with at least one positive among their first k."""
    return float((first_hit_rank(score, positive) <= k).mean()) if len(score) else None


def chance_recall_at(positive: Array, k: int) -> float | None:
    """What a random order gets: 1 - C(n-m, k) / C(n, k) for a query with m positives among n items, averaged."""
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
    """Indices of the k best items of each query, best first, ties by index, int [queries, k]; -1 where there are fewer."""
    score = np.where(np.isnan(score), -np.inf, np.asarray(score, np.float64))
    if allowed is not None:
        score = np.where(allowed, score, -np.inf)
    k = min(k, score.shape[1])
    order = np.argsort(-score, axis=1, kind="stable")[:, :k]
    return np.where(np.isneginf(np.take_along_axis(score, order, axis=1)), -1, order)


def class_precision_at(score: Array, query: Array, item: Array, k: int) -> dict[str, float | None]:
    """Share of a query's first k items that have its label, the mean for normal and for abnormal queries, and the mean of those two.

    ``query`` int [queries] and ``item`` int [queries, items] or [items]: 0 normal, 1 abnormal, else unknown. Unknown items are not
    ranked, unknown queries not asked. The macro mean of a constant answer is 0.5 whatever the classes' sizes.
    """
    item = np.broadcast_to(item, score.shape)
    best = top_k(score, k, allowed=(item == 0) | (item == 1))
    hit = (np.take_along_axis(item, best, axis=1) == query[:, None]) & (best >= 0)
    precision = hit.sum(axis=1) / np.maximum((best >= 0).sum(axis=1), 1)
    asked = (best >= 0).any(axis=1)
    normal, abnormal = (_mean(precision[asked & (query == label)]) for label in (0, 1))
    macro = None if normal is None or abnormal is None else (normal + abnormal) / 2
    return {"macro": macro, "normal": normal, "abnormal": abnormal}


def recall_table(score: Array, positive: Array, ks: Sequence[int] = (1, 5, 10)) -> dict[str, dict[str, float | None]]:
    """Recall@K with chance, ceiling and lift (recall over chance) for each K."""
    return {f"recall@{k}": _recall_row(score, positive, k) for k in ks}


def _recall_row(score: Array, positive: Array, k: int) -> dict[str, float | None]:
    value, chance = recall_at(score, positive, k), chance_recall_at(positive, k)
    lift = value / chance if value is not None and chance else None
    return {"value": value, "chance": chance, "lift": lift, "ceiling": ceiling_recall_at(positive, k)}


def _mean(values: Array) -> float | None:
    return float(values.mean()) if len(values) else None
