"""A probability that means a frequency: fitted on validation, checked on what it was not fitted on."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from mtclip_edge.evaluation.metrics import calibration_error
from mtclip_edge.evidence.calibration import Calibration, sigmoid
from mtclip_edge.train.calibration import fit_calibration


def drawn(random: np.random.Generator, count: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are ``temperature`` times too large for the frequency of their labels."""
    true = random.normal(0, 1.5, count)
    return (random.random(count) < sigmoid(true)).astype(int), temperature * true


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_is_found(random: np.random.Generator, temperature: float) -> None:
    label, logit = drawn(random, 20_000, temperature)
    found = fit_calibration(label, logit)
    assert found is not None
    assert found.temperature == pytest.approx(temperature, rel=0.06)


def test_it_is_the_minimum_that_scipy_finds(random: np.random.Generator) -> None:
    label, logit = drawn(random, 300, 2.0)
    best = minimize_scalar(
        lambda log: np.logaddexp(0, (1 - 2 * label) * logit / np.exp(log)).mean(),
        bounds=(-3, 3),
        method="bounded",
    )
    found = fit_calibration(label, logit)
    assert found is not None
    assert np.log(found.temperature) == pytest.approx(best.x, abs=1e-3)


def test_calibrated_probabilities_are_nearer_to_frequencies(random: np.random.Generator) -> None:
    found = fit_calibration(*drawn(random, 1000, 4.0))
    assert found is not None
    label, logit = drawn(random, 4000, 4.0)
    before, after = (
        calibration_error(label, sigmoid(logit)),
        calibration_error(label, found.probability(logit)),
    )
    assert before is not None
    assert after is not None
    assert after < 0.04 < 0.1 < before


def test_the_threshold_has_its_specificity_on_what_it_was_fitted_to() -> None:
    label = np.array([0] * 100 + [1] * 100)
    logit = np.concatenate([np.arange(100.0), np.arange(50.0, 150.0)])
    found = fit_calibration(label, logit)
    assert found is not None
    assert (logit[:100] < found.threshold).sum() == 90
    assert (logit[100:] >= found.threshold).sum() == 60  # 90 to 149


def test_ties_never_cost_specificity() -> None:
    label = np.array([0] * 40 + [1] * 40)
    found = fit_calibration(label, np.zeros(80))
    assert found is not None
    assert (np.zeros(40) < found.threshold).all()


@pytest.mark.parametrize("label", [[0] * 50, [1] * 50, [0] * 19 + [1] * 50, [-1] * 80, []])
def test_too_few_films_of_a_class_give_none(label: list[int]) -> None:
    assert fit_calibration(np.array(label, int), np.zeros(len(label))) is None


def test_it_survives_json() -> None:
    one = Calibration(1.5, -0.25, 0.9, 275)
    assert Calibration.of(one.record()) == one and one.record().to_dict() == one.to_dict()
    assert Calibration.of(None) is None


def test_extreme_logits_do_not_overflow() -> None:
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
