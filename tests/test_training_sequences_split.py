"""Who may see what until when: both splits, and the cutoffs that a config may ask for."""

import numpy as np
import pytest
from helpers_sequences import PURCHASE, START, log_of, logs, random_log, rows_of, searched
from hypothesis import given

from training.errors import ConfigError
from training.sequences.history import History
from training.sequences.split import DAY, Split, at_target_times, leave_one_out, make_split, time_split

LOG = random_log(0)  # 60 days from 2022-01-08 on


def date(day: float) -> str:
    return str(np.datetime64(START + round(day * DAY), "us"))


def in_order(split: Split) -> np.ndarray:
    """For each customer, whether training, validation and test follow each other without an overlap."""
    validation, test = split.validation, split.test
    follow = (split.train_until <= validation.now) & (validation.now < validation.until)
    return follow & (validation.until <= test.now) & (test.now < test.until)


def test_explicit_cutoffs() -> None:
    split = time_split(LOG, horizon_days=7, test_cutoff=date(40), validation_cutoff=date(30))
    assert split.kind == "time"
    assert (split.train_until == START + 30 * DAY - 1).all()
    assert (split.validation.now == START + 30 * DAY - 1).all()
    assert (split.validation.until == START + 37 * DAY - 1).all()
    assert (split.test.now == START + 40 * DAY - 1).all()
    assert (split.test.until == START + 47 * DAY - 1).all()
    assert in_order(split).all()


def test_an_event_at_the_cutoff_belongs_to_the_future() -> None:
    log = log_of([[(START + day * DAY, 3, 2) for day in range(50)]])
    split = time_split(log, horizon_days=7, test_cutoff=date(40))
    assert History.at(log, split.test.now).columns["timestamp"].max() == START + 39 * DAY
    future = History.future(log, split.test.now, split.test.until).columns["timestamp"]
    assert (future.min(), future.max()) == (START + 40 * DAY, START + 46 * DAY)


def test_default_cutoffs_leave_two_horizons_of_whole_days_at_the_end() -> None:
    last_midnight = (int(LOG.columns["timestamp"].max()) // DAY + 1) * DAY
    split = time_split(LOG, horizon_days=7)
    assert (split.test.until + 1 == last_midnight).all()
    assert (split.test.now + 1 == last_midnight - 7 * DAY).all()
    assert (split.validation.now + 1 == last_midnight - 14 * DAY).all()
    assert in_order(split).all()


def test_validation_does_not_look_past_the_test_cutoff() -> None:
    split = time_split(LOG, horizon_days=14, test_cutoff=date(40), validation_cutoff=date(35))
    assert (split.validation.until == split.test.now).all()
    assert in_order(split).all()


def test_everybody_with_an_event_is_asked() -> None:
    split = time_split(LOG, horizon_days=7)
    assert split.validation.asked.tolist() == split.test.asked.tolist() == (LOG.num_events > 0).tolist()


def test_a_cutoff_may_carry_a_zone() -> None:
    split = time_split(LOG, horizon_days=7, test_cutoff="2022-02-10T02:00:00+02:00")
    assert (split.test.now + 1 == np.datetime64("2022-02-10", "us").astype(int)).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"horizon_days": 7, "test_cutoff": "tomorrow"},
        {"horizon_days": 7, "test_cutoff": date(40), "validation_cutoff": "2022-02-31"},
        {"horizon_days": 7, "test_cutoff": date(30), "validation_cutoff": date(30)},
        {"horizon_days": 7, "test_cutoff": date(30), "validation_cutoff": date(40)},
        {"horizon_days": 7, "test_cutoff": "2031-01-01"},
        {"horizon_days": 7, "test_cutoff": "1931-01-01"},
        {"horizon_days": 7, "test_cutoff": date(40), "validation_cutoff": date(-1)},
        {"horizon_days": 400},
        {"horizon_days": 0},
        {"horizon_days": 0, "test_cutoff": date(40), "validation_cutoff": date(30)},
        {"horizon_days": -7, "test_cutoff": date(40), "validation_cutoff": date(30)},
        {"kind": "by_moon", "horizon_days": 7},
    ],
    ids=str,
)
def test_wrong_settings_end_in_one_line(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"expected .* received") as error:
        make_split(LOG, **{"kind": "time", **settings})
    assert "\n" not in str(error.value)


def test_make_split_knows_both_kinds() -> None:
    assert make_split(LOG, kind="time", horizon_days=7).kind == "time"
    assert make_split(LOG, kind="leave_one_out", horizon_days=7).kind == "leave_one_out"


@searched
@given(log=logs(most_events=10))
def test_leave_one_out_by_hand(log: History) -> None:
    if not len(log.columns["timestamp"]):
        return
    split = leave_one_out(log)
    for customer in range(log.num_customers):
        times = sorted({time for time, *_ in rows_of(log, customer)})
        asked = len(times) >= 3
        assert split.validation.asked[customer] == split.test.asked[customer] == asked
        if asked:
            assert split.train_until[customer] == split.validation.now[customer] == times[-3]
            assert split.validation.until[customer] == split.test.now[customer] == times[-2]
            assert split.test.until[customer] == times[-1]
            assert in_order(split)[customer]
        elif times:
            assert split.train_until[customer] == times[-1]


def test_leave_one_out_never_trains_on_what_it_asks() -> None:
    split = leave_one_out(LOG)
    known, held_out = History.at(LOG, split.train_until), History.future(LOG, split.validation.now, split.test.until)
    assert split.test.asked.sum() > 5
    for customer in np.flatnonzero(split.test.asked):
        trained, asked = ({time for time, *_ in rows_of(part, customer)} for part in (known, held_out))
        assert trained
        assert max(trained) < min(asked)
        assert len(asked) == 2


def test_at_target_times_the_answer_is_a_microsecond_away() -> None:
    """Of the kind asked for, others may lie between; the answer itself is not seen, and who has none is asked as before."""
    for split in (time_split(LOG, horizon_days=7), leave_one_out(LOG)):
        asked = at_target_times(LOG, split, np.array([PURCHASE]))
        assert np.array_equal(asked.train_until, split.train_until)
        for window, before in ((asked.validation, split.validation), (asked.test, split.test)):
            assert np.array_equal(window.until, before.until)
            answers = [
                [time for time, kind, _ in rows_of(LOG, customer) if kind == PURCHASE and now < time <= until]
                for customer, (now, until) in enumerate(zip(before.now, before.until, strict=True))
            ]
            expected = [min(times) - 1 if times else now for times, now in zip(answers, before.now.tolist(), strict=True)]
            assert window.now.tolist() == expected
            assert any(answers)
