"""The outcomes by buy-till-you-die models, spend by gamma-gamma beside them."""

import numpy as np

from training.baselines.btyd import BGNBD, ParetoNBD
from training.baselines.gamma_gamma import GammaGamma
from training.baselines.outcome_question import OutcomeAnswers, OutcomeQuestion
from training.baselines.rfm_outcomes import mean_by_class
from training.baselines.snapshots import Snapshots
from training.baselines.transactions import Transactions


def bg_nbd_outcomes(question: OutcomeQuestion) -> OutcomeAnswers:
    """BG/NBD and gamma-gamma, fitted on all buyers up to the moment."""
    return _outcomes(question, BGNBD)


def pareto_nbd_outcomes(question: OutcomeQuestion) -> OutcomeAnswers:
    """Pareto/NBD and gamma-gamma, fitted on all buyers up to the moment."""
    return _outcomes(question, ParetoNBD)


def _outcomes(question: OutcomeQuestion, kind: type[BGNBD] | type[ParetoNBD]) -> OutcomeAnswers:
    buyers, days = Transactions.of(question.activity.steps, question.now), question.horizon_days
    model = kind.fit(buyers)
    returns = _with_strangers(question, buyers, model.returns(buyers, days=days), "returned")
    when = _with_strangers(question, buyers, model.days_to_next(buyers, days=days), "days")
    spend, settings = _spend(buyers, priced=question.priced)
    value = model.purchases(buyers, days=days) * spend
    return OutcomeAnswers(returns, _with_strangers(question, buyers, value, "spent"), when, f"{model.settings}; {settings}")


def _spend(buyers: Transactions, *, priced: bool) -> tuple[np.ndarray | float, str]:
    """The expected spend of a transaction, and what was fitted. Without prices it holds so many purchases, whose ever it is."""
    if priced:
        basket = GammaGamma.fit(buyers)
        return basket.spend(buyers), basket.settings
    each = float(np.average(buyers.spend, weights=buyers.repeats))
    return each, f"{each:.3g} purchases on a day of any"


def _with_strangers(question: OutcomeQuestion, buyers: Transactions, said: np.ndarray, happened: str) -> np.ndarray:
    """What is said of the buyers, and of who never bought the mean of what happened to their like: float64 [C]."""
    asked = _is_buyer(question.asked)
    if asked.all():
        answer = np.full(question.past.num_customers, np.nan)
    else:
        lessons = question.lessons
        answer = question.spread(mean_by_class(_is_buyer(lessons.snapshots), getattr(lessons, happened), asked))
    answer[buyers.customer] = said
    return answer


def _is_buyer(snapshots: Snapshots) -> np.ndarray:
    return (snapshots.columns(["purchases"])[:, 0] > 0).astype(np.int64)
