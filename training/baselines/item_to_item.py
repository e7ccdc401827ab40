"""Items that go with what a customer lately took: cosine similarity of co-occurrence.

Linden, Smith and York, "Amazon.com recommendations: item-to-item collaborative filtering", IEEE Internet Computing, 2003.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

from kernels import sessions
from training.baselines.ranker import is_target, over_popularity, popularity_scores, wanted_by
from training.sequences.history import History, customer_of_event, step_starts

Context = Literal["step", "customer"]

MAX_CONTEXT = 64  # a context's latest events that count: pairs grow with the square
NUM_NEIGHBOURS = 64
NUM_RECENT = 100
MIN_TOGETHER = 2  # a pair seen once is an accident, and most of the memory
_BLOCK = 4096


@dataclass(frozen=True)
class ItemToItem:
    """similarity: float32 CSR [num_items, num_items], the nearest neighbours of each item, with itself only if `repeats`."""

    candidates: np.ndarray
    target_events: np.ndarray
    context: Context
    repeats: bool
    similarity: sparse.csr_array
    popularity: np.ndarray

    @classmethod
    def fit(
        cls,
        history: History,
        *,
        candidates: np.ndarray,
        target_events: np.ndarray,
        context: Context,
        repeats: bool,
    ) -> "ItemToItem":
        """Items go together within a `context`: one step, or the latest events of one customer.

        repeats: an item speaks for itself too, with the greatest similarity, 1.
        """
        target = history.where(is_target(history, candidates=candidates, target_events=target_events))
        similarity = _neighbours(_contexts(target, context, num_items=len(candidates)))
        if repeats:
            similarity = (similarity + sparse.eye_array(len(candidates), dtype=np.float32)).tocsr()
        popularity = popularity_scores(history, candidates=candidates, target_events=target_events, window_days=None)
        return cls(candidates, target_events, context, repeats, similarity, popularity)

    @property
    def num_items(self) -> int:
        return len(self.candidates)

    @property
    def settings(self) -> str:
        itself = "with" if self.repeats else "without"
        return f"together in one {self.context}, {itself} the items themselves"

    def scores(self, history: History, customers: np.ndarray) -> np.ndarray:
        """float32 [n, num_items]: summed similarity to the customer's `NUM_RECENT` latest target events; the rest by popularity."""
        row, item, _ = wanted_by(history, customers, candidates=self.candidates, target_events=self.target_events)
        recent = _from_the_end(row) < NUM_RECENT
        places = (row[recent], item[recent])
        basket = sparse.csr_array((np.ones(len(places[0]), dtype=np.float32), places), shape=(len(customers), self.num_items))
        own = (basket @ self.similarity).tocoo()
        return over_popularity(self.popularity, own.row, own.col, own.data, num_customers=len(customers))


def _contexts(target: History, context: Context, *, num_items: int) -> sparse.csc_array:
    """Which item occurred in which context: float32 [contexts, num_items], ones."""
    of_event = customer_of_event(target.offsets) if context == "customer" else np.cumsum(step_starts(target)) - 1
    recent = _from_the_end(of_event) < MAX_CONTEXT
    rows, columns = of_event[recent], target.columns["item"][recent]
    together = sparse.csc_array(
        (np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(int(of_event.max(initial=-1)) + 1, num_items)
    )
    together.sum_duplicates()
    together.data[:] = 1.0
    return together


def _neighbours(together: sparse.csc_array) -> sparse.csr_array:
    """The `NUM_NEIGHBOURS` most similar items of each item by cosine, a block of items at a time to bound the memory."""
    by_context, count = together.tocsr(), np.asarray(together.sum(axis=0)).ravel()
    blocks = []
    for start in range(0, together.shape[1], _BLOCK):
        pairs = (together[:, start : start + _BLOCK].T.tocsr() @ by_context).tocoo()
        row, column, number = pairs.row + start, pairs.col, pairs.data
        kept = (number >= MIN_TOGETHER) & (row != column)
        row, column, number = row[kept], column[kept], number[kept]
        cosine = number / np.sqrt(count[row] * count[column])
        order = np.lexsort((column, -cosine, row))
        row, column, cosine = row[order], column[order], cosine[order]
        near = sessions.place_in_group(row) < NUM_NEIGHBOURS
        blocks.append((row[near], column[near], cosine[near]))
    row, column, cosine = (np.concatenate(part) for part in zip(*blocks, strict=True))
    return sparse.csr_array((cosine.astype(np.float32), (row, column)), shape=(together.shape[1],) * 2)


def _from_the_end(group: np.ndarray) -> np.ndarray:
    """How many elements of the same group (sorted) stand behind each."""
    return sessions.place_in_group(group[::-1])[::-1]
