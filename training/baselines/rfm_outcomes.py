"""RFM as marketing uses it: customers of a class will do what customers of that class did before."""

from collections.abc import Callable

import numpy as np

from training.baselines.outcome_question import OutcomeAnswers, OutcomeQuestion
from training.baselines.rfm import NUM_GROUPS, rfm_scores
from training.baselines.snapshots import Snapshots


def rfm_outcomes(question: OutcomeQuestion) -> OutcomeAnswers:
    """Classes are cells of three fifths or the sum of the three, whichever foretells the spend of customers who were held out better."""
    name = min(_CLASSES, key=lambda name: _error(question, _CLASSES[name]))
    past, asked = _CLASSES[name](question.lessons.snapshots), _CLASSES[name](question.asked)

    def answer(happened: np.ndarray) -> np.ndarray:
        return question.spread(mean_by_class(past, happened, asked))

    returns, value, days = (answer(happened) for happened in (question.lessons.returned, question.lessons.spent, question.lessons.days))
    return OutcomeAnswers(returns, value, days, f"mean of {name}")


def mean_by_class(past: np.ndarray, happened: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The mean of what happened [rows] by class (small integers) of past rows, for each of `asked` [m]; of all rows for a new class."""
    size = int(max(past.max(initial=0), asked.max(initial=0))) + 1
    count, total = np.bincount(past, minlength=size), np.bincount(past, weights=happened, minlength=size)
    return np.where(count > 0, total / np.maximum(count, 1), happened.mean())[asked]


def _sum(snapshots: Snapshots) -> np.ndarray:
    return rfm_scores(snapshots).astype(np.int64).sum(axis=1)


def _cell(snapshots: Snapshots) -> np.ndarray:
    return rfm_scores(snapshots).astype(np.int64) @ (NUM_GROUPS + 1) ** np.arange(3)


_CLASSES: dict[str, Callable[[Snapshots], np.ndarray]] = {"the sum of the three scores": _sum, "the cell of the three scores": _cell}


def _error(question: OutcomeQuestion, classes: Callable[[Snapshots], np.ndarray]) -> float:
    held, of, happened = question.lessons.held, classes(question.lessons.snapshots), question.lessons.spent
    return float(((mean_by_class(of[~held], happened[~held], of[held]) - happened[held]) ** 2).mean())
