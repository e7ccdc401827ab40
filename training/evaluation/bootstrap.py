"""How far a number would move had other customers been drawn: percentile bootstrap over customers (Efron and Tibshirani, 1993)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

NUM_RESAMPLES = 1000
LEVEL = 0.95
_BLOCK = 2_000_000  # customers drawn at once: bounds the memory, not the result


class Interval(NamedTuple):
    """A number with the bounds between which it lies in `LEVEL` of the resamples; NaN where it isn't defined."""

    value: float
    low: float
    high: float

    @property
    def includes_zero(self) -> bool:
        return not (self.low > 0 or self.high < 0)


def mean_interval(values: np.ndarray, *, seed: int, num_resamples: int = NUM_RESAMPLES, level: float = LEVEL) -> Interval:
    """The mean of values [n], one a customer. For a paired comparison give the differences, customer by customer."""
    values = np.asarray(values, dtype=np.float64)
    return _interval(float(values.mean()), lambda draw: draw @ values / len(values), len(values), seed, num_resamples, level)


def auroc_interval(
    labels: np.ndarray, scores: np.ndarray, *, seed: int, num_resamples: int = NUM_RESAMPLES, level: float = LEVEL
) -> Interval:
    """The area under the ROC curve of scores [n] for labels [n] (bool)."""
    value, of_draw = _auroc(np.asarray(labels, dtype=bool), np.asarray(scores))
    return _interval(value, of_draw, len(labels), seed, num_resamples, level)


def auroc_difference(
    labels: np.ndarray, scores: np.ndarray, others: np.ndarray, *, seed: int, num_resamples: int = NUM_RESAMPLES, level: float = LEVEL
) -> Interval:
    """AUROC of `scores` minus that of `others`, both on the same drawn customers."""
    labels = np.asarray(labels, dtype=bool)
    (first, of_first), (second, of_second) = _auroc(labels, np.asarray(scores)), _auroc(labels, np.asarray(others))
    return _interval(first - second, lambda draw: of_first(draw) - of_second(draw), len(labels), seed, num_resamples, level)


def _interval(
    value: float, statistic: Callable[[np.ndarray], np.ndarray], size: int, seed: int, num_resamples: int, level: float
) -> Interval:
    """`statistic` takes how often each customer was drawn, float64 [resamples, size], and gives one number a resample."""
    random, block = np.random.default_rng(seed), max(1, _BLOCK // size)
    chances = np.full(size, 1.0 / size)
    sizes = [min(block, num_resamples - start) for start in range(0, num_resamples, block)]
    numbers = np.concatenate([statistic(random.multinomial(size, chances, size=drawn).astype(np.float64)) for drawn in sizes])
    numbers = numbers[~np.isnan(numbers)]  # a resample without both labels has no AUROC
    if not len(numbers):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(numbers, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def _auroc(labels: np.ndarray, scores: np.ndarray) -> tuple[float, Callable[[np.ndarray], np.ndarray]]:
    """The AUROC and a function of draws [resamples, n]: the Mann-Whitney statistic with each customer counted as often as drawn."""
    order = np.argsort(scores, kind="stable")
    sorted_labels = labels[order]
    level = rankdata(scores[order], method="dense") - 1
    first = np.flatnonzero(np.diff(level, prepend=-1))

    def of_draw(draw: np.ndarray) -> np.ndarray:
        came = np.add.reduceat(draw[:, order] * sorted_labels, first, axis=1)
        stayed = np.add.reduceat(draw[:, order] * ~sorted_labels, first, axis=1)
        below = np.cumsum(stayed, axis=1) - stayed / 2
        with np.errstate(invalid="ignore"):
            return (came * below).sum(axis=1) / (came.sum(axis=1) * stayed.sum(axis=1))

    return float(of_draw(np.ones((1, len(labels))))[0]), of_draw
