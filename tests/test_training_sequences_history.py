"""Cutting histories out of a log: each operation equals a loop over customers and rows; serving keeps the same rows."""

import numpy as np
import pytest
from helpers_sequences import PURCHASE, log_of, logs, random_log, rows_of, same_log, searched
from helpers_serving import DAY, ITEMS, MAX_EVENTS, NOW, write_toy_artifact
from hypothesis import given
from hypothesis import strategies as st

from serving.contract import read_contract
from serving.encode import Encoder
from training.sequences.history import History, customer_of_event, keep_last, offsets_of, step_starts, take

MOMENTS = st.lists(st.integers(-1, 7), min_size=4, max_size=4)


def kept(log: History) -> list[list[tuple[int, int, int]]]:
    return [list(rows_of(log, customer)) for customer in range(log.num_customers)]


@searched
@given(log=logs(), now=MOMENTS)
def test_at_keeps_what_is_not_later(log: History, now: list[int]) -> None:
    each = np.array(now)[: log.num_customers]
    expected = [[row for row in rows if row[0] <= moment] for rows, moment in zip(kept(log), now, strict=False)]
    assert kept(History.at(log, each)) == expected
    assert kept(History.at(log, now[0])) == [[row for row in rows if row[0] <= now[0]] for rows in kept(log)]


@searched
@given(log=logs(), now=MOMENTS, until=MOMENTS)
def test_future_keeps_what_lies_between(log: History, now: list[int], until: list[int]) -> None:
    start, end = np.array(now)[: log.num_customers], np.array(until)[: log.num_customers]
    bounds = zip(kept(log), now, until, strict=False)
    assert kept(History.future(log, start, end)) == [[row for row in rows if low < row[0] <= high] for rows, low, high in bounds]


@searched
@given(log=logs(), places=st.lists(st.integers(0, 3), max_size=6))
def test_take_in_any_order_and_more_than_once(log: History, places: list[int]) -> None:
    customers = np.array([place % log.num_customers for place in places], dtype=np.int64)
    taken = take(log, customers)
    assert kept(taken) == [kept(log)[customer] for customer in customers]
    assert taken.columns.keys() == log.columns.keys()


@searched
@given(log=logs(), max_events=st.integers(1, 9))
def test_keep_last(log: History, max_events: int) -> None:
    assert kept(keep_last(log, max_events)) == [last_steps(rows, max_events) for rows in kept(log)]


def last_steps(rows: list[tuple[int, int, int]], max_events: int) -> list[tuple[int, int, int]]:
    """Whole steps from the end while they fit; the last one whether it fits or not."""
    chosen: list[tuple[int, int, int]] = []
    for time in sorted({row[0] for row in rows}, reverse=True):
        step = [row for row in rows if row[0] == time]
        if chosen and len(chosen) + len(step) > max_events:
            break
        chosen = step + chosen
    return chosen


def test_what_fits_is_kept_as_it_is() -> None:
    log = random_log(1)
    assert same_log(keep_last(log, int(log.num_events.max())), log)


@searched
@given(log=logs())
def test_a_step_starts_where_the_customer_or_the_time_changes(log: History) -> None:
    expected = [place == 0 or row[0] != rows[place - 1][0] for rows in kept(log) for place, row in enumerate(rows)]
    assert step_starts(log).tolist() == expected


def test_two_customers_at_one_instant_are_two_steps() -> None:
    log = log_of([[(5, PURCHASE, 2)], [], [(5, PURCHASE, 2), (5, PURCHASE, 3)]])
    assert step_starts(log).tolist() == [True, True, False]
    assert customer_of_event(log.offsets).tolist() == [0, 2, 2]
    assert offsets_of(log.num_events).tolist() == log.offsets.tolist()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder(read_contract(write_toy_artifact(tmp_path_factory.mktemp("history") / "artifact")))


def test_serving_keeps_the_same_rows(encoder: Encoder) -> None:
    cut = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        num_events = int(random.integers(1, 4 * MAX_EVENTS))
        # ties, steps over the limit, events after now
        times = NOW + DAY * np.sort(random.integers(-int(random.integers(1, 12)), 3, num_events))
        log = log_of([[(int(time), PURCHASE, int(random.integers(2, 2 + len(ITEMS)))) for time in times]])
        ours = keep_last(History.at(log, NOW), MAX_EVENTS).columns
        events = {"item": [ITEMS[item - 2] for item in log.columns["item"]], "event": ["purchase"] * num_events, "timestamp": times}
        theirs = encoder.history(events, NOW).columns
        assert ours["timestamp"].tolist() == theirs["timestamp"].tolist(), seed
        assert ours["item"].tolist() == theirs["item"].tolist(), seed
        cut += 0 < len(ours["item"]) < (times <= NOW).sum()
    assert cut > 30
