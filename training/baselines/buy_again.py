"""A customer is shown what they bought most often: very strong where shopping repeats itself, as with groceries."""

from dataclasses import dataclass

import numpy as np

from training.baselines.ranker import over_popularity, popularity_scores, wanted_by
from training.sequences.history import History
from training.sequences.split import DAY


@dataclass(frozen=True)
class BuyAgain:
    """Own items by how often they were bought, then the rest by popularity.

    An event counts half after every `half_life_days`; None: all count the same, and the latest decides between equals.
    """

    candidates: np.ndarray
    target_events: np.ndarray
    half_life_days: float | None
    popularity: np.ndarray

    @classmethod
    def fit(
        cls,
        history: History,
        *,
        candidates: np.ndarray,
        target_events: np.ndarray,
        half_life_days: float | None,
        window_days: float | None = None,
    ) -> "BuyAgain":
        """candidates: bool [num_items]. What a customer has not bought follows by popularity in the last `window_days` of `history`."""
        popularity = popularity_scores(history, candidates=candidates, target_events=target_events, window_days=window_days)
        return cls(candidates, target_events, half_life_days, popularity)

    @property
    def num_items(self) -> int:
        return len(self.candidates)

    @property
    def settings(self) -> str:
        return "by count, then latest" if self.half_life_days is None else f"count with half-life {self.half_life_days:g} days"

    def scores(self, history: History, customers: np.ndarray) -> np.ndarray:
        """float32 [n, num_items]: log2 of the (decayed) count for own items."""
        row, item, index = wanted_by(history, customers, candidates=self.candidates, target_events=self.target_events)
        pair, of_event = np.unique(row * self.num_items + item, return_inverse=True)
        age = _days_before_the_latest(history, customers, row, index)
        if self.half_life_days is None:
            weight = np.bincount(of_event, minlength=len(pair)) + _closeness(age, of_event, num_pairs=len(pair))
        else:
            weight = np.bincount(of_event, weights=np.exp2(-age / self.half_life_days), minlength=len(pair))
        own = np.log2(np.maximum(weight, np.finfo(np.float64).tiny))
        return over_popularity(self.popularity, *np.divmod(pair, self.num_items), own, num_customers=len(customers))


def _days_before_the_latest(history: History, customers: np.ndarray, row: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Days from each event to its customer's latest: float64 [M]. Days to the moment would order a customer's items the same."""
    timestamp = history.columns["timestamp"]
    return (timestamp[history.offsets[customers[row] + 1] - 1] - timestamp[index]) / DAY


def _closeness(age: np.ndarray, of_event: np.ndarray, *, num_pairs: int) -> np.ndarray:
    """Greater for what was bought later, and below 1, so that it only decides between equal counts: float64 [num_pairs]."""
    youngest = np.full(num_pairs, np.inf)
    np.minimum.at(youngest, of_event, age)
    return 0.5 / (1.0 + youngest)
