"""What a number of films can promise of an operating point, exactly and whatever their scores are distributed
like.
"""

import math


def binomial_tail(count: int, share: float, least: int) -> float:
    """The probability of at least ``least`` of ``count``, each with probability ``share``."""
    if least <= 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0
    logs = (
        math.lgamma(count + 1)
        - math.lgamma(k + 1)
        - math.lgamma(count - k + 1)
        + k * math.log(share)
        + (count - k) * math.log1p(-share)
        for k in range(least, count + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logs)))


def beta_quantile(probability: float, a: int, b: int) -> float:
    """Of Beta(a, b) with whole numbers, whose distribution is a binomial's tail; by bisection, to 1e-9."""
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        if binomial_tail(a + b - 1, middle, a) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def specificity_interval(normal: int, below: int, level: float = 0.95) -> tuple[float, float]:
    """Where the specificity lies, for new normal films of the same kind, of a threshold just above the
    ``below``-th of ``normal`` scores: it is distributed as Beta(below, normal + 1 - below) (Wilks 1941).
    """
    tail = (1 - level) / 2
    return tuple(beta_quantile(p, below, normal + 1 - below) for p in (tail, 1 - tail))  # type: ignore[return-value]


def share_interval(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share seen in ``hits`` of ``count`` (Clopper and Pearson 1934)."""
    tail = (1 - level) / 2
    low = beta_quantile(tail, hits, count - hits + 1) if hits else 0.0
    return low, beta_quantile(1 - tail, hits + 1, count - hits) if hits < count else 1.0
