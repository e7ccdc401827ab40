"""Everybody is shown what sells best, ever or lately."""

from dataclasses import dataclass

import numpy as np

from training.baselines.ranker import popularity_scores
from training.sequences.history import History


@dataclass(frozen=True)
class Popularity:
    """item_scores: float32 [num_items]."""

    item_scores: np.ndarray
    window_days: float | None

    @classmethod
    def fit(cls, history: History, *, candidates: np.ndarray, target_events: np.ndarray, window_days: float | None) -> "Popularity":
        """Count target events in the last `window_days` of `history` (None: all of it) for candidates (bool [num_items])."""
        return cls(popularity_scores(history, candidates=candidates, target_events=target_events, window_days=window_days), window_days)

    @property
    def num_items(self) -> int:
        return len(self.item_scores)

    @property
    def settings(self) -> str:
        return "all history" if self.window_days is None else f"last {self.window_days:g} days"

    def scores(self, history: History, customers: np.ndarray) -> np.ndarray:
        """float32 [n, num_items]: the same for all, a view that must not be written to."""
        return np.broadcast_to(self.item_scores, (len(customers), self.num_items))
