"""When customers are asked during training. Moments are drawn without a look at the future, or the answers would be biased by it.

A question asked halfway between two purchases knows how long the customer has been silent. Were the moments placed by the events that
follow (one in every gap, say), long silences would be as frequent as short ones, and P(purchase | silence) would come out wrong.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from training.sequences.history import History, step_starts
from training.settings import Chance, Count


class Moments(Protocol):
    """Draws the questions of one epoch."""

    def draw(
        self, history: History, born: np.ndarray, until: np.ndarray, generators: Sequence[np.random.Generator]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Moments (µs, int64 [Q], rising within a customer) and how many each customer has [B].

        born, until: µs [B], each customer's first event, which may lie before what `history` still holds, and the last moment allowed.
        """


class UniformMoments:
    """`per_customer` moments spread evenly at random over the time for which a customer is known.

    Each is drawn in its own equal share of that time (stratified), so that every epoch covers a customer's life. The first lies before the
    customer's first event in one customer out of `1 / cold_start`: what is said to somebody unknown is learned too.
    """

    def __init__(self, per_customer: Count, cold_start: Chance = 0.1) -> None:
        self.per_customer = per_customer
        self.cold_start = cold_start

    def draw(
        self, history: History, born: np.ndarray, until: np.ndarray, generators: Sequence[np.random.Generator]
    ) -> tuple[np.ndarray, np.ndarray]:
        first = history.columns["timestamp"][history.offsets[:-1]]
        shares = np.stack([generator.random(self.per_customer + 1) for generator in generators])
        spread = (np.arange(self.per_customer) + shares[:, :-1]) / self.per_customer
        moments = first[:, None] + (spread * (until - first)[:, None]).astype(np.int64)
        moments[:, 0] = np.where(shares[:, -1] < self.cold_start, born - 1, moments[:, 0])
        return moments.ravel(), np.full(len(first), self.per_customer)


class MomentAfterEachStep:
    """One moment right after every step: the classic next-item training, in which silence is always zero."""

    def draw(
        self, history: History, born: np.ndarray, until: np.ndarray, generators: Sequence[np.random.Generator]
    ) -> tuple[np.ndarray, np.ndarray]:
        return _times_of_steps(history)


class MomentBeforeEachStep:
    """One moment in the microsecond before every step: what comes is asked for by somebody who knows when. For `knows_target_time`."""

    def draw(
        self, history: History, born: np.ndarray, until: np.ndarray, generators: Sequence[np.random.Generator]
    ) -> tuple[np.ndarray, np.ndarray]:
        times, counts = _times_of_steps(history)
        return times - 1, counts


def _times_of_steps(history: History) -> tuple[np.ndarray, np.ndarray]:
    """µs of every step [Q], and how many each customer has [B]."""
    starts = step_starts(history)
    owner = np.repeat(np.arange(history.num_customers), history.num_events)[starts]
    return history.columns["timestamp"][starts], np.bincount(owner, minlength=history.num_customers)
