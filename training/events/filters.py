"""Which usable events stay out of a store because its config asks for less: long histories cut, rare items and customers left out.

Over sorted arrays, NumPy's or CuPy's, one partition of the customers after the other. What is left out is counted by reason, as what is
quarantined is.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from training.events.schema import Filter

Array = Any  # numpy.ndarray or cupy.ndarray
Partition = tuple[Array, Array]


def choose_events(partitions: Sequence[Partition], limits: Filter, *, xp: ModuleType = np) -> tuple[list[Array], dict[str, int]]:
    """Which events of each partition stay, bool [T], and how many of all don't, by reason: both together are all events.

    partitions   all events of some customers each: their items, int [T], 0 or above, and int64 [C + 1] offsets, where customer c owns the
                 events offsets[c]:offsets[c + 1]. They are looked at in turn and more than once: a sequence may read them whenever asked

    Each item and customer that stays has as many events as the limits ask for (an iterated k-core), in histories that are cut already.
    """
    stays = [_last_events(offsets, limits.max_customer_events, xp) for _, offsets in partitions]
    left_out = dict.fromkeys(_reasons(limits), 0)
    cut, rare, idle = left_out
    left_out[cut] = sum(len(some) for some in stays) - _count(stays)
    is_settled = False
    while not is_settled:
        before = _count(stays)
        stays = _of_frequent_items(partitions, stays, limits.min_item_events, xp)
        between = _count(stays)
        stays = _of_busy_customers(partitions, stays, limits.min_customer_events, xp)
        left_out[rare] += before - between
        left_out[idle] += between - _count(stays)
        is_settled = _count(stays) == before
    return stays, {reason: count for reason, count in left_out.items() if count}


def customer_of_event(offsets: Array, *, xp: ModuleType = np) -> Array:
    """The position of the customer that owns each event: int64 [T]."""
    num_events = int(offsets[-1])
    return xp.cumsum(xp.bincount(offsets[1:-1], minlength=num_events + 1)[:num_events])


def _reasons(limits: Filter) -> tuple[str, str, str]:
    return (
        f"before a customer's last {limits.max_customer_events} events",
        f"item with fewer than {limits.min_item_events} events",
        f"customer with fewer than {limits.min_customer_events} events",
    )


def _count(stays: list[Array]) -> int:
    return sum(int(some.sum()) for some in stays)


def _last_events(offsets: Array, limit: int, xp: ModuleType) -> Array:
    num_events = int(offsets[-1])
    if not limit:
        return xp.ones(num_events, dtype=bool)
    return xp.arange(num_events) >= offsets[1:][customer_of_event(offsets, xp=xp)] - limit


def _of_frequent_items(partitions: Sequence[Partition], stays: list[Array], limit: int, xp: ModuleType) -> list[Array]:
    if not limit:
        return stays
    counts = xp.zeros(0, dtype=xp.int64)
    for (item, _), some in zip(partitions, stays, strict=True):
        more = xp.bincount(item[some], minlength=len(counts))
        more[: len(counts)] += counts
        counts = more
    # An item of which nothing stays may lie beyond the counts: it has none.
    is_frequent = xp.append(counts >= limit, False)
    return [some & is_frequent[xp.minimum(item, len(counts))] for (item, _), some in zip(partitions, stays, strict=True)]


def _of_busy_customers(partitions: Sequence[Partition], stays: list[Array], limit: int, xp: ModuleType) -> list[Array]:
    if not limit:
        return stays
    chosen = []
    for (_, offsets), some in zip(partitions, stays, strict=True):
        events = xp.diff(xp.append(xp.zeros(1, dtype=xp.int64), xp.cumsum(some))[offsets])
        chosen.append(some & (events >= limit)[customer_of_event(offsets, xp=xp)])
    return chosen
