"""All customers of a log up to a moment, or between two moments: values plus offsets, nothing copied that isn't kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kernels import sessions


class Log(Protocol):
    """Events sorted by customer and time: a sequence store, or a history already cut from one."""

    @property
    def offsets(self) -> np.ndarray: ...

    @property
    def columns(self) -> Mapping[str, np.ndarray]: ...


@dataclass(frozen=True)
class History:
    """offsets int64 [C + 1]; columns {field: array [N]}; a customer keeps their position even when nothing of theirs is left."""

    offsets: np.ndarray
    columns: Mapping[str, np.ndarray]

    @classmethod
    def at(cls, log: Log, now: np.ndarray | int) -> "History":
        """The events with timestamp <= now. now: µs, one for all or one a customer [C]."""
        return cls._where(log, log.columns["timestamp"] <= _per_event(log, now))

    @classmethod
    def future(cls, log: Log, now: np.ndarray | int, until: np.ndarray | int) -> "History":
        """The events with now < timestamp <= until."""
        timestamp = log.columns["timestamp"]
        return cls._where(log, (timestamp > _per_event(log, now)) & (timestamp <= _per_event(log, until)))

    def where(self, keep: np.ndarray) -> "History":
        """Only the events for which `keep` [N] is true."""
        return self._where(self, keep)

    @classmethod
    def _where(cls, log: Log, keep: np.ndarray) -> "History":
        return cls(offsets_of(_count(log, keep)), {field: values[keep] for field, values in log.columns.items()})

    @property
    def num_customers(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_events(self) -> np.ndarray:
        """Events of each customer [C]."""
        return np.diff(self.offsets)


def take(log: Log, customers: np.ndarray) -> History:
    """The whole histories of some customers, in the order given."""
    index, offsets = sessions.pack(log.offsets, customers)
    return History(offsets, {field: values[index] for field, values in log.columns.items()})


def keep_last(history: History, max_events: np.ndarray | int) -> History:
    """The most recent whole steps of each customer that hold at most `max_events` events together; always the latest step.

    max_events: one number for all or one a customer [C].
    """
    starts = step_starts(history)
    counts = history.num_events
    from_end = np.repeat(history.offsets[1:], counts) - np.arange(len(starts))
    start_of_step = np.maximum.accumulate(np.where(starts, np.arange(len(starts)), 0))
    last_step = np.full(len(counts), -1)
    last_step[counts > 0] = start_of_step[history.offsets[1:][counts > 0] - 1]
    return history.where((from_end[start_of_step] <= _per_event(history, max_events)) | (start_of_step == np.repeat(last_step, counts)))


def count_until(log: Log, now: np.ndarray | int) -> np.ndarray:
    """How many events each customer has up to a moment: int64 [C]."""
    return _count(log, log.columns["timestamp"] <= _per_event(log, now))


def customer_of_event(offsets: np.ndarray) -> np.ndarray:
    """The customer's position for each event: int64 [N]."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def offsets_of(counts: np.ndarray) -> np.ndarray:
    """Counts [C] to offsets [C + 1], int64."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def step_starts(log: Log) -> np.ndarray:
    """True for the first event of each step (a customer's events of one timestamp): bool [N]."""
    timestamp = log.columns["timestamp"]
    starts = np.ones(len(timestamp), dtype=bool)
    starts[1:] = timestamp[1:] != timestamp[:-1]
    starts[log.offsets[:-1][np.diff(log.offsets) > 0]] = True
    return starts


def _count(log: Log, keep: np.ndarray) -> np.ndarray:
    return np.bincount(customer_of_event(log.offsets)[keep], minlength=len(log.offsets) - 1)


def _per_event(log: Log, moment: np.ndarray | int) -> np.ndarray | int:
    return moment if np.ndim(moment) == 0 else np.repeat(np.asarray(moment), np.diff(log.offsets))
