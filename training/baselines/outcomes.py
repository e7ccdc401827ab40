"""What a team has today to tell whether customers return, what they will spend and when they come: the model must beat all of it.

    answers = outcome_baselines(store, split, kinds=purchases, horizon_days=91, seed=1)
    answers["pareto_nbd"].returns       the probability for every customer of the store at the test moment

Only what lies before the test moment is read. `days` is the mean up to the horizon: see OutcomeAnswers. Without prices `value` is a
number of purchases; Cox's regression says nothing of value. Who was seen but never bought is unknown to buy-till-you-die models: they are
given the mean of what such customers did after past moments.
"""

from collections.abc import Callable

import numpy as np
from rich.progress import track

from training.baselines.boosted_outcomes import boosted_outcomes
from training.baselines.btyd_outcomes import bg_nbd_outcomes, pareto_nbd_outcomes
from training.baselines.cox import cox_outcomes
from training.baselines.member_value import MemberValue, member_value_outcomes
from training.baselines.outcome_question import NoLessonsError, OutcomeAnswers, OutcomeQuestion
from training.baselines.rfm_outcomes import rfm_outcomes
from training.sequences.history import Log
from training.sequences.split import Split

__all__ = ["OutcomeAnswers", "outcome_baselines"]


def outcome_baselines(
    store: Log,
    split: Split,
    *,
    kinds: np.ndarray,
    horizon_days: float,
    seed: int,
    member_value: MemberValue | None = None,
    visits: np.ndarray | None = None,
) -> dict[str, OutcomeAnswers]:
    """{"rfm", "member_value", "bg_nbd", "pareto_nbd", "cox", "boosted_trees": answers} at the test moment of a split by time.

    kinds: ids of the events that are purchases. member_value: the coefficients of that formula; None: the usual ones. visits: ids of
    the events by which customers are seen, where they are asked for instead: what a baseline then counts are visits, `value` their number,
    and trees know of purchases and of every kind of event beside. Where no past moment's horizon is over, those that learn from such
    moments have no answers, and say why.
    """
    question = OutcomeQuestion.of(store, split, kinds=kinds, horizon_days=horizon_days, seed=seed, visits=visits)
    baselines: dict[str, Callable[[OutcomeQuestion], OutcomeAnswers]] = {
        "rfm": rfm_outcomes,
        "member_value": lambda asked: member_value_outcomes(asked, member_value or MemberValue()),
        "bg_nbd": bg_nbd_outcomes,
        "pareto_nbd": pareto_nbd_outcomes,
        "cox": cox_outcomes,
        "boosted_trees": lambda asked: boosted_outcomes(asked, seed=seed),
    }
    return {name: _answered(answer, question) for name, answer in track(baselines.items(), description="Fitting the outcome baselines")}


def _answered(answer: Callable[[OutcomeQuestion], OutcomeAnswers], question: OutcomeQuestion) -> OutcomeAnswers:
    try:
        return answer(question)
    except NoLessonsError as why:
        return OutcomeAnswers(why_not=str(why))
