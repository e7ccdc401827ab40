"""The model against every baseline: by how much it is better or worse, and whether that could be chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from training.errors import ConfigError
from training.evaluation.bootstrap import (
    Interval,
    Statistic,
    auroc,
    concordance,
    interval_of,
    mean_interval,
    mean_intervals,
    rank_correlation,
    resampled,
)
from training.evaluation.outcomes import outcome_metrics

MODEL = "model"
RANKING_METRICS = ("ndcg@10", "hr@10", "mrr", "recall@20")  # the first decides
INTENT_METRICS = ("auroc", "average_precision", "brier", "calibration_error")
RETURN_METRICS = ("auroc", "average_precision", "calibration_error")
VALUE_METRICS = ("spearman", "normalised_gini", "mae", "aggregate_error", "r", "decile_mape")
TIME_METRICS = ("concordance",)
LOYALTY_METRICS = ("auroc", "average_precision")
LESS_IS_BETTER = {"brier", "calibration_error", "mae", "aggregate_error", "decile_mape"}
METRIC_NAMES = {
    "ndcg@10": "NDCG@10",
    "hr@10": "HR@10",
    "mrr": "MRR",
    "recall@20": "Recall@20",
    "coverage@10": "Coverage@10",
    "novelty@10": "Novelty@10, bits",
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "brier": "Brier score",
    "calibration_error": "Calibration error",
    "spearman": "Spearman",
    "normalised_gini": "Normalised Gini",
    "mae": "MAE",
    "aggregate_error": "Aggregate error",
    "r": "r",
    "decile_mape": "Decile MAPE",
    "concordance": "Concordance",
}
CONTESTANT_NAMES = {"rfm": "RFM", "bg_nbd": "BG/NBD", "pareto_nbd": "Pareto/NBD", "cox": "Cox"}


class Verdict(IntEnum):
    """What the model does, worst first."""

    LOSES = 0
    LEVEL = 1
    BEATS = 2


@dataclass(frozen=True)
class Contestant:
    """One line of a contest. difference: the model minus this baseline, None for the model itself."""

    name: str
    value: Interval
    difference: Interval | None = None

    @property
    def margin(self) -> Interval:
        """The difference of a baseline."""
        assert self.difference is not None, "the model has no margin over itself"
        return self.difference

    @property
    def verdict(self) -> Verdict:
        """What the model does against this baseline."""
        if self.margin.includes_zero:
            return Verdict.LEVEL
        return Verdict.BEATS if self.margin.low > 0 else Verdict.LOSES


@dataclass(frozen=True)
class Contest:
    """One metric (greater is better) of the model, which comes first, and of its baselines over the same customers.

    figures: {contestant: {metric: value}}, that metric and the others that are shown beside it. intervals: {contestant: {metric:
    interval}}, of that metric and of every other that is a mean over customers. about: what the metrics are of, in a word, where a report
    has several of one name.
    """

    metric: str
    contestants: list[Contestant]
    figures: Mapping[str, Mapping[str, float]]
    intervals: Mapping[str, Mapping[str, Interval]]
    about: str = ""

    @property
    def verdict(self) -> Verdict:
        """The worst of the verdicts against the baselines."""
        return min(baseline.verdict for baseline in self.contestants[1:])

    @property
    def ahead(self) -> list[str]:
        """The other metrics on which some baseline stands better, however little, each with both figures."""
        ahead = []
        for metric in (metric for metric in self.figures[MODEL] if metric != self.metric):
            best = max(_baselines(self.figures), key=lambda name: _merit(metric, self.figures[name][metric]))
            ours, theirs = self.figures[MODEL][metric], self.figures[best][metric]
            if _merit(metric, theirs) > _merit(metric, ours):
                ahead.append(f"{self._named(metric)} ({contestant_name(best)} {theirs:.4f}, the model {ours:.4f})")
        return ahead

    @property
    def decision(self) -> str:
        """The verdict in words, with the margin and its 95% interval."""
        metric, decisive = self._named(self.metric), [one for one in self.contestants[1:] if one.verdict == self.verdict]
        if self.verdict is Verdict.LOSES:
            return f"The model loses on {metric} to {_listed(decisive)}."
        if self.verdict is Verdict.LEVEL:
            return f"The model is not distinguishable on {metric} from {_listed(decisive)}."
        strongest = max(decisive, key=lambda one: one.value.value)
        return f"The model beats every baseline on {metric}; the strongest, {contestant_name(strongest.name)},{_by(strongest)}."

    def _named(self, metric: str) -> str:
        return f"{metric_name(metric)} of {self.about}" if self.about else metric_name(metric)


def ranking_contest(per_customer: Mapping[str, Mapping[str, np.ndarray]], *, seed: int) -> Contest:
    """NDCG@10. per_customer: {contestant: {metric: [customers]}}, one of them "model", all over the same customers in the same order."""
    metric = RANKING_METRICS[0]
    values = {name: np.asarray(of[metric], dtype=np.float64) for name, of in per_customer.items()}
    _check(values)
    intervals = {name: mean_intervals(of, seed=seed) for name, of in per_customer.items()}
    differences = {name: mean_interval(values[MODEL] - values[name], seed=seed) for name in _baselines(values)}
    contestants = [Contestant(name, intervals[name][metric], differences.get(name)) for name in (MODEL, *differences)]
    shown = [metric for metric in RANKING_METRICS if metric in per_customer[MODEL]]
    figures = {name: {metric: float(np.mean(of[metric])) for metric in shown} for name, of in per_customer.items()}
    return Contest(metric, contestants, figures, intervals)


def intent_contest(labels: np.ndarray, probabilities: Mapping[str, np.ndarray], *, seed: int) -> Contest:
    """AUROC. labels: bool [customers]; probabilities: {contestant: [customers]}, one of them "model"."""
    figures = {name: outcome_metrics(labels, given) for name, given in probabilities.items()}
    return chance_contest(labels, probabilities, figures, about="intent", seed=seed)


def chance_contest(
    labels: np.ndarray, scores: Mapping[str, np.ndarray], figures: Mapping[str, Mapping[str, float]], *, about: str, seed: int
) -> Contest:
    """AUROC. labels: bool [customers]; scores: {contestant: [customers]}, one of them "model"."""
    _check(scores, size=len(labels))
    statistics = {name: auroc(labels, given) for name, given in scores.items()}
    return replace(_contest("auroc", statistics, figures, size=len(labels), seed=seed), about=about)


def value_contest(
    spend: np.ndarray, expected: Mapping[str, np.ndarray], figures: Mapping[str, Mapping[str, float]], *, seed: int
) -> Contest:
    """Spearman's rank correlation. spend: [customers]; expected: {contestant: [customers]}, one of them "model"."""
    _check(expected, size=len(spend))
    statistics = {name: rank_correlation(spend, given) for name, given in expected.items()}
    return replace(_contest("spearman", statistics, figures, size=len(spend), seed=seed), about="value")


