"""The orders that answers to many films may come in."""

from collections.abc import Callable
from typing import Any

from ..evidence.calibration import Abnormal
from ..retrieval.results import QueryResult

Order = Callable[[QueryResult], Any]
_VERDICTS = ("confident", "uncertain", "abstain", None, "rejected")


def verdict_of(result: QueryResult) -> str | None:
    """How far to trust the call of a film, ``rejected`` for one that was not answered, None without a
    verdict.
    """
    if result.rejected and not result.hits:
        return "rejected"
    return result.evidence.judgement.verdict if result.evidence else None


def order_of(name: str) -> Order:
    """The key of an order: ``verdict`` (confident first), ``abnormal`` (the most likely first), ``name``."""
    if name == "verdict":
        return lambda result: (_VERDICTS.index(verdict_of(result)), result.value)
    if name == "abnormal":
        return lambda result: (*_head_order(result.abnormal), result.value)
    return lambda result: result.value


def _head_order(abnormal: Abnormal | None) -> tuple[int, float]:
    """By probability; then films whose probability is not known, by the head's output; then the others."""
    if abnormal is None:
        return 2, 0.0
    if abnormal.probability is None:
        return 1, -abnormal.logit
    return 0, -abnormal.probability
