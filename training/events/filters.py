"""Which usable events stay out of a store because its config asks for less: long histories cut, rare items and customers left out.

Over encoded, sorted arrays, NumPy's or CuPy's. What is left out is counted by reason, as what is quarantined is.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from training.events.schema import Filter
from training.sequences.vocabulary import NUM_RESERVED, Vocabulary

Array = Any  # numpy.ndarray or cupy.ndarray


def choose_events(item: Array, offsets: Array, limits: Filter, *, xp: ModuleType = np) -> tuple[Array, dict[str, int]]:
    """Which events stay, bool [T], and how many don't, by reason. Rows left out and rows that stay are all rows.

    item      ids, int [T]
    offsets   int64 [C + 1]: customer c owns the events offsets[c]:offsets[c + 1]; each has at least one

    Each item and customer that stays has as many events as the limits ask for (an iterated k-core), in histories that are cut already.
    """
    customer = customer_of_event(offsets, xp=xp)
    stays, left_out = _last_events(offsets, customer, limits.max_customer_events, xp), {}
    left_out[f"before a customer's last {limits.max_customer_events} events"] = len(item) - int(stays.sum())
    rules = {
        f"item with fewer than {limits.min_item_events} events": _enough(item, limits.min_item_events, xp),
        f"customer with fewer than {limits.min_customer_events} events": _enough(customer, limits.min_customer_events, xp),
    }
    is_settled = False
    while not is_settled:
        num_before = int(stays.sum())
        for reason, enough in rules.items():
            num_there = int(stays.sum())
            stays = stays & enough(stays)
            left_out[reason] = left_out.get(reason, 0) + num_there - int(stays.sum())
        is_settled = int(stays.sum()) == num_before
    return stays, {reason: count for reason, count in left_out.items() if count}


def customer_of_event(offsets: Array, *, xp: ModuleType = np) -> Array:
    """The position of the customer that owns each event: int64 [T]. Each customer has at least one."""
    marks = xp.zeros(int(offsets[-1]), dtype=xp.int64)
    marks[offsets[1:-1]] = 1
    return xp.cumsum(marks)


def recount(ids: Array, vocabulary: Vocabulary, *, xp: ModuleType = np) -> tuple[Array, Vocabulary]:
    """The ids int32 [T] that a field's events get where only they make the vocabulary, and that vocabulary: as if they had been the log."""
    counts = np.asarray(xp.bincount(ids, minlength=vocabulary.size).tolist())
    known = [number for number in range(NUM_RESERVED, vocabulary.size) if counts[number]]
    order = [*range(NUM_RESERVED), *sorted(known, key=lambda number: (-counts[number], vocabulary.keys[number]))]
    new_ids = np.zeros(vocabulary.size, dtype=np.int32)
    new_ids[order] = np.arange(len(order))
    attributes = {name: [words[number] for number in order] for name, words in vocabulary.attributes.items()}
    return xp.asarray(new_ids)[ids], Vocabulary([vocabulary.keys[number] for number in order], counts[order], attributes)


def _last_events(offsets: Array, customer: Array, limit: int, xp: ModuleType) -> Array:
    if not limit:
        return xp.ones(len(customer), dtype=bool)
    return xp.arange(len(customer)) >= offsets[1:][customer] - limit


def _enough(group: Array, limit: int, xp: ModuleType) -> Callable[[Array], Array]:
    """For events that stay so far: whether the group of each, bool [T], has at least `limit` of them."""
    size = int(group.max()) + 1

    def enough(stays: Array) -> Array:
        return xp.bincount(group[stays], minlength=size)[group] >= limit

    return enough
