"""What else customers do: counted as plain Python counts, of the asked kinds and visits alone, the rest of the rhythm untouched."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from helpers_sequences import CAMPAIGN, PURCHASE, START, VIEW, facts_of, log_of, one_each, questions_of, random_log, rows_of
from torch import Tensor

from training.errors import ConfigError
from training.models.activity import FAR_DAYS, NUMBERS_A_KIND, WINDOW_DAYS
from training.models.features import group
from training.models.rhythm import RHYTHM_SIZE, Rhythm, rhythm_size
from training.sequences.history import History
from training.sequences.split import DAY

LOG = random_log(3, num_customers=30, days=120)
NOW = START + 50 * DAY
HOUR = DAY // 24
WINDOWS = (*WINDOW_DAYS, 1_000_000)  # and ever


def said_of(log: History, now: np.ndarray | int, *counted: str, visited: Sequence[str] = ()) -> Tensor:
    facts = facts_of(log, NOW, counted=counted, visited=visited)
    batch = questions_of(log).ask(*one_each(log, now))
    said = Rhythm(events=["purchase"], facts=facts)(batch, group(batch))
    assert said.shape == (log.num_customers, rhythm_size(facts))
    return said


def by_hand(log: History, customer: int, now: int, kinds: list[int]) -> list[float]:
    """One event at a time: within each window, then hours since the latest, then between two."""
    ages = {kind: [now - time for time, event, _ in rows_of(log, customer) if event == kind and time <= now] for kind in kinds}
    within = [sum(age < days * DAY for age in ages[kind]) for days in WINDOWS for kind in kinds]
    return [*within, *(latest(ages[kind]) for kind in kinds), *(between(ages[kind]) for kind in kinds)]


def latest(ages: list[int]) -> float:
    return min(ages, default=FAR_DAYS * DAY) / HOUR


def between(ages: list[int]) -> float:
    return float(np.diff(sorted(ages)).mean() / HOUR) if len(ages) > 1 else 0.0


@pytest.mark.parametrize("now", [START - DAY, NOW, NOW + HOUR // 3, START + 200 * DAY])
def test_activity_is_counted_by_event(now: int) -> None:
    told = said_of(LOG, now, "campaign", "view")[:, RHYTHM_SIZE:].double().expm1()
    assert told.shape[1] == 2 * NUMBERS_A_KIND
    wanted = [by_hand(LOG, customer, now, [VIEW, CAMPAIGN]) for customer in range(LOG.num_customers)]
    np.testing.assert_allclose(told, wanted, rtol=1e-4, atol=1e-4)


def test_between_two_lie_as_many_days_however_long_ago_they_were() -> None:
    """An event of more than ten years ago counts as one of ten years ago, for the rest is time that nobody else can have."""
    log = log_of([[(NOW - days * DAY, VIEW, 2) for days in (4000, 20, 10)], [(NOW - days * DAY, VIEW, 2) for days in (900, 700)]])
    within, since, between = said_of(log, NOW, "view")[:, RHYTHM_SIZE:].double().expm1().split([len(WINDOWS), 1, 1], 1)
    assert within[:, -1].round().tolist() == [3, 2]
    np.testing.assert_allclose(torch.cat([since, between], 1), [[240, (FAR_DAYS - 10) * 12], [700 * 24, 200 * 24]], rtol=1e-4)


def test_an_event_at_the_edge_of_a_window_is_outside_and_one_at_the_moment_is_past() -> None:
    log = log_of([[(NOW - 7 * DAY, VIEW, 2), (NOW, VIEW, 2), (NOW + 1, VIEW, 2)]])
    within = said_of(log, NOW, "view")[0, RHYTHM_SIZE : RHYTHM_SIZE + len(WINDOW_DAYS)].expm1().round().tolist()
    assert within == [1 if days <= 7 else 2 for days in WINDOW_DAYS]


def visits_by_hand(log: History, customer: int, now: int) -> list[float]:
    """Times at which something was seen or bought, after half an hour of neither; what else happens in between is no matter."""
    times = sorted({time for time, event, _ in rows_of(log, customer) if event in (VIEW, PURCHASE)})
    begins = [time for place, time in enumerate(times) if place == 0 or time - times[place - 1] > HOUR // 2]
    ages = [now - time for time in begins if time <= now]
    return [*(sum(age < days * DAY for age in ages) for days in WINDOWS), latest(ages), between(ages)]


def hurried(log: History) -> History:
    """The same days lived through in an hour: most steps lie within half an hour of another."""
    time = NOW - HOUR + (log.columns["timestamp"] - START) // (120 * 24)
    return History(log.offsets, {**log.columns, "timestamp": time})


@pytest.mark.parametrize("log", [LOG, hurried(LOG)], ids=["days apart", "minutes apart"])
@pytest.mark.parametrize("now", [START - DAY, NOW - HOUR // 2, NOW, START + 200 * DAY])
def test_visits_are_counted_where_they_begin(log: History, now: int) -> None:
    told = said_of(log, now, "view", visited=["purchase", "view"])[:, RHYTHM_SIZE:].double().expm1()
    assert told.shape[1] == 2 * NUMBERS_A_KIND
    visits = told.view(len(told), NUMBERS_A_KIND, 2)[:, :, 1]
    wanted = [visits_by_hand(log, customer, now) for customer in range(log.num_customers)]
    np.testing.assert_allclose(visits, wanted, rtol=1e-4, atol=1e-3)


def test_half_an_hour_of_silence_parts_visits_and_a_message_does_not_break_it() -> None:
    begin, later = NOW - DAY, NOW - DAY + HOUR // 2
    twice = [(begin, VIEW, 2), (begin + 1, CAMPAIGN, 14), (later, PURCHASE, 2), (later + HOUR // 2 + 1, VIEW, 3)]
    log = log_of([twice, [(later, VIEW, 2)]])
    visits = said_of(log, NOW, visited=["purchase", "view"])[:, RHYTHM_SIZE + 1].expm1().round().tolist()
    assert visits == [2, 1]


def test_the_rest_of_the_rhythm_is_what_it_was() -> None:
    without = said_of(LOG, NOW)
    assert without.shape[1] == RHYTHM_SIZE
    torch.testing.assert_close(said_of(LOG, NOW, "view", visited=["view"])[:, :RHYTHM_SIZE], without, rtol=0, atol=0)


def test_an_event_that_the_log_does_not_have() -> None:
    with pytest.raises(ConfigError, match=r"expected event names of this log .* received glance"):
        facts_of(LOG, NOW, counted=["view", "glance"])
