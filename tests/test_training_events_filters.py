from itertools import pairwise

import numpy as np
import pytest

from training.events.filters import choose_events, customer_of_event
from training.events.schema import Filter


def log(num_customers: int = 40, num_items: int = 30, num_events: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Items, a few of them popular, and offsets of customers with at least one event each."""
    generator = np.random.default_rng(0)
    customer = np.sort(np.concatenate([np.arange(num_customers), generator.integers(num_customers, size=num_events - num_customers)]))
    item = np.minimum(generator.geometric(0.15, size=num_events), num_items)
    return item, np.searchsorted(customer, np.arange(num_customers + 1))


def survivors(item: np.ndarray, offsets: np.ndarray, limits: Filter) -> set[int]:
    """The same by one rule at a time over lists, as the definition says it."""
    customer = customer_of_event(offsets)
    left = [i for i in range(len(item)) if not limits.max_customer_events or offsets[customer[i] + 1] - i <= limits.max_customer_events]
    while True:
        kept = [i for i in left if sum(item[j] == item[i] for j in left) >= limits.min_item_events]
        kept = [i for i in kept if sum(customer[j] == customer[i] for j in kept) >= limits.min_customer_events]
        if kept == left:
            return set(kept)
        left = kept


@pytest.mark.parametrize(
    "limits",
    [Filter(), Filter(5), Filter(0, 8), Filter(0, 0, 8), Filter(0, 9, 7), Filter(6, 5, 4), Filter(0, 1_000), Filter(1, 1, 1)],
    ids=lambda limits: "-".join(map(str, vars(limits).values())),
)
def test_what_stays_is_what_the_definition_says(limits: Filter) -> None:
    item, offsets = log()
    (stays,), left_out = choose_events([(item, offsets)], limits)
    assert set(np.flatnonzero(stays).tolist()) == survivors(item, offsets, limits)
    assert len(item) == stays.sum() + sum(left_out.values())


def test_what_is_left_out_is_counted_by_reason() -> None:
    item, offsets = np.array([2, 2, 2, 3, 2, 4, 2]), np.array([0, 4, 6, 7])
    (stays,), left_out = choose_events([(item, offsets)], Filter(max_customer_events=3, min_item_events=2, min_customer_events=2))
    assert stays.tolist() == [False, True, True, False, False, False, False]
    assert left_out == {
        "before a customer's last 3 events": 1,
        "item with fewer than 2 events": 2,
        "customer with fewer than 2 events": 2,
    }


@pytest.mark.parametrize("bounds", [(20,), (1, 2, 39), (0, 40)], ids=str)
def test_partitions_of_the_customers_give_what_the_whole_gives(bounds: tuple[int, ...]) -> None:
    item, offsets = log()
    partitions = [
        (item[offsets[first] : offsets[end]], offsets[first : end + 1] - offsets[first]) for first, end in pairwise((0, *bounds, 40))
    ]
    stays, left_out = choose_events(partitions, Filter(6, 5, 4))
    (whole,), left_out_of_whole = choose_events([(item, offsets)], Filter(6, 5, 4))
    np.testing.assert_array_equal(np.concatenate(stays), whole)
    assert left_out == left_out_of_whole


def test_without_limits_nothing_is_left_out() -> None:
    item, offsets = log()
    (stays,), left_out = choose_events([(item, offsets)], Filter())
    assert stays.all()
    assert left_out == {}


def test_no_events_are_no_trouble() -> None:
    (stays,), left_out = choose_events([(np.zeros(0, dtype=np.int32), np.array([0, 0]))], Filter(3, 2, 2))
    assert (len(stays), left_out) == (0, {})


def test_customers_without_an_event_own_none() -> None:
    assert customer_of_event(np.array([0, 0, 2, 2, 3, 3])).tolist() == [1, 1, 3]
