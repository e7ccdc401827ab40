"""Labels are read from a log here alone: every answer equals a loop over rows, also with ties, empty customers, windows cut short."""

from itertools import pairwise

import numpy as np
from helpers_sequences import PURCHASE, VIEW, log_of, logs, random_log, rows_of, searched
from hypothesis import given
from hypothesis import strategies as st

from training.sequences.future import Future
from training.sequences.history import History

NEVER = np.iinfo(np.int64).max
QUESTIONS = st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 7), st.integers(-2, 8)), max_size=8)


def asked(log: History, questions: list[tuple[int, int, int]], kinds: list[int]) -> Future:
    owner, now, until = (np.array([question[place] for question in questions], dtype=np.int64) for place in range(3))
    return Future.after(log, kinds=np.array(kinds), now=now, owner=owner % log.num_customers, until=until)


def by_hand(log: History, question: tuple[int, int, int], kinds: list[int]) -> list[tuple[int, int]]:
    """(time, item) of what follows and is known to."""
    owner, now, until = question
    return [(time, item) for time, event, item in rows_of(log, owner % log.num_customers) if now < time <= until and event in kinds]


@searched
@given(log=logs(), questions=QUESTIONS, kinds=st.sampled_from([[PURCHASE], [VIEW, PURCHASE], [9]]))
def test_equals_a_loop(log: History, questions: list[tuple[int, int, int]], kinds: list[int]) -> None:
    future = asked(log, questions, kinds)
    step, step_offsets = future.items(whole_window=False)
    window, window_offsets = future.items(whole_window=True)
    first = future.time_of_first()
    assert len(step_offsets) == len(window_offsets) == len(questions) + 1
    for place, question in enumerate(questions):
        rows = by_hand(log, question, kinds)
        soonest = rows[0][0] if rows else NEVER
        assert future.found[place] == bool(rows)
        assert first[place] == soonest
        next_items = sorted({item for time, item in rows if time == soonest})
        assert step[step_offsets[place] : step_offsets[place + 1]].tolist() == next_items
        assert window[window_offsets[place] : window_offsets[place + 1]].tolist() == sorted({item for _, item in rows})


def test_a_step_at_the_moment_is_past_a_step_at_the_end_of_the_window_is_known() -> None:
    log = log_of([[(5, PURCHASE, 2), (5, PURCHASE, 3), (8, PURCHASE, 4), (8, VIEW, 5), (9, PURCHASE, 6)]])
    items, offsets = asked(log, [(0, 5, 8), (0, 4, 8), (0, 5, 7), (0, 8, 8), (0, 9, 99)], [PURCHASE]).items(whole_window=False)
    assert [items[start:stop].tolist() for start, stop in pairwise(offsets)] == [[4], [2, 3], [], [], []]


def test_one_customers_end_is_not_anothers_beginning() -> None:
    log = log_of([[(5, PURCHASE, 2)], [], [(7, PURCHASE, 3)]])
    future = asked(log, [(0, 5, 99), (0, 6, 99), (1, 0, 99), (2, 7, 99)], [PURCHASE])
    assert not future.found.any()
    assert (future.time_of_first() == NEVER).all()


def test_nothing_in_a_step_is_predicted_from_the_rest_of_it() -> None:
    """Asked at the very time of each step, no item of the step is an answer, unless it comes again later."""
    log = random_log(3)
    for customer in range(log.num_customers):
        for time in {row[0] for row in rows_of(log, customer)}:
            items, _ = asked(log, [(customer, time, NEVER)], [PURCHASE]).items(whole_window=True)
            later = {item for when, event, item in rows_of(log, customer) if when > time and event == PURCHASE}
            assert set(items.tolist()) == later


def test_no_moments_no_answers() -> None:
    items, offsets = asked(random_log(0), [], [PURCHASE]).items(whole_window=False)
    assert (items.tolist(), offsets.tolist()) == ([], [0])
