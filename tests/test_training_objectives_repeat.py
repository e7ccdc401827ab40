"""How old an event is where a log tells no times; and what is copied or left out by what the log says of its customers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_sequences import PURCHASE, START, VIEW, facts_of, log_of, questions_of

from training.models.grouping import group
from training.models.items import Items
from training.objectives.next_item import NextItem
from training.objectives.objective import Context
from training.sequences.history import History
from training.sequences.split import DAY

LATER = START + 99 * DAY


def walk(*items: int, apart: int = DAY) -> list[tuple[int, int, int]]:
    """One purchase after the other."""
    return [(START + place * apart, PURCHASE, item) for place, item in enumerate(items)]


def next_item(log: History, *, repeat: bool | None = None, leave_out_seen: bool | None = None, knows_times: bool = True) -> NextItem:
    facts = replace(facts_of(log, LATER), knows_times=knows_times)
    said = {"repeat": repeat, "leave_out_seen": leave_out_seen}
    return NextItem(events=["purchase"], dim=4, top_k=3, every=1, weight=1.0, facts=facts, **said).eval()


def scores(log: History, *, knows_times: bool) -> torch.Tensor:
    """Of the first customer after all that they did, nothing learned yet."""
    batch = questions_of(log).ask(np.array([0]), np.array([START + 50 * DAY]), np.array([1]))
    context = Context(batch, group(batch), torch.zeros(1, 0), torch.zeros(1, 4), Items(16, 4))
    return next_item(log, repeat=True, knows_times=knows_times).scores(context)[0]


@pytest.mark.parametrize("knows_times", [True, False])
def test_what_came_later_is_likelier_again(knows_times: bool) -> None:
    said = scores(log_of([walk(2, 3, 4)]), knows_times=knows_times)
    assert said[4] > said[3] > said[2]


def test_without_times_steps_alone_tell_how_long_ago_something_was() -> None:
    slow, fast = (log_of([walk(2, 3, 4, apart=apart)]) for apart in (9 * DAY, DAY // 24))
    torch.testing.assert_close(scores(slow, knows_times=False), scores(fast, knows_times=False))
    assert not torch.allclose(scores(slow, knows_times=True), scores(fast, knows_times=True))


def test_share_taken_again() -> None:
    log = log_of([walk(2, 3, 2, 2), walk(4), [], [*walk(5, 6), (START, PURCHASE, 5), (START + DAY, VIEW, 5)]])
    assert facts_of(log, LATER).share_taken_again(["purchase"]) == pytest.approx(
        2 / 8
    )  # twice at once is no second time, and views don't count
    assert facts_of(log, START + 2 * DAY).share_taken_again(["purchase"]) == pytest.approx(1 / 7)  # the future is not looked at
    assert facts_of(log_of([[], []]), LATER).share_taken_again(["purchase"]) == 0


def test_what_was_had_is_copied_or_left_out_as_the_log_says() -> None:
    again, once = next_item(log_of([walk(2, 3, 2, 3)])), next_item(log_of([walk(2, 3, 4, 5)]))
    assert (again.repeat is not None, again.leave_out_seen) == (True, False)
    assert (once.repeat is not None, once.leave_out_seen) == (False, True)


def test_what_is_said_is_done_whatever_the_log_says() -> None:
    log = log_of([walk(2, 3, 2, 3)])
    assert next_item(log, repeat=False, leave_out_seen=True).leave_out_seen
    assert next_item(log, repeat=False).repeat is None
    assert not next_item(log, repeat=False).leave_out_seen  # half of what is taken would be missed