def time_contest(
    days: np.ndarray,
    came: np.ndarray,
    expected: Mapping[str, np.ndarray],
    figures: Mapping[str, Mapping[str, float]],
    *,
    seed: int,
) -> Contest:
    """Concordance. days: [customers] until each `came` (bool), or in vain; expected: {contestant: [customers]}, one of them "model"."""
    _check(expected, size=len(days))
    statistics = {name: concordance(days, came, given) for name, given in expected.items()}
    return _contest("concordance", statistics, figures, size=len(days), seed=seed)


def categories_contest(
    labels: np.ndarray, scores: Mapping[str, np.ndarray], figures: Mapping[str, Mapping[str, float]], *, seed: int
) -> Contest:
    """The mean AUROC over categories. labels: bool [customers, K]; scores: {contestant: [customers, K]}, one of them "model"."""
    _check(scores, size=len(labels))
    statistics = {name: _mean([auroc(*pair) for pair in zip(labels.T, given.T, strict=True)]) for name, given in scores.items()}
    return replace(_contest("auroc", statistics, figures, size=len(labels), seed=seed), about="categories")


def _mean(parts: Sequence[Statistic]) -> Statistic:
    value = float(np.mean([part.value for part in parts]))
    return Statistic(value, lambda draw: np.mean([part.of_draw(draw) for part in parts], axis=0))


