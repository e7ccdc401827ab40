"""The outcomes by boosted trees on what is known of a customer: one model each for return, spend and time."""

from dataclasses import replace

import numpy as np

from training.baselines.boosted_trees import tuned
from training.baselines.outcome_question import OutcomeAnswers, OutcomeQuestion

VARIANCE_POWER = 1.5  # of the compound Poisson-gamma deviance: many spend nothing, few spend much


def boosted_outcomes(question: OutcomeQuestion, *, seed: int) -> OutcomeAnswers:
    """Leaves a tree and number of trees of each model by its loss on customers who were held out."""
    lessons = replace(question.lessons, spent=np.maximum(question.lessons.spent, 0.0))  # a deviance knows no negative amounts
    train, held = lessons.where(~lessons.held), lessons.where(lessons.held)

    def answer(label: str, objective: str, **parameters: float | str) -> tuple[np.ndarray, str]:
        booster, leaves = tuned(
            (train.snapshots.values, getattr(train, label).astype(np.float64)),
            (held.snapshots.values, getattr(held, label).astype(np.float64)),
            names=train.snapshots.names,
            parameters={"objective": objective, **parameters},
            seed=seed,
        )
        said = np.asarray(booster.predict(question.asked.values))
        return question.spread(said), f"{label}: {booster.best_iteration} trees of {leaves} leaves"

    returns, first = answer("returned", "binary", metric="binary_logloss")
    days, second = answer("days", "regression", metric="l2")
    value, third = answer("spent", "tweedie", metric="tweedie", tweedie_variance_power=VARIANCE_POWER)
    return OutcomeAnswers(returns, value, np.clip(days, 0.0, question.horizon_days), "; ".join([first, second, third]))
