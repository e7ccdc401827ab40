"""The figures by which answers about customers are judged: whether they return, what they spend, when they come.

    returns_figures(bought, probability)          auroc, average_precision, calibration_error
    value_figures(spent, expected)                mae, aggregate_error, r, spearman, normalised_gini, decile_mape
    time_figures(days, observed, expected_days)   concordance

A figure that isn't defined (everybody came, nobody spent, one answer for all) is NaN.
"""

import numpy as np
from scipy.stats import pearsonr, rankdata

from training.errors import ConfigError
from training.evaluation.outcomes import bins_of_equal_size, outcome_metrics

NUM_DECILES = 10


def returns_figures(actual: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Of what happened [n] (bool) and the probabilities given [n]: `auroc`, `average_precision` and `calibration_error`.

    The calibration error is the expected one over ten bins that hold equally many customers (Naeini, Cooper, Hauskrecht 2015).
    """
    metrics = outcome_metrics(actual, probability)
    return {name: metrics[name] for name in ("auroc", "average_precision", "calibration_error")}


def value_figures(actual: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Of amounts spent [n] and expected [n], in the same unit.

    `mae` is the mean absolute error; `aggregate_error` by how much the sum of all is over-estimated (below 0: under-), as a share of the
    actual sum; `r` Pearson's and `spearman` the rank correlation; `normalised_gini` and `decile_mape` see below.
    """
    actual, predicted = _numbers(actual, predicted)
    total = actual.sum()
    return {
        "mae": float(np.abs(predicted - actual).mean()),
        "aggregate_error": float((predicted.sum() - total) / total) if total else float("nan"),
        "r": _correlation(actual, predicted),
        "spearman": _correlation(rankdata(actual), rankdata(predicted)),
        "normalised_gini": normalised_gini(actual, predicted),
        "decile_mape": decile_mape(actual, predicted),
    }


def time_figures(duration_days: np.ndarray, observed: np.ndarray, expected_days: np.ndarray) -> dict[str, float]:
    """Of days to the next purchase [n], whether it was seen [n] (otherwise they were watched for so long in vain), and days expected [n].

    `concordance` is Harrell's: the share of comparable pairs whose order was foretold, a tie counting half (Harrell, Califf, Pryor, Lee,
    Rosati 1982). A pair is comparable where the earlier of the two was seen to come.
    """
    from lifelines.utils import concordance_index  # takes seconds to import, which no other command should wait for

    duration, expected = _numbers(duration_days, expected_days)
    try:
        return {"concordance": float(concordance_index(duration, expected, np.asarray(observed, dtype=bool)))}
    except ZeroDivisionError:  # no pair can be compared
        return {"concordance": float("nan")}


def normalised_gini(actual: np.ndarray, predicted: np.ndarray) -> float:
    """The Gini coefficient of spend in the order of the prediction over that in its own order: 1 is perfect, 0 is chance.

    Wang, Liu, Miao 2019, A Deep Probabilistic Model for Customer Lifetime Value Prediction. Equal predictions share their rank.
    """
    actual, predicted = _numbers(actual, predicted)
    middle = (len(actual) + 1) / 2
    own = (actual * (rankdata(actual) - middle)).sum()
    return float((actual * (rankdata(predicted) - middle)).sum() / own) if own else float("nan")


def decile_mape(actual: np.ndarray, predicted: np.ndarray) -> float:
    """How far the mean prediction of a decile lies from its mean spend, as a share of that spend, on average (Wang, Liu, Miao 2019).

    Deciles are by prediction; equal predictions share one. A decile in which nobody spent has no relative error: it does not count.
    """
    actual, predicted = _numbers(actual, predicted)
    decile = bins_of_equal_size(predicted, num_bins=NUM_DECILES)
    spent, said = (np.bincount(decile, weights=amounts, minlength=NUM_DECILES) for amounts in (actual, predicted))
    counts = spent != 0
    return float(np.abs(said[counts] / spent[counts] - 1).mean()) if counts.any() else float("nan")


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(pearsonr(first, second).statistic)


def _numbers(actual: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    actual, predicted = np.asarray(actual, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if actual.shape != predicted.shape or actual.ndim != 1 or not len(actual):
        raise ConfigError(f"expected one actual number and one prediction a customer, received {actual.shape} and {predicted.shape}")
    if not (np.isfinite(actual).all() and np.isfinite(predicted).all()):
        raise ConfigError("expected a finite number for every customer, received NaN or infinity; leave out who can't be answered for")
    return actual, predicted
