"""Every figure on cases worked out by hand, and against scikit-learn where it has the same figure."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from mtclip_edge.evaluation.metrics import (
    auroc,
    average_precision_at,
    calibration_error,
    ceiling_recall_at,
    chance_recall_at,
    first_hit_rank,
    ndcg_at,
    precision_at,
    top_k,
    weighted_auroc,
    weighted_average_precision,
    weighted_calibration_error,
    weighted_mean,
    weighted_median,
)


def recall_at(score: np.ndarray, positive: np.ndarray, k: int) -> float:
    return float((first_hit_rank(score, positive) <= k).mean())


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
    assert recall_at(random.normal(size=positive.shape), positive, 10) == pytest.approx(
        chance_recall_at(positive, 10), abs=0.03
    )


def test_a_twin_is_a_hit() -> None:
    """Two items with the query's text: finding either one counts."""
    score, twins = np.array([[0.1, 0.9, 0.5]]), np.array([[True, True, False]])
    assert recall_at(score, twins, 1) == 1.0


def test_no_queries_no_figure() -> None:
    assert chance_recall_at(np.zeros((0, 3), bool), 1) is None


def test_top_k_breaks_ties_by_index_and_honours_the_mask() -> None:
    score = np.array([[0.5, 0.9, 0.5, 0.9]])
    assert top_k(score, 3).tolist() == [[1, 3, 0]]
    assert top_k(score, 3, np.array([[True, False, True, False]])).tolist() == [[0, 2, -1]]


def test_fewer_items_than_k_divide_by_what_there_is() -> None:
    assert precision_at(np.array([[0.5, 0.4]]), np.array([1]), np.array([1, 0]), 10).tolist() == [0.5]


def test_a_constant_answer_has_macro_one_half(random: np.random.Generator) -> None:
    query = random.choice([0, 1], 400, p=[0.29, 0.71])
    item = random.choice([0, 1], 100, p=[0.29, 0.71])
    score = np.tile(random.normal(size=100), (400, 1))
    precision = precision_at(score, query, item, 10)
    assert (precision[query == 0].mean() + precision[query == 1].mean()) / 2 == pytest.approx(0.5)


def test_a_nan_is_never_a_hit() -> None:
    nan, positive = np.full((3, 20), np.nan), np.eye(3, 20, dtype=bool)
    assert recall_at(nan, positive, 10) == 0.0
    assert np.isnan(precision_at(nan, np.array([0, 1, 1]), np.array([0, 1] * 10), 10)).all()
    one = np.where(positive, np.nan, 0.5)
    assert recall_at(one, positive, 10) == 0.0


def test_average_precision_by_hand() -> None:
    # by falling score: abnormal (1/1), normal, abnormal (2/3), unknown left out
    found = weighted_average_precision(
        np.array([1, 0, 1, -1]), np.array([0.9, 0.5, 0.4, 2.0]), np.ones((1, 4))
    )
    assert found == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(weighted_average_precision(np.array([0, 0]), np.zeros(2), np.ones((1, 2)))).all()


def test_average_precision_equals_scikit_learn(random: np.random.Generator) -> None:
    label = random.integers(0, 2, 300)
    score = np.round(random.normal(label, 2), 1)
    found = weighted_average_precision(label, score, np.ones((1, 300)))
    assert found == pytest.approx(average_precision_score(label, score), abs=1e-12)


def test_weights_are_counts(random: np.random.Generator) -> None:
    """A case that counts twice is a case that is there twice; scikit-learn weighs them alike."""
    label, score = random.integers(0, 2, 120), np.round(random.normal(size=120), 1)
    weight = random.integers(0, 4, (3, 120)).astype(float)
    areas, precisions = weighted_auroc(label, score, weight), weighted_average_precision(label, score, weight)
    errors = weighted_calibration_error(label, 1 / (1 + np.exp(-score)), weight)
    for row, counts in enumerate(weight.astype(int)):
        twice, scores = np.repeat(label, counts), np.repeat(score, counts)
        assert areas[row] == pytest.approx(roc_auc_score(label, score, sample_weight=counts))
        assert areas[row] == pytest.approx(roc_auc_score(twice, scores))
        assert precisions[row] == pytest.approx(average_precision_score(twice, scores))
        assert errors[row] == pytest.approx(calibration_error(twice, 1 / (1 + np.exp(-scores))))


def test_calibration_error_by_hand() -> None:
    # bin 0.0-0.1: two films at 0.05, one abnormal: |0.5 - 0.05|; bin 0.9-1.0: two at 1.0, both abnormal: 0
    assert calibration_error(
        np.array([0, 1, 1, 1, -1]), np.array([0.05, 0.05, 1.0, 1.0, 0.3])
    ) == pytest.approx(0.45 / 2)
    assert calibration_error(np.zeros(0, int), np.zeros(0)) is None


def test_weighted_mean_and_median_leave_out_what_was_not_asked() -> None:
    value, weight = (
        np.array([1.0, np.nan, 3.0, 5.0]),
        np.array([[1.0, 9.0, 1.0, 1.0], [0, 1, 0, 4], [0, 1, 0, 0]]),
    )
    assert weighted_mean(value, weight)[:2].tolist() == [3.0, 5.0]
    assert weighted_median(value, weight)[:2].tolist() == [3.0, 5.0]
    assert np.isnan(weighted_mean(value, weight)[2])
    assert np.isnan(weighted_median(value, weight)[2])
    assert weighted_median(np.array([1.0, 2.0, 4.0, math.inf]), np.ones((1, 4))).tolist() == [
        2.0
    ]  # the lower of two


def test_precision_for_each_query_by_hand() -> None:
    item, score = np.array([0, 1, 1, -1]), np.tile([0.9, 0.8, 0.1, 1.0], (3, 1))
    found = precision_at(score, np.array([0, 1, -1]), item, 2)
    assert found[:2].tolist() == [0.5, 0.5]
    assert np.isnan(found[2])


def test_average_precision_of_a_ranking_by_hand() -> None:
    score = np.array([[0.9, 0.8, 0.7, 0.6]])
    relevant, allowed = np.array([[True, False, True, True]]), np.array([[True, True, True, False]])
    # ranks 1 and 3 of the three allowed: (1/1 + 2/3) / 2; cut at one: 1/1
    assert average_precision_at(score, relevant, 10, allowed)[0] == pytest.approx(5 / 6)
    assert average_precision_at(score, relevant, 1, allowed)[0] == 1.0
    assert np.isnan(average_precision_at(score, ~allowed, 10, allowed)[0])


def test_ndcg_equals_scikit_learn(random: np.random.Generator) -> None:
    gain, score = random.random((40, 30)), random.normal(size=(40, 30))
    found = ndcg_at(score, gain, 10, np.ones((40, 30), bool))
    assert found.mean() == pytest.approx(ndcg_score(gain, score, k=10, ignore_ties=True))


def test_ndcg_by_hand() -> None:
    gain, score = np.array([[0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]), np.array([[0.9, 0.8, 0.7], [0.9, 0.8, 0.7]])
    allowed = np.array([[True, True, True], [True, True, False]])
    found = ndcg_at(score, gain, 10, allowed)
    assert found[0] == pytest.approx((0.5 + 1 / np.log2(3)) / (1 + 0.5 / np.log2(3)))
    assert np.isnan(found[1])  # its only relevant item is not allowed
