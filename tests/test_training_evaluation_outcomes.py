"""Probabilities judged: order, meaning, and labels of one kind only."""

import numpy as np
import pytest

from training.errors import ConfigError
from training.evaluation.outcomes import calibration_error, outcome_metrics, reliability


def test_perfect_order() -> None:
    metrics = outcome_metrics(np.array([False, False, True, True]), np.array([0.1, 0.2, 0.8, 0.9]))
    assert (metrics["auroc"], metrics["average_precision"]) == (1.0, 1.0)
    assert metrics["brier"] == pytest.approx((0.01 + 0.04 + 0.04 + 0.01) / 4)


def test_labels_of_one_kind_leave_the_order_undefined() -> None:
    metrics = outcome_metrics(np.zeros(4, dtype=bool), np.array([0.1, 0.2, 0.1, 0.2]))
    assert np.isnan([metrics["auroc"], metrics["average_precision"]]).all()
    assert metrics["brier"] == pytest.approx(0.025)
    assert metrics["calibration_error"] == pytest.approx(0.15)


def test_honest_probabilities_are_calibrated_and_boastful_ones_are_not() -> None:
    random = np.random.default_rng(0)
    probabilities = random.random(20_000)
    labels = random.random(20_000) < probabilities
    assert calibration_error(labels, probabilities) < 0.015
    assert calibration_error(labels, np.sqrt(probabilities)) > 0.1


def test_bins_hold_equally_many() -> None:
    random = np.random.default_rng(1)
    curve = reliability(random.random(1000) < 0.3, random.random(1000) ** 4, num_bins=10)
    assert curve.count.tolist() == [100] * 10
    assert (np.diff(curve.predicted) > 0).all()


def test_equal_probabilities_share_a_bin() -> None:
    labels = np.array([True] * 30 + [False] * 70)
    curve = reliability(labels, np.full(100, 0.3))
    assert (curve.predicted.tolist(), curve.observed.tolist(), curve.count.tolist()) == (pytest.approx([0.3]), [0.3], [100])


def test_the_order_of_customers_changes_nothing() -> None:
    random = np.random.default_rng(2)
    labels, probabilities, order = random.random(300) < 0.4, random.integers(0, 7, 300) / 7, random.permutation(300)
    assert outcome_metrics(labels, probabilities) == pytest.approx(outcome_metrics(labels[order], probabilities[order]))


@pytest.mark.parametrize(
    ("labels", "probabilities", "words"),
    [
        ([True, False], [0.5, 1.5], "between 0 and 1"),
        ([True, False], [0.5, np.nan], "between 0 and 1"),
        ([True], [0.5, 0.5], "one label"),
        ([], [], "one label"),
    ],
)
def test_what_is_no_probability_is_refused(labels: list[bool], probabilities: list[float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        outcome_metrics(np.array(labels), np.array(probabilities))
