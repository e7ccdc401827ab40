"""How far a number would move had other customers been drawn: percentile bootstrap over customers (Efron and Tibshirani, 1993)."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

NUM_RESAMPLES = 1000
LEVEL = 0.95
_BLOCK = 2_000_000  # customers drawn at once: bounds the memory, not the result
_ROWS = 256  # customers compared with all others at once


class Interval(NamedTuple):
    """A number with the bounds between which it lies in `LEVEL` of the resamples; NaN where it isn't defined."""

    value: float
    low: float
    high: float

    @property
    def includes_zero(self) -> bool:
        return not (self.low > 0 or self.high < 0)


class Statistic(NamedTuple):
    """A number over n customers, and the same number over resamples: a function of how often each was drawn, float64 [resamples, n]."""

    value: float
    of_draw: Callable[[np.ndarray], np.ndarray]


def resampled(statistics: Mapping[str, Statistic], size: int, *, seed: int, num_resamples: int = NUM_RESAMPLES) -> dict[str, np.ndarray]:
    """Each statistic on the same resamples of `size` customers: {name: [num_resamples]}."""
    random, block = np.random.default_rng(seed), max(1, _BLOCK // size)
    chances = np.full(size, 1.0 / size)
    sizes = [min(block, num_resamples - start) for start in range(0, num_resamples, block)]
    draws = (random.multinomial(size, chances, size=drawn).astype(np.float64) for drawn in sizes)
    parts = [{name: statistic.of_draw(draw) for name, statistic in statistics.items()} for draw in draws]
    return {name: np.concatenate([part[name] for part in parts]) for name in statistics}


def interval_of(value: float, numbers: np.ndarray, *, level: float = LEVEL) -> Interval:
    """A value with the bounds that the same number over resamples gives it."""
    numbers = numbers[np.isfinite(numbers)]  # a resample without both labels has no AUROC
    if not len(numbers):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(numbers, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def auroc(labels: np.ndarray, scores: np.ndarray) -> Statistic:
    """The Mann-Whitney statistic of scores [n] for labels [n], each customer counted as often as drawn.

    labels: whether each came (bool), or the chance that they do: who comes in three of ten cases counts as three tenths of who did.
    """
    order = np.argsort(scores, kind="stable")
    share = np.asarray(labels, dtype=np.float64)[order]
    level = rankdata(scores[order], method="dense") - 1
    first = np.flatnonzero(np.diff(level, prepend=-1))

    def of_draw(draw: np.ndarray) -> np.ndarray:
        came = np.add.reduceat(draw[:, order] * share, first, axis=1)
        stayed = np.add.reduceat(draw[:, order] * (1 - share), first, axis=1)
        below = np.cumsum(stayed, axis=1) - stayed / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            return (came * below).sum(axis=1) / (came.sum(axis=1) * stayed.sum(axis=1))

    return Statistic(float(of_draw(np.ones((1, len(labels))))[0]), of_draw)


def rank_correlation(actual: np.ndarray, predicted: np.ndarray) -> Statistic:
    """Spearman's, of amounts [n] and predictions [n]. Ranks are those among all customers, in a resample too."""
    x, y = (rankdata(values) / len(values) for values in (actual, predicted))
    moments = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], 1)

    def of_draw(draw: np.ndarray) -> np.ndarray:
        n, x, y, xy, xx, yy = (draw @ moments).T
        with np.errstate(divide="ignore", invalid="ignore"):
            together, apart = n * xy - x * y, (n * xx - x * x) * (n * yy - y * y)
            return np.where(apart > 0, together / np.sqrt(np.maximum(apart, 0)), np.nan)

    return Statistic(float(of_draw(np.ones((1, len(x))))[0]), of_draw)


def concordance(days: np.ndarray, came: np.ndarray, expected: np.ndarray) -> Statistic:
    """Harrell's, of days [n] to what came (bool [n]; otherwise none did for so long) and days expected [n].

    A pair in a resample counts by the sum of how often its two were drawn, in place of the product: the first order of the bootstrap.
    """
    came, pairs, right = np.asarray(came, dtype=bool), np.zeros(len(days)), np.zeros(len(days))
    arrived = np.flatnonzero(came)
    for start in range(0, len(arrived), _ROWS):
        rows = arrived[start : start + _ROWS]
        comparable = (days > days[rows, None]) | ((days == days[rows, None]) & ~came)  # who was watched as long in vain is later
        agreed = comparable * ((expected > expected[rows, None]) + 0.5 * (expected == expected[rows, None]))
        for counts, of_pair in ((pairs, comparable), (right, agreed)):
            counts[rows] += of_pair.sum(1)
            counts += of_pair.sum(0)
    total, agreed_in_all = pairs.sum() / 2, right.sum() / 2

    def of_draw(draw: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (draw @ right - agreed_in_all) / (draw @ pairs - total)

    return Statistic(float(agreed_in_all / total) if total else float("nan"), of_draw)


def mean_interval(values: np.ndarray, *, seed: int, num_resamples: int = NUM_RESAMPLES, level: float = LEVEL) -> Interval:
    """The mean of values [n], one a customer. For a paired comparison give the differences, customer by customer."""
    return mean_intervals({"": values}, seed=seed, num_resamples=num_resamples, level=level)[""]


def mean_intervals(
    values: Mapping[str, np.ndarray], *, seed: int, num_resamples: int = NUM_RESAMPLES, level: float = LEVEL
) -> dict[str, Interval]:
    """The same of several figures of the same customers, {name: [n]}, on the same resamples: to draw them costs more than to sum."""
    stacked = np.stack([np.asarray(of, dtype=np.float64) for of in values.values()], 1)
    size = len(stacked)
    sums = Statistic(float("nan"), lambda draw: draw @ stacked)
    means = resampled({"": sums}, size, seed=seed, num_resamples=num_resamples)[""] / size
    named = zip(values, stacked.mean(0).tolist(), means.T, strict=True)
    return {name: interval_of(mean, of_resamples, level=level) for name, mean, of_resamples in named}


def auroc_interval(
    labels: np.ndarray, scores: np.ndarray, *, seed: int, num_resamples: int = NUM_RESAMPLES, level: float = LEVEL
) -> Interval:
    """The area under the ROC curve of scores [n] for labels [n] (bool)."""
    return _interval(auroc(labels, np.asarray(scores)), len(labels), seed, num_resamples, level)


def auroc_difference(
    labels: np.ndarray, scores: np.ndarray, others: np.ndarray, *, seed: int, num_resamples: int = NUM_RESAMPLES, level: float = LEVEL
) -> Interval:
    """AUROC of `scores` minus that of `others`, both on the same drawn customers."""
    first, second = auroc(labels, np.asarray(scores)), auroc(labels, np.asarray(others))
    difference = Statistic(first.value - second.value, lambda draw: first.of_draw(draw) - second.of_draw(draw))
    return _interval(difference, len(labels), seed, num_resamples, level)


def _interval(statistic: Statistic, size: int, seed: int, num_resamples: int, level: float) -> Interval:
    numbers = resampled({"": statistic}, size, seed=seed, num_resamples=num_resamples)[""]
    return interval_of(statistic.value, numbers, level=level)
