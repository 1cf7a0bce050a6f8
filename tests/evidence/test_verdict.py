"""Votes, verdicts and the risk-coverage curve, against values worked out by hand or by brute force."""

import numpy as np
import pytest

from mtclip_edge.evaluation.bootstrap import Figure
from mtclip_edge.evaluation.metrics import best_aurc, risk_coverage, weighted_aurc
from mtclip_edge.evaluation.risk_coverage import Decisions
from mtclip_edge.evidence.measuring import isotonic
from mtclip_edge.evidence.validation_reference import Similarities
from mtclip_edge.evidence.verdict import (
    FilmVerdicts,
    Measured,
    TrustRule,
    abnormal_share,
    against,
    fitted_temperature,
    trust_in,
    verdict_of,
    weights,
)

WORTH = {
    "confident": Measured(60, 0.05, 0.3),
    "uncertain": Measured(100, 0.3, 0.5),
    "abstain": Measured(40, 0.525, 0.2),
}
RULE = TrustRule(0.8, 0.6, WORTH)


def test_a_report_as_far_below_as_the_temperature_weighs_one_over_e() -> None:
    weight = weights(np.array([0.5, 0.45, 0.5, -np.inf]), 0.05)
    assert weight == pytest.approx(np.array([1, np.exp(-1), 1, 0]) / (2 + np.exp(-1)))
    assert weights(np.array([0.3, 0.3]), 0.01).tolist() == [0.5, 0.5]
    assert weights(np.full((1, 2), -np.inf), 0.05).tolist() == [[0, 0]]


def test_unknown_reports_do_not_vote() -> None:
    labels, weight = np.array([[1, 0, -1], [-1, -1, -1]]), np.array([[0.5, 0.25, 0.25], [1, 0, 0]])
    share = abnormal_share(labels, weight)
    assert share[0] == pytest.approx(2 / 3) and np.isnan(share[1])


def test_the_temperature_is_the_median_fall_to_the_last_report() -> None:
    assert fitted_temperature(np.array([[0.5, 0.4], [0.6, 0.58], [0.9, 0.2], [0.4, -np.inf]])) == 0.1
    assert fitted_temperature(np.array([[0.5, -np.inf]])) is None


@pytest.mark.torch  # not for torch, but scikit-learn comes with it
def test_the_isotonic_fit_is_the_nearest_rising_function(random: np.random.Generator) -> None:
    from sklearn.isotonic import IsotonicRegression

    for count in (1, 2, 7, 60):
        key, value = np.sort(random.integers(0, 30, count) / 30), random.integers(0, 2, count).astype(float)
        assert isotonic(value, key) == pytest.approx(IsotonicRegression().fit(key, value).predict(key))
    assert len(isotonic(np.zeros(0), np.zeros(0))) == 0


def test_aurc_is_the_mean_risk_over_every_coverage(random: np.random.Generator) -> None:
    trust, wrong = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0.0, 1.0, 0.0, 1.0])
    assert weighted_aurc(trust, wrong, np.ones((1, 4)))[0] == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    assert [x.tolist() for x in risk_coverage(trust, wrong)] == [
        [0.25, 0.5, 0.75, 1],
        pytest.approx([0, 0.5, 1 / 3, 0.5]),
    ]
    assert weighted_aurc(np.ones(4), wrong, np.ones((1, 4)))[0] == 0.5  # a constant trust has the risk of all
    assert best_aurc(wrong) == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)
    trust, wrong = random.permutation(30) / 30, random.integers(0, 2, 30).astype(float)
    count = random.integers(0, 4, 30)
    repeated = weighted_aurc(np.repeat(trust, count), np.repeat(wrong, count), np.ones((1, count.sum())))
    assert weighted_aurc(trust, wrong, count[None].astype(float)) == pytest.approx(repeated)
    assert (
        np.isnan(weighted_aurc(trust, np.full(30, np.nan), np.ones((1, 30)))[0])
        and best_aurc(np.array([np.nan])) is None
    )


