"""Who is asked what, when: the moments of training, validation and test, and how far each may look into the future.

A moment `now` splits a customer's log: events at or before it are history, later ones the future. Training may look at the future only up
to `train_until`, which no validation moment precedes; validation looks no further than the test moment.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from training.errors import ConfigError
from training.sequences.future import Future
from training.sequences.history import Log, step_starts
from training.settings import Positive

DAY = 86_400_000_000  # µs


@dataclass(frozen=True)
class Window:
    """One question a customer: asked at `now`, its answer known until `until` (µs, int64 [C]); `asked` [C] tells to whom."""

    now: np.ndarray
    until: np.ndarray
    asked: np.ndarray


@dataclass(frozen=True)
class Split:
    """train_until: µs, int64 [C]: the last instant of each customer that training may see."""

    kind: str
    train_until: np.ndarray
    validation: Window
    test: Window


def time_split(log: Log, *, horizon_days: float, test_cutoff: str | None = None, validation_cutoff: str | None = None) -> Split:
    """The same cutoffs for every customer: history is before the cutoff, the answer in the `horizon_days` after it.

    Left out, the test cutoff lies one horizon before the last whole day of the log and the validation cutoff one horizon before the test's.
    """
    horizon = round(horizon_days * DAY)
    if horizon <= 0:
        raise ConfigError(f"expected horizon_days above 0, received {horizon_days}; set data.split.horizon_days")
    timestamp = log.columns["timestamp"]
    first, last = int(timestamp.min()), int(timestamp.max())
    end = (last // DAY + 1) * DAY
    test = microseconds(test_cutoff, "test_cutoff") if test_cutoff else end - horizon
    validation = microseconds(validation_cutoff, "validation_cutoff") if validation_cutoff else test - horizon
    if not first < validation < test <= last:
        raise ConfigError(
            "expected first event < validation cutoff < test cutoff <= last event, received "
            f"{date_of(first)} < {date_of(validation)} < {date_of(test)} <= {date_of(last)}; "
            "set data.split.horizon_days or the cutoffs to fit the log"
        )
    known = np.diff(log.offsets) > 0
    return Split(
        kind="time",
        train_until=_all(log, validation - 1),
        validation=Window(_all(log, validation - 1), _all(log, min(validation + horizon, test) - 1), known),
        test=Window(_all(log, test - 1), _all(log, min(test + horizon, end) - 1), known),  # beyond the log's end nothing is known
    )


def leave_one_out(log: Log) -> Split:
    """Each customer's last step is the test, the one before it the validation (the protocol of most published figures).

    The question is asked right after the step before, so the target's own time is never known. Customers with fewer than three steps
    only train.
    """
    starts = np.flatnonzero(step_starts(log))
    times = log.columns["timestamp"][starts]
    last_step = np.searchsorted(starts, log.offsets[1:]) - 1
    num_steps = last_step + 1 - np.searchsorted(starts, log.offsets[:-1])
    asked = num_steps >= 3

    def time_of(steps_before_last: int) -> np.ndarray:
        step = np.where(asked, last_step - steps_before_last, np.maximum(last_step, 0))
        return times[step]

    return Split(
        kind="leave_one_out",
        train_until=time_of(2),
        validation=Window(time_of(2), time_of(1), asked),
        test=Window(time_of(1), time_of(0), asked),
    )


def make_split(
    log: Log,
    *,
    kind: Literal["time", "leave_one_out"] = "time",
    horizon_days: Positive,
    test_cutoff: str | None = None,
    validation_cutoff: str | None = None,
) -> Split:
    """The split that a config names. Leave-one-out takes no account of horizon and cutoffs."""
    if kind == "time":
        return time_split(log, horizon_days=horizon_days, test_cutoff=test_cutoff, validation_cutoff=validation_cutoff)
    if kind == "leave_one_out":
        return leave_one_out(log)
    raise ConfigError(f"expected split.kind time or leave_one_out, received {kind!r}")


def at_target_times(log: Log, split: Split, kinds: np.ndarray) -> Split:
    """The same questions of validation and test, asked in the microsecond before their answer: its time is known then, and it alone.

    kinds: ids of the events that are answers. A customer without an answer is asked when they were.
    """
    return replace(split, validation=_until_answered(log, split.validation, kinds), test=_until_answered(log, split.test, kinds))


def _until_answered(log: Log, window: Window, kinds: np.ndarray) -> Window:
    future = Future.after(log, kinds=kinds, now=window.now, owner=np.arange(len(window.now)), until=window.until)
    return replace(window, now=np.where(future.found, future.time_of_first() - 1, window.now))


def _all(log: Log, moment: int) -> np.ndarray:
    return np.full(len(log.offsets) - 1, moment, dtype=np.int64)


def microseconds(date: str, name: str) -> int:
    """µs of a date in ISO 8601, UTC where it names no zone. Raises ConfigError, naming the setting."""
    try:
        moment = datetime.fromisoformat(str(date))
    except ValueError as error:
        raise ConfigError(f"expected {name} as a date like 2017-12-04, received {date!r}") from error
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) * 1_000_000


def date_of(moment: int) -> str:
    """The day (UTC) of a moment in µs."""
    return datetime.fromtimestamp(moment / 1e6, UTC).date().isoformat()
