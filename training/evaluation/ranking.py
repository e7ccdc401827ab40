"""How near the top of the whole catalogue the items stood that a customer then took.

Every item is ranked against every other. Metrics from a handful of sampled candidates are refused: they can turn the order of two models
around (Krichene and Rendle, "On sampled metrics for item recommendation", KDD 2020).
"""

from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from training.errors import ConfigError

CUTS = (5, 10, 20, 100)
COUNTED = 16  # relevant items of one customer


class ScoredChunk(NamedTuple):
    """A few customers: what was scored and what came.

    scores: float32 [n, num_items], -inf for what is no candidate. items: ids [R] of the relevant items, customer by customer (distinct
    within a customer, but unknown ones may repeat); offsets: int64 [n + 1].
    """

    scores: np.ndarray | torch.Tensor
    items: np.ndarray
    offsets: np.ndarray


def ranking_metrics(chunks: Iterable[ScoredChunk], *, num_items: int, cuts: tuple[int, ...] = CUTS) -> dict[str, np.ndarray]:
    """`hr@k`, `ndcg@k`, `recall@k` and `mrr` of each customer: {metric: float64 [customers]}, in the order of the chunks.

    A relevant item that is no candidate can't be found: it counts as a miss and stays in the denominators. Every customer needs a relevant
    item. The result doesn't depend on how the customers are cut into chunks.
    """
    parts = [
        metrics_from_ranks(relevant_ranks(chunk, num_items=num_items), chunk.offsets, cuts=cuts)
        for chunk in chunks
        if len(chunk.offsets) > 1
    ]
    if not parts:
        raise ConfigError("expected customers to rank for, found none with a relevant item; choose an earlier cutoff or a longer horizon")
    return {metric: np.concatenate([part[metric] for part in parts]) for metric in parts[0]}


def metric_names(cuts: tuple[int, ...] = CUTS) -> list[str]:
    """The keys of `ranking_metrics`."""
    return [f"{metric}@{cut}" for cut in cuts for metric in ("hr", "ndcg", "recall")] + ["mrr"]


def means(per_customer: dict[str, np.ndarray]) -> dict[str, float]:
    """The mean over customers of each metric."""
    return {metric: float(values.mean()) for metric, values in per_customer.items()}


def relevant_ranks(chunk: ScoredChunk, *, num_items: int) -> np.ndarray:
    """The place of each relevant item in its customer's ranking: float64 [R], 1 for the top, infinite for a miss.

    Places are counted as 1 + items with a greater score + items with the same score that come earlier in `arbitrary_order`.
    """
    scores, items = _checked(chunk.scores, num_items=num_items), np.asarray(chunk.items, dtype=np.int64)
    places = [
        _places(scores[row], items[start:stop])
        for row, (start, stop) in enumerate(pairwise(np.asarray(chunk.offsets).tolist()))
        if stop > start
    ]
    return np.concatenate([np.empty(0), *places])


def _places(scores: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The places of some items in one customer's ranking [V]. To count what stands above is faster for a few of them, to sort for many."""
    if len(items) > COUNTED:
        keys = _ranking_keys(scores)
        wanted = keys[items]
        keys.sort()
        places = len(keys) - np.searchsorted(keys, wanted)
    else:
        places = np.array([1 + _num_above(scores, item) for item in items])
    return np.where(np.isneginf(scores[items]), np.inf, places)


def _num_above(scores: np.ndarray, item: int) -> int:
    ties = np.flatnonzero(scores == scores[item])
    earlier = np.count_nonzero(arbitrary_order(len(scores))[ties] < arbitrary_order(len(scores))[item]) if len(ties) > 1 else 0
    return int(np.count_nonzero(scores > scores[item]) + earlier)


def metrics_from_ranks(ranks: np.ndarray, offsets: np.ndarray, *, cuts: tuple[int, ...] = CUTS) -> dict[str, np.ndarray]:
    """Ranks [R] of relevant items, customer by customer: {metric: float64 [n]}."""
    counts = np.diff(offsets)
    if (counts == 0).any():
        raise ConfigError("expected a relevant item for every customer; leave out the customers that have none")
    gains, first = 1.0 / np.log2(1.0 + ranks), offsets[:-1]
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, max(cuts) + 2)))])
    metrics = {"mrr": 1.0 / np.minimum.reduceat(ranks, first)}
    for k in cuts:
        hits = ranks <= k
        found = np.add.reduceat(hits.astype(np.float64), first)
        metrics[f"hr@{k}"] = (found > 0).astype(np.float64)
        metrics[f"recall@{k}"] = found / counts
        metrics[f"ndcg@{k}"] = np.add.reduceat(gains * hits, first) / ideal[np.minimum(counts, k)]
    return metrics


def _ranking_keys(scores: np.ndarray) -> np.ndarray:
    """int64 [V] that sort as (score, then arbitrary order): no two are equal, and numpy sorts integers very fast."""
    bits = (scores + np.float32(0)).view(np.int32)  # + 0 makes -0.0 the same number as 0.0
    bits ^= (bits >> 31) & 0x7FFFFFFF
    keys = bits.astype(np.int64)
    keys <<= 32
    keys |= len(scores) - 1 - arbitrary_order(len(scores))
    return keys


@cache
def arbitrary_order(num_items: int) -> np.ndarray:
    """A place for each id, always the same and without a meaning: int64 [num_items], a permutation.

    Equal scores must not be told apart by id: ids rise with how rare an item is in the whole log, the test window included. Ids are
    multiplied by 2^64 divided by the golden ratio (Fibonacci hashing), which takes near ids far apart.
    """
    scattered = np.arange(num_items, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return np.argsort(np.argsort(scattered))


def _checked(scores: np.ndarray | torch.Tensor, *, num_items: int) -> np.ndarray:
    array = scores.detach().to("cpu", torch.float32).numpy() if isinstance(scores, torch.Tensor) else np.asarray(scores, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != num_items:
        raise ConfigError(
            f"expected scores for the whole catalogue, [customers, {num_items}], received {list(array.shape)}: metrics over "
            "sampled candidates mislead and are not computed; score every item and give -inf to what is no candidate"
        )
    if np.isnan(array).any():
        raise ConfigError(
            "expected scores without NaN, received some: the model has diverged; lower the learning rate or look at its inputs"
        )
    return array
