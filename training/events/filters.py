"""Which usable events stay out of a store because its config asks for less: long histories cut, rare items and customers left out.

Over sorted arrays, NumPy's or CuPy's. What is left out is counted by reason, as what is quarantined is.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from training.events.schema import Filter

Array = Any  # numpy.ndarray or cupy.ndarray


def choose_events(item: Array, offsets: Array, limits: Filter, *, xp: ModuleType = np) -> tuple[Array, dict[str, int]]:
    """Which events stay, bool [T], and how many don't, by reason. Rows left out and rows that stay are all rows.

    item      int [T], 0 or above
    offsets   int64 [C + 1]: customer c owns the events offsets[c]:offsets[c + 1]

    Each item and customer that stays has as many events as the limits ask for (an iterated k-core), in histories that are cut already.
    """
    customer = customer_of_event(offsets, xp=xp)
    recent = _last_events(offsets, customer, limits.max_customer_events, xp)
    groups = {"item": (item, limits.min_item_events), "customer": (customer, limits.min_customer_events)}
    rules = {f"{name} with fewer than {limit} events": (group, limit) for name, (group, limit) in groups.items() if limit}
    stays, left_out = _core(recent, rules, xp)
    left_out = {f"before a customer's last {limits.max_customer_events} events": len(item) - int(recent.sum()), **left_out}
    return stays, {reason: count for reason, count in left_out.items() if count}


def customer_of_event(offsets: Array, *, xp: ModuleType = np) -> Array:
    """The position of the customer that owns each event: int64 [T]."""
    num_events = int(offsets[-1])
    return xp.cumsum(xp.bincount(offsets[1:-1], minlength=num_events + 1)[:num_events])


def _last_events(offsets: Array, customer: Array, limit: int, xp: ModuleType) -> Array:
    if not limit:
        return xp.ones(len(customer), dtype=bool)
    return xp.arange(len(customer)) >= offsets[1:][customer] - limit


def _core(stays: Array, rules: Mapping[str, tuple[Array, int]], xp: ModuleType) -> tuple[Array, dict[str, int]]:
    """What is left once each rule (a group of each event, and how many of it must stay) has nothing more to take away."""
    left_out = dict.fromkeys(rules, 0)
    is_settled = False
    while not is_settled:
        is_settled = True
        for reason, (group, limit) in rules.items():
            enough = stays & _in_groups_of(limit, group, stays, xp)
            if num_fewer := int(stays.sum()) - int(enough.sum()):
                stays, is_settled = enough, False
                left_out[reason] += num_fewer
    return stays, left_out


def _in_groups_of(limit: int, group: Array, stays: Array, xp: ModuleType) -> Array:
    """Whether at least `limit` events stay in each event's group: bool [T]."""
    if not len(group):
        return stays
    return xp.bincount(group[stays], minlength=int(group.max()) + 1)[group] >= limit
