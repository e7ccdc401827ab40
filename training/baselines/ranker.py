"""What every ranking baseline is: fitted on a history, then asked for a score of every item for some customers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from kernels import sessions
from training.evaluation.breadth import SHOWN, top_items
from training.evaluation.ranking import ScoredChunk, arbitrary_order, ranking_metrics
from training.sequences.history import History, customer_of_event
from training.sequences.split import DAY

CHUNK = 256
_BELOW = -2000.0  # under every score of a baseline's own


class Ranker(Protocol):
    """Fitted and ready to answer."""

    @property
    def num_items(self) -> int: ...

    @property
    def settings(self) -> str:
        """What was chosen for it, in words."""
        ...

    def scores(self, history: History, customers: np.ndarray) -> np.ndarray:
        """float32 [n, num_items] for customers (positions [n]) as of the end of `history`; -inf for what is no candidate."""
        ...


@dataclass(frozen=True)
class RankingQuestion:
    """Customers at a moment and what they took after it.

    history: everything before the moment. customers: positions int64 [n]. items [R], offsets [n + 1]: the relevant item ids of each.
    leave_out_seen: whether what a customer has had is out of question.
    """

    history: History
    customers: np.ndarray
    items: np.ndarray
    offsets: np.ndarray
    leave_out_seen: bool = False

    def take(self, which: np.ndarray) -> "RankingQuestion":
        """The same question about the customers at `which` places of `customers`."""
        index, offsets = sessions.pack(self.offsets, which)
        return replace(self, customers=self.customers[which], items=self.items[index], offsets=offsets)


def evaluate_ranker(ranker: Ranker, question: RankingQuestion, *, chunk: int = CHUNK) -> dict[str, np.ndarray]:
    """The ranking metrics of each customer: {metric: float64 [n]}. `chunk` customers are scored at a time."""
    return ranking_metrics(_scored(ranker, question, chunk=chunk), num_items=ranker.num_items)


def evaluate_and_show(ranker: Ranker, question: RankingQuestion, *, chunk: int = CHUNK) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`evaluate_ranker`, and the ten items that each customer is shown: int64 [n, 10]."""
    shown = [np.empty((0, SHOWN), dtype=np.int64)]

    def noted() -> Iterator[ScoredChunk]:
        for part in _scored(ranker, question, chunk=chunk):
            shown.append(top_items(part.scores))
            yield part

    return ranking_metrics(noted(), num_items=ranker.num_items), np.concatenate(shown)


def _scored(ranker: Ranker, question: RankingQuestion, *, chunk: int) -> Iterator[ScoredChunk]:
    places = np.arange(len(question.customers))
    parts = (question.take(places[start : start + chunk]) for start in range(0, len(places), chunk))
    return (ScoredChunk(_scores(ranker, part), part.items, part.offsets) for part in parts)


def _scores(ranker: Ranker, question: RankingQuestion) -> np.ndarray:
    scores = ranker.scores(question.history, question.customers)
    if question.leave_out_seen:
        scores = scores.copy()  # they may be one row, shown for everybody
        row, index = events_of(question.history.offsets, question.customers)
        scores[row, question.history.columns["item"][index]] = -np.inf
    return scores


def events_of(offsets: np.ndarray, customers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The events of some customers: their row among `customers` [M] and their index [M], customer by customer."""
    index, packed = sessions.pack(offsets, customers)
    return customer_of_event(packed), index


def wanted_by(
    history: History, customers: np.ndarray, *, candidates: np.ndarray, target_events: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The target events of some customers, in order of time: their row among `customers`, their item, their index, each [M]."""
    row, index = events_of(history.offsets, customers)
    item = history.columns["item"][index].astype(np.int64)
    wanted = np.isin(history.columns["event"][index], target_events) & candidates[item]
    return row[wanted], item[wanted], index[wanted]


def is_target(history: History, *, candidates: np.ndarray, target_events: np.ndarray) -> np.ndarray:
    """Events that say what is wanted: of a target kind, with an item that may be recommended. bool [N]."""
    return np.isin(history.columns["event"], target_events) & candidates[history.columns["item"]]


def popularity_scores(history: History, *, candidates: np.ndarray, target_events: np.ndarray, window_days: float | None) -> np.ndarray:
    """Minus an item's place by target events in the last `window_days` (None: ever), then ever: float32 [num_items].

    No candidate: -inf.
    """
    target = is_target(history, candidates=candidates, target_events=target_events)
    item, timestamp = history.columns["item"][target], history.columns["timestamp"][target]
    since = timestamp.max(initial=0) - window_days * DAY if window_days is not None else 0
    ever = np.bincount(item, minlength=len(candidates))
    recently = np.bincount(item[timestamp >= since], minlength=len(candidates))
    places = np.empty(len(candidates), dtype=np.float32)
    places[np.lexsort((arbitrary_order(len(candidates)), -ever, -recently, ~candidates))] = np.arange(len(candidates))
    return np.where(candidates, -places, -np.inf).astype(np.float32)


def over_popularity(popularity: np.ndarray, row: np.ndarray, item: np.ndarray, own: np.ndarray, *, num_customers: int) -> np.ndarray:
    """A baseline's own scores [M] (above -2000) at (row, item) [M] over the places of popularity: float32 [n, num_items]."""
    scores = np.tile(popularity + np.float32(_BELOW), (num_customers, 1))
    scores[row, item] = own
    return scores