@pytest.mark.parametrize(
    ("probability", "more", "verdict", "why"),
    [
        (0.9, {}, "confident", "3 of 60 validation films this sure were judged wrongly"),
        (0.1, {"vote": 0.2}, "confident", "3 of 60 validation films this sure were judged wrongly"),
        (0.7, {}, "uncertain", "30 of 100 validation films about as sure were judged wrongly"),
        (0.45, {}, "abstain", "21 of 40 validation films this unsure were judged wrongly"),
        (0.9, {"vote": 0.7}, "uncertain", "the nearest reports speak against it"),
        (0.1, {"vote": 0.8}, "uncertain", "the nearest reports speak against it"),
        (0.9, {"percentile": 0.9}, "uncertain", "less like any report than 99 % of the validation films"),
        (0.9, {"film": "warn"}, "uncertain", "the film itself is in doubt"),
        (0.9, {"film": "reject"}, "abstain", "the film was rejected"),
        (
            0.9,
            {"film": "ok", "percentile": 1.0, "vote": float("nan")},
            "confident",
            "3 of 60 validation films this sure were judged wrongly",
        ),
        (
            0.7,
            {"film": "warn"},
            "uncertain",
            "30 of 100 validation films about as sure were judged wrongly",
        ),
    ],
)
def test_a_verdict_and_its_reason(probability: float, more: dict, verdict: str, why: str) -> None:
    found = verdict_of(RULE, probability, **{"vote": 0.9, "share": 0.75, **more})
    assert (found.verdict, found.why, found.validation) == (verdict, why, WORTH[verdict])
    assert found.trust == pytest.approx(max(probability, 1 - probability))


def test_without_thresholds_nothing_is_confident_and_nothing_abstains() -> None:
    rule = TrustRule(None, None, {**WORTH, "uncertain": Measured(0, None, 0.0)})
    assert verdict_of(rule, 1.0, 1.0, 0.5).why == "no validation film was about as sure"
    assert [verdict_of(rule, p, 0.9, 0.5).verdict for p in (0.0, 0.5, 1.0)] == ["uncertain"] * 3
    assert TrustRule.of(rule.record()) == rule and TrustRule.of(None) is None


def test_trust_is_in_what_the_head_decides_and_the_vote_speaks_against() -> None:
    assert trust_in(np.array([0.8, 0.2, 0.5])).tolist() == [0.8, 0.8, 0.5]
    assert against(np.array([0.8, 0.2, 0.8]), np.array([0.4, 0.6, np.nan]), 0.5).tolist() == [
        True,
        True,
        False,
    ]


def test_percentiles_of_the_films_they_were_made_of_are_uniform(random: np.random.Generator) -> None:
    best = random.normal(0.5, 0.05, 300)
    found = np.sort([Similarities.fit(best).percentile(score) for score in best])
    assert np.abs(found - (np.arange(300) + 0.5) / 3).max() < 1.5
    one = Similarities.fit(np.linspace(0.2, 0.4, 101))
    assert [one.percentile(x) for x in (0.1, 0.2, 0.3, 0.325, 0.4, 0.9)] == [0, 0, 50, 62.5, 100, 100]
    assert Similarities.fit(best[:19]) is None


def test_figures_of_decisions() -> None:
    """Six films: the two confident ones right, of the three uncertain one wrong, the abstained one wrong; one without a label."""
    decisions = Decisions(
        np.array([1, 0, 1, 1, 0, 1, -1]),
        np.array([3, -3, 2, 1, 1, -0.1, 5.0]),
        FilmVerdicts(np.array([0.95, 0.95, 0.8, 0.7, 0.7, 0.5, 0.99]), np.array([0, 0, 1, 1, 1, 2, 0])),
    )
    means = {name: float(np.nanmean(values)) for name, values in decisions.means()}
    assert means == pytest.approx(
        {
            "risk.all": 2 / 6,
            "risk.decided": 1 / 5,
            "coverage.decided": 5 / 6,
            "risk.confident": 0.0,
            "coverage.confident": 2 / 6,
        }
    )
    assert decisions.bounds() == pytest.approx((2 / 6, (1 / 5 + 2 / 6) / 6))
    curves = decisions.curves()
    assert list(curves) == ["coverage", "head", "trust"] and curves["coverage"][-1] == 1.0
    assert curves["trust"][-1] == curves["head"][-1] == pytest.approx(2 / 6, abs=1e-4)
    assert list(dict(Decisions(decisions.labels, decisions.logit, None).means())) == ["risk.all"]
    assert Figure("aurc.trust", "all", 0.1, chance=0.3).lift is None
