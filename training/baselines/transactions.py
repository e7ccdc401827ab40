"""What buy-till-you-die models know of a customer: how often they came again, when last, for how long they could, and what they spent."""

from dataclasses import dataclass

import numpy as np

from training.baselines.features import Steps
from training.sequences.split import DAY


@dataclass(frozen=True)
class Transactions:
    """Purchases of one day are one transaction; the first makes the customer, those after it are repeats.

    customer: positions of those who bought at all. repeats: how many repeats; last: days from the first to the last transaction; age: days
    from the first transaction to the moment; spend: mean spend of a repeat, 0 without one. Each [n]; Fader and Hardie's x, t_x, T, z̄.
    """

    customer: np.ndarray
    repeats: np.ndarray
    last: np.ndarray
    age: np.ndarray
    spend: np.ndarray

    @classmethod
    def of(cls, steps: Steps, now: int) -> "Transactions":
        """At the end of the day of `now` (µs); later steps are not looked at."""
        past = steps.where(steps.timestamp <= now)
        day = past.timestamp // DAY
        new_day = (np.diff(past.customer, prepend=-1) != 0) | (np.diff(day, prepend=-1) != 0)
        first = np.flatnonzero(new_day)
        spend = np.add.reduceat(past.spend, first) if len(first) else np.zeros(0)
        customer, start, count = np.unique(past.customer[first], return_index=True, return_counts=True)
        repeats, day = count - 1, day[first]
        later = np.add.reduceat(spend, start) - spend[start] if len(start) else np.zeros(0)
        return cls(
            customer,
            repeats.astype(np.float64),
            (day[start + repeats] - day[start]).astype(np.float64),
            (now // DAY - day[start]).astype(np.float64),
            np.where(repeats > 0, later / np.maximum(repeats, 1), 0.0),
        )
