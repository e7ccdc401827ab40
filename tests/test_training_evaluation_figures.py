"""The figures about customers: what each is by its definition, and what they say where nothing can be said."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from training.errors import ConfigError
from training.evaluation.figures import normalised_gini, returns_figures, time_figures, value_figures
from training.evaluation.outcomes import outcome_metrics

RANDOM = np.random.default_rng(4)
SPENT = np.where(RANDOM.random(500) < 0.3, 0.0, RANDOM.lognormal(3, 1, 500))
EXPECTED = SPENT * RANDOM.uniform(0.3, 1.2, 500) + RANDOM.exponential(5, 500)


def test_returns_are_judged_as_everywhere_else() -> None:
    came, probability = RANDOM.random(300) < 0.4, RANDOM.random(300)
    metrics = outcome_metrics(came, probability)
    assert returns_figures(came, probability) == {name: metrics[name] for name in ("auroc", "average_precision", "calibration_error")}


def test_value_by_the_definitions() -> None:
    figures = value_figures(SPENT, EXPECTED)
    assert figures["mae"] == pytest.approx(np.mean(np.abs(SPENT - EXPECTED)))
    assert figures["aggregate_error"] == pytest.approx(EXPECTED.sum() / SPENT.sum() - 1)
    assert figures["r"] == pytest.approx(pearsonr(SPENT, EXPECTED).statistic)
    assert figures["spearman"] == pytest.approx(spearmanr(SPENT, EXPECTED).statistic)
    deciles = np.array_split(np.argsort(EXPECTED), 10)
    errors = [abs(EXPECTED[one].mean() - SPENT[one].mean()) / SPENT[one].mean() for one in deciles]
    assert figures["decile_mape"] == pytest.approx(np.mean(errors))
    assert figures["normalised_gini"] == pytest.approx(gini_by_lorenz_curve(SPENT, EXPECTED) / gini_by_lorenz_curve(SPENT, SPENT))


def gini_by_lorenz_curve(actual: np.ndarray, predicted: np.ndarray) -> float:
    share = np.cumsum(actual[np.argsort(-predicted)]) / actual.sum()
    return float(np.mean(share) - (len(actual) + 1) / (2 * len(actual)))


@pytest.mark.parametrize(("predicted", "expected"), [(SPENT, 1.0), (-SPENT, -1.0), (np.ones(500), 0.0)], ids=["own", "reverse", "none"])
def test_gini_of_orders_that_are_known(predicted: np.ndarray, expected: float) -> None:
    assert normalised_gini(SPENT, predicted) == pytest.approx(expected, abs=1e-12)


def test_equal_predictions_are_not_told_apart() -> None:
    said = np.repeat([1.0, 5.0], 250)
    figures, shuffled = value_figures(np.sort(SPENT), said), value_figures(np.r_[np.sort(SPENT)[249::-1], np.sort(SPENT)[:249:-1]], said)
    assert figures == pytest.approx(shuffled)


def test_deciles_in_which_nobody_spent_do_not_count() -> None:
    spent = np.r_[np.zeros(50), np.full(50, 10.0)]
    assert value_figures(spent, np.arange(100.0))["decile_mape"] == pytest.approx(np.mean([4.45, 5.45, 6.45, 7.45, 8.45]))


def test_concordance_by_counting_pairs() -> None:
    days, seen, expected = RANDOM.integers(1, 30, 80).astype(float), RANDOM.random(80) < 0.6, RANDOM.integers(1, 30, 80).astype(float)
    agree = pairs = 0.0
    for first in range(80):
        for second in range(80):
            # a customer who was watched up to the day on which another came, came later
            later = days[second] > days[first] or (days[second] == days[first] and not seen[second])
            if seen[first] and later:
                pairs += 1
                agree += 1.0 if expected[second] > expected[first] else 0.5 if expected[second] == expected[first] else 0.0
    assert time_figures(days, seen, expected)["concordance"] == pytest.approx(agree / pairs)


def test_what_is_not_defined_is_nan() -> None:
    assert np.isnan(time_figures(np.ones(4), np.zeros(4, dtype=bool), np.ones(4))["concordance"])
    figures = value_figures(np.zeros(4), np.ones(4))
    assert figures.pop("mae") == 1.0
    assert np.isnan(list(figures.values())).all()


@pytest.mark.parametrize("predicted", [np.ones(3), np.array([1.0, np.nan, 2.0, 3.0])], ids=["too few", "NaN"])
def test_answers_that_are_missing_are_refused(predicted: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r"for every customer|one prediction a customer"):
        value_figures(np.ones(4), predicted)
