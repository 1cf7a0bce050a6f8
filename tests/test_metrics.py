"""Every figure on cases worked out by hand, and against scikit-learn where it has the same figure."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mtclip_edge.metrics import (
    auroc,
    ceiling_recall_at,
    chance_recall_at,
    class_precision_at,
    first_hit_rank,
    recall_at,
    recall_table,
    top_k,
)


def test_auroc_by_hand() -> None:
    # pairs (abnormal, normal): 0.9>0.1, 0.9>0.6, 0.4>0.1, 0.4<0.6, ties 0.6=0.6 count half
    label = np.array([0, 0, 1, 1, 1, -1])
    score = np.array([0.1, 0.6, 0.9, 0.4, 0.6, 5.0])
    assert auroc(label, score) == pytest.approx((1 + 1 + 1 + 0 + 1 + 0.5) / 6)


def test_auroc_equals_scikit_learn(random: np.random.Generator) -> None:
    label = random.integers(0, 2, 300)
    score = np.round(random.normal(label, 2), 1)  # rounded: many ties
    assert auroc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-12)


@pytest.mark.parametrize("label", [[], [1, 1], [0, 0, -1], [-1]])
def test_auroc_needs_both_classes(label: list[int]) -> None:
    assert auroc(np.array(label, int), np.zeros(len(label))) is None


SCORE = np.array([[0.9, 0.8, 0.1, 0.0], [0.2, 0.2, 0.2, 0.2], [0.1, 0.2, 0.3, 0.4], [0.5, 0.4, 0.3, 0.2]])
POSITIVE = np.array([[0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], bool)


def test_ranks_by_hand() -> None:
    # a positive that ties with three others comes last; a query without a positive is never hit
    assert list(first_hit_rank(SCORE, POSITIVE)) == [2, 4, 1, math.inf]


def test_recall_by_hand() -> None:
    assert [recall_at(SCORE, POSITIVE, k) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.5, 0.75]
    assert ceiling_recall_at(POSITIVE, 4) == 0.75


def test_a_constant_answer_gets_nothing_for_free() -> None:
    positive = np.eye(20, dtype=bool)
    assert recall_at(np.zeros((20, 20)), positive, 10) == 0.0


def test_chance_by_hand() -> None:
    # 2 positives of 4, 1 draw: 1/2; 2 draws: 1 - (2/4)(1/3) = 5/6; 0 positives: 0
    positive = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], bool)
    assert chance_recall_at(positive, 1) == pytest.approx(0.25)
    assert chance_recall_at(positive, 2) == pytest.approx(5 / 12)
    assert chance_recall_at(positive, 9) == pytest.approx(0.5)


def test_random_scores_get_chance(random: np.random.Generator) -> None:
    positive = np.zeros((4000, 50), bool)
    positive[np.arange(4000), random.integers(0, 50, 4000)] = True
    positive[:2000, 7] = True
    row = recall_table(random.normal(size=positive.shape), positive)["recall@10"]
    assert row["value"] == pytest.approx(row["chance"], abs=0.03)
    assert row["lift"] == pytest.approx(1.0, abs=0.12)


def test_a_twin_is_a_hit() -> None:
    """Two items with the query's text: finding either one counts."""
    score, twins = np.array([[0.1, 0.9, 0.5]]), np.array([[True, True, False]])
    assert recall_at(score, twins, 1) == 1.0


def test_no_queries_no_figure() -> None:
    assert recall_at(np.zeros((0, 3)), np.zeros((0, 3), bool), 1) is None
    assert chance_recall_at(np.zeros((0, 3), bool), 1) is None


def test_top_k_breaks_ties_by_index_and_honours_the_mask() -> None:
    score = np.array([[0.5, 0.9, 0.5, 0.9]])
    assert top_k(score, 3).tolist() == [[1, 3, 0]]
    assert top_k(score, 3, np.array([[True, False, True, False]])).tolist() == [[0, 2, -1]]


def test_class_precision_by_hand() -> None:
    item = np.array([0, 1, 1, -1])
    score = np.array([[0.9, 0.8, 0.1, 1.0], [0.9, 0.1, 0.8, 1.0], [0.9, 0.8, 0.1, 1.0]])
    # the unknown item is not ranked; normal query: [0, 1] -> 1/2; abnormal query: [0, 1] -> 1/2; the unknown query is not asked
    assert class_precision_at(score, np.array([0, 1, -1]), item, 2) == {"macro": 0.5, "normal": 0.5, "abnormal": 0.5}
    assert class_precision_at(score, np.array([0, 1, -1]), item, 1) == {"macro": 0.5, "normal": 1.0, "abnormal": 0.0}


def test_fewer_items_than_k_divide_by_what_there_is() -> None:
    assert class_precision_at(np.array([[0.5, 0.4]]), np.array([1]), np.array([1, 0]), 10)["abnormal"] == 0.5


def test_a_constant_answer_has_macro_one_half(random: np.random.Generator) -> None:
    query = random.choice([0, 1], 400, p=[0.29, 0.71])
    item = random.choice([0, 1], 100, p=[0.29, 0.71])
    score = np.tile(random.normal(size=100), (400, 1))
    assert class_precision_at(score, query, item, 10)["macro"] == pytest.approx(0.5)


def test_no_class_no_macro() -> None:
    result = class_precision_at(np.zeros((1, 2)), np.array([1]), np.array([1, 1]), 1)
    assert result == {"macro": None, "normal": None, "abnormal": 1.0}


def test_a_nan_is_never_a_hit() -> None:
    nan, positive = np.full((3, 20), np.nan), np.eye(3, 20, dtype=bool)
    assert recall_at(nan, positive, 10) == 0.0
    assert class_precision_at(nan, np.array([0, 1, 1]), np.array([0, 1] * 10), 10) == {"macro": None, "normal": None, "abnormal": None}
    one = np.where(positive, np.nan, 0.5)
    assert recall_at(one, positive, 10) == 0.0