def _contest(
    metric: str, statistics: Mapping[str, Statistic], figures: Mapping[str, Mapping[str, float]], *, size: int, seed: int
) -> Contest:
    """All on the same resamples, so that differences are paired."""
    drawn, model = resampled(statistics, size, seed=seed), statistics[MODEL]
    contestants = [Contestant(MODEL, interval_of(model.value, drawn[MODEL]))]
    for name in _baselines(statistics):
        difference = interval_of(model.value - statistics[name].value, drawn[MODEL] - drawn[name])
        contestants.append(Contestant(name, interval_of(statistics[name].value, drawn[name]), difference))
    return Contest(metric, contestants, figures, {one.name: {metric: one.value} for one in contestants})


def verdict_lines(contests: list[Contest]) -> list[str]:
    """The first line holds what the model does not win, the worst news first, then every figure on which a baseline is ahead.

    The contests that it wins follow, a line each; where it wins all of them, one stands in the first line.
    """
    ordered = sorted(contests, key=lambda contest: contest.verdict)
    num_first = max(sum(contest.verdict is not Verdict.BEATS for contest in ordered), 1)
    ahead = [figure for contest in ordered for figure in contest.ahead]
    told = [contest.decision for contest in ordered]
    first = [*told[:num_first], *([f"A baseline is ahead on {', '.join(ahead)}."] if ahead else [])]
    return [" ".join(first), *told[num_first:]] if contests else []


def metric_name(metric: str) -> str:
    """`ndcg@10` is NDCG@10, `calibration_error` is Calibration error."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def contestant_name(name: str) -> str:
    """`buy_again` is buy again, `rfm` is RFM."""
    return CONTESTANT_NAMES.get(name, name.replace("_", " "))


def _merit(metric: str, value: float) -> float:
    """More is better: an error counts by its size, whether above or below; what isn't defined is worst."""
    merit = -abs(value) if metric in LESS_IS_BETTER else value
    return -np.inf if np.isnan(merit) else merit


def _baselines(contestants: Mapping[str, object]) -> list[str]:
    return [name for name in contestants if name != MODEL]


def _check(values: Mapping[str, np.ndarray], *, size: int | None = None) -> None:
    if MODEL not in values or len(values) < 2:
        raise ConfigError(f"expected the results of {MODEL!r} and of at least one baseline, received {', '.join(values) or 'none'}")
    sizes = {name: len(array) for name, array in values.items()}
    if len({*sizes.values(), size or len(values[MODEL])}) > 1:
        raise ConfigError(f"expected results over the same {size or len(values[MODEL])} customers, received {sizes}")
    missing = [name for name, array in values.items() if np.isnan(array).any()]
    if missing:
        raise ConfigError(
            f"expected a number for every customer, received NaN from {', '.join(missing)}; leave out who can't be answered for"
        )


def _listed(baselines: list[Contestant]) -> str:
    return " and ".join(f"{contestant_name(one.name)}{_by(one)}" for one in baselines)


def _by(baseline: Contestant) -> str:
    """A loss or a gain by its size; a difference that may be nothing with its sign."""
    value, low, high = baseline.margin
    if baseline.verdict is Verdict.LOSES:
        value, low, high = -value, -high, -low
    if baseline.verdict is Verdict.LEVEL:
        return f" (difference {signed(value)}, 95% interval {signed(low)} to {signed(high)})"
    return f" by {value:.4f} (95% interval {low:.4f} to {high:.4f})"


def signed(number: float) -> str:
    """+0.0123 or −0.0123."""
    return f"{number:+.4f}".replace("-", "−")
