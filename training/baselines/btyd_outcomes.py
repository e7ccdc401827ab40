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
    buyers, days, lessons = Transactions.of(question.activity.steps, question.now), question.horizon_days, question.lessons
    model = kind.fit(buyers)
    returns = _with_strangers(question, buyers, model.returns(buyers, days=days), lessons.returned)
    when = _with_strangers(question, buyers, model.days_to_next(buyers, days=days), lessons.days)
    if not question.priced:
        return OutcomeAnswers(returns, None, when, model.settings)
    basket = GammaGamma.fit(buyers)
    value = model.purchases(buyers, days=days) * basket.spend(buyers)
    return OutcomeAnswers(returns, _with_strangers(question, buyers, value, lessons.spent), when, f"{model.settings}; {basket.settings}")


def _with_strangers(question: OutcomeQuestion, buyers: Transactions, said: np.ndarray, happened: np.ndarray) -> np.ndarray:
    """What is said of the buyers, and of who never bought the mean of what happened to their like: float64 [C]."""
    past, asked = (_is_buyer(snapshots) for snapshots in (question.lessons.snapshots, question.asked))
    answer = question.spread(mean_by_class(past, happened, asked))
    answer[buyers.customer] = said
    return answer


def _is_buyer(snapshots: Snapshots) -> np.ndarray:
    return (snapshots.columns(["purchases"])[:, 0] > 0).astype(np.int64)
