"""The member-value formula: purchase frequency times mean amount, raised for who buys across categories and for who has stayed long."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression

from training.baselines.outcome_question import OutcomeAnswers, OutcomeQuestion
from training.baselines.snapshots import Snapshots
from training.errors import ConfigError
from training.sequences.history import History, customer_of_event
from training.settings import NotNegative, Within

DAYS_A_YEAR = 365.0
SHORTEST_DAYS = 91.0  # over which a frequency is told: the first week of a customer says little of a year


@dataclass(frozen=True)
class MemberValue:
    """The coefficients: 1 + per_category for each category after the first, 1 + per_year for each year since the first purchase.

    Neither exceeds at_most. Frequency is that of the last year, or since the first purchase,
    in purchases a year.
    """

    per_category: NotNegative = 0.05
    per_year: NotNegative = 0.1
    at_most: Annotated[float, Within(1.0)] = 2.0

    def __post_init__(self) -> None:
        if min(self.per_category, self.per_year) < 0 or self.at_most < 1:
            raise ConfigError(f"expected per_category and per_year from 0 and at_most from 1 on, received {self}")

    def scores(self, snapshots: Snapshots, categories: np.ndarray) -> np.ndarray:
        """Of customers who bought in so many distinct categories [rows]: float64 [rows], 0 for who did not buy for a year."""
        columns = snapshots.columns(["purchases_365d", "spend_per_purchase", "tenure_days"])
        purchases, amount, tenure = np.nan_to_num(columns.astype(np.float64)).T
        frequency = purchases * DAYS_A_YEAR / np.clip(tenure, SHORTEST_DAYS, DAYS_A_YEAR)
        diversity = np.minimum(1 + self.per_category * np.maximum(categories - 1, 0), self.at_most)
        return frequency * amount * diversity * np.minimum(1 + self.per_year * tenure / DAYS_A_YEAR, self.at_most)


def member_value_outcomes(question: OutcomeQuestion, formula: MemberValue) -> OutcomeAnswers:
    """The score times what a point was worth before; probability and days by a curve along its logarithm, fitted on past moments."""
    lessons, categories = question.lessons, Categories.of(question.past, question.kinds)
    past, asked = (formula.scores(snapshots, categories.known(snapshots)) for snapshots in (lessons.snapshots, question.asked))
    before, at = (np.log1p(np.maximum(scores, 0.0))[:, None] for scores in (past, asked))
    returns = LogisticRegression().fit(before, lessons.returned).predict_proba(at)[:, 1]
    days = np.clip(LinearRegression().fit(before, lessons.days).predict(at), 0.0, question.horizon_days)
    worth = lessons.spent.sum() / max(past.sum(), np.finfo(np.float64).tiny)
    return OutcomeAnswers(question.spread(returns), question.spread(worth * asked), question.spread(days), f"{formula}")


@dataclass(frozen=True)
class Categories:
    """The first time (µs) at which each customer bought of each category, with the customer: each [pairs]."""

    since: np.ndarray
    customer: np.ndarray

    @classmethod
    def of(cls, history: History, kinds: np.ndarray) -> "Categories":
        """By `category` where the log has it, else by item."""
        bought = history.where(np.isin(history.columns["event"], kinds))
        category = bought.columns["category" if "category" in bought.columns else "item"].astype(np.int64)
        pair = customer_of_event(bought.offsets) * (category.max(initial=0) + 1) + category
        _, first = np.unique(pair, return_index=True)
        return cls(bought.columns["timestamp"][first], customer_of_event(bought.offsets)[first])

    def known(self, snapshots: Snapshots) -> np.ndarray:
        """How many categories each row's customer had bought of by its moment: int64 [rows]."""
        number = np.zeros(len(snapshots.customer), dtype=np.int64)
        for moment in np.unique(snapshots.moment):
            rows = snapshots.moment == moment
            counts = np.bincount(self.customer[self.since <= moment], minlength=int(snapshots.customer.max()) + 1)
            number[rows] = counts[snapshots.customer[rows]]
        return number
