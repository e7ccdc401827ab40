"""How one kind of question was answered in the test window: by the model and by whoever else can, with all that summary and report tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from training.evaluation.figures import returns_figures, time_figures, value_figures
from training.evaluation.outcomes import Reliability, outcome_metrics, reliability
from training.evaluation.panels import Panel
from training.evaluation.verdict import (
    INTENT_METRICS,
    LOYALTY_METRICS,
    MODEL,
    RANKING_METRICS,
    RETURN_METRICS,
    TIME_METRICS,
    VALUE_METRICS,
    Contest,
    chance_contest,
    intent_contest,
    ranking_contest,
    time_contest,
    value_contest,
)


@dataclass(frozen=True)
class Comparison:
    """title, question, meaning: words for the report. customers: positions of those who are judged [n].

    figures: {contestant: {metric: value}}, the model first; shown: the metrics that the report shows, the deciding one first.
    columns: {column of predictions.parquet: [n]}. settings: {baseline: what was chosen, in words}. contest: where there are
    baselines. calibration: {contestant: curve}, of those that say probabilities. panels: further pictures with their words.
    groups: {by what: {group: figures}}, of kinds of customers. section: its name in summary.json, where that is not the objective's.
    """

    title: str
    question: str
    meaning: str
    customers: np.ndarray
    figures: Mapping[str, Mapping[str, float]]
    shown: Sequence[str]
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    contest: Contest | None = None
    calibration: Mapping[str, Reliability] = field(default_factory=dict)
    panels: Sequence[Panel] = ()
    groups: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    section: str = ""


def of_the_model_alone(title: str, customers: np.ndarray, metrics: Mapping[str, float]) -> Comparison:
    """A question that no baseline answers."""
    return Comparison(title, "No baseline answers this question.", "", customers, {MODEL: metrics}, list(metrics))


def of_rankings(
    question: str, customers: np.ndarray, per_customer: Mapping[str, Mapping[str, np.ndarray]], settings: Mapping[str, str], *, seed: int
) -> Comparison:
    """per_customer: {contestant: {metric: [n]}}, one of them "model"."""
    return Comparison(
        title="What they want next",
        question=question,
        meaning="NDCG@10 tells how near the top of ten recommendations stood what the customer then took: 1 is perfect, 0 nothing found. "
        "HR@10 is the share of customers with at least one hit among ten. Every item of the catalogue competes.",
        customers=customers,
        figures={name: {metric: float(values.mean()) for metric, values in of.items()} for name, of in per_customer.items()},
        shown=RANKING_METRICS,
        columns={f"ndcg@10_{name}": of["ndcg@10"] for name, of in per_customer.items()},
        settings=settings,
        contest=ranking_contest(per_customer, seed=seed),
    )


def of_probabilities(
    question: str,
    customers: np.ndarray,
    bought: np.ndarray,
    probabilities: Mapping[str, np.ndarray],
    settings: Mapping[str, str],
    *,
    seed: int,
) -> Comparison:
    """bought: bool [n]. probabilities: {contestant: [n]}, one of them "model"."""
    return Comparison(
        title="Whether they come back",
        question=question,
        meaning="AUROC is the chance that a customer who came back was given a higher probability than one who did not: 0.5 is a coin, 1 "
        "is perfect. The calibration error is how far, on average, a stated probability is from what happened; for it and for the Brier "
        "score, less is better.",
        customers=customers,
        figures={name: outcome_metrics(bought, given) for name, given in probabilities.items()},
        shown=INTENT_METRICS,
        columns={"bought": bought, **{f"purchase_probability_{name}": given for name, given in probabilities.items()}},
        settings=settings,
        contest=intent_contest(bought, probabilities, seed=seed),
        calibration=_calibration(bought, probabilities),
    )


def of_returns(
    question: str,
    customers: np.ndarray,
    came: np.ndarray,
    probabilities: Mapping[str, np.ndarray],
    settings: Mapping[str, str],
    panels: Sequence[Panel],
    *,
    seed: int,
) -> Comparison:
    """came: bool [n]. probabilities: {contestant: [n]}, one of them "model"."""
    figures = {name: returns_figures(came, given) for name, given in probabilities.items()}
    return Comparison(
        title="Whether and when they buy again",
        question=question,
        meaning="AUROC is the chance that a customer who came back was given a higher probability than one who did not. The calibration "
        "error is how far, on average, a stated probability is from what happened; less is better.",
        customers=customers,
        figures=figures,
        shown=RETURN_METRICS,
        columns={"came_back": came, **{f"return_probability_{name}": given for name, given in probabilities.items()}},
        settings=settings,
        contest=chance_contest(came, probabilities, figures, about="returns", seed=seed) if len(probabilities) > 1 else None,
        calibration=_calibration(came, probabilities),
        panels=panels,
        section="returns",
    )


def of_presence(
    question: str,
    customers: np.ndarray,
    seen: np.ndarray,
    probabilities: Mapping[str, np.ndarray],
    settings: Mapping[str, str],
    *,
    seed: int,
) -> Comparison:
    """seen: bool [n], whether a visit came. probabilities: {contestant: [n]}, one of them "model"."""
    figures = {name: returns_figures(seen, given) for name, given in probabilities.items()}
    return Comparison(
        title="Whether they are seen again",
        question=question,
        meaning="By a visit of whatever kind: who looks and does not buy is still there. Baselines are asked the same; what they count are "
        "visits.",
        customers=customers,
        figures=figures,
        shown=RETURN_METRICS,
        columns={"seen_again": seen, **{f"visit_probability_{name}": given for name, given in probabilities.items()}},
        settings=settings,
        contest=chance_contest(seen, probabilities, figures, about="presence", seed=seed) if len(probabilities) > 1 else None,
        calibration=_calibration(seen, probabilities),
        section="presence",
    )


def of_times(
    question: str,
    customers: np.ndarray,
    days: np.ndarray,
    came: np.ndarray,
    expected: Mapping[str, np.ndarray],
    settings: Mapping[str, str],
    *,
    seed: int,
) -> Comparison:
    """days [n] until each came (bool [n]), or in vain. expected: {contestant: days [n]}, one of them "model"."""
    figures = {name: time_figures(days, came, given) for name, given in expected.items()}
    return Comparison(
        title="Who comes first",
        question=question,
        meaning="Concordance is the share of pairs of customers whose order was foretold: 0.5 is a coin, 1 is perfect. Who has not come "
        "by the end of the window counts as later than all who have.",
        customers=customers,
        figures=figures,
        shown=TIME_METRICS,
        columns={"days": days, **{f"expected_days_{name}": given for name, given in expected.items()}},
        settings=settings,
        contest=time_contest(days, came, expected, figures, seed=seed) if len(expected) > 1 else None,
        section="time",
    )


def of_values(
    question: str,
    customers: np.ndarray,
    spend: np.ndarray,
    expected: Mapping[str, np.ndarray],
    settings: Mapping[str, str],
    panels: Sequence[Panel],
    *,
    seed: int,
) -> Comparison:
    """spend: [n]. expected: {contestant: [n]}, one of them "model"."""
    figures = {name: value_figures(spend, given) for name, given in expected.items()}
    return Comparison(
        title="What they will spend",
        question=question,
        meaning="Spearman and the normalised Gini say how well customers are put in order by what they then spent; the aggregate error by "
        "how much the sum of all predictions misses the sum of all spending; the decile MAPE how far each tenth of customers, from the "
        "least to the most promising, is missed.",
        customers=customers,
        figures=figures,
        shown=VALUE_METRICS,
        columns={"spend": spend, **{f"value_{name}": given for name, given in expected.items()}},
        settings=settings,
        contest=value_contest(spend, expected, figures, seed=seed) if len(expected) > 1 else None,
        panels=panels,
        section="value",
    )


def of_loyalty(
    question: str,
    customers: np.ndarray,
    stayed: np.ndarray,
    chances: Mapping[str, np.ndarray],
    settings: Mapping[str, str],
    *,
    seed: int,
) -> Comparison:
    """stayed: bool [n]. chances: {contestant: [n]}, one of them "model"; those of others are scores, not probabilities of this."""
    figures = {name: {metric: returns_figures(stayed, given)[metric] for metric in LOYALTY_METRICS} for name, given in chances.items()}
    return Comparison(
        title="Who stays",
        question=question,
        meaning="Nobody beside the model is asked this; others are compared by their chance that the customer buys at all, as a score.",
        customers=customers,
        figures=figures,
        shown=LOYALTY_METRICS,
        columns={"stayed": stayed, "loyalty_model": chances[MODEL]},
        settings=settings,
        contest=chance_contest(stayed, chances, figures, about="loyalty", seed=seed) if len(chances) > 1 else None,
        calibration={MODEL: reliability(stayed, chances[MODEL])},
        section="loyalty",
    )


def _calibration(came: np.ndarray, probabilities: Mapping[str, np.ndarray]) -> dict[str, Reliability]:
    """{contestant: how often it came true, by the probability given}."""
    return {name: reliability(came, given) for name, given in probabilities.items()}
