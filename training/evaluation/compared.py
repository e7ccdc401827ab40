"""How one kind of question was answered in the test window: by the model and by whoever else can, with all that summary and report tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from training.evaluation.outcomes import Reliability, outcome_metrics, reliability
from training.evaluation.verdict import INTENT_METRICS, MODEL, RANKING_METRICS, Contest, intent_contest, ranking_contest


@dataclass(frozen=True)
class Comparison:
    """title, question, meaning: words for the report. customers: positions of those who are judged [n].

    figures: {contestant: {metric: value}}, the model first; shown: the metrics that the report shows, the deciding one first.
    columns: {column of predictions.parquet: [n]}. settings: {baseline: what was chosen, in words}. contest: where there are
    baselines. calibration: {contestant: curve}, of those that say probabilities.
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
        calibration={name: reliability(bought, given) for name, given in probabilities.items()},
    )
