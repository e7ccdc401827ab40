"""What came after each moment: the only place where labels are read from a log, for training and evaluation alike."""

from dataclasses import dataclass

import numpy as np

from training.sequences.history import History, Log, customer_of_event, offsets_of


@dataclass(frozen=True)
class Future:
    """The events of some kinds that follow each of Q moments.

    events: the events that count, of all customers. first: int64 [Q], the index in `events` of the first one after the moment (its end when
    none follows). step_end, window_end: int64 [Q], one past the last event of that first step, and of all that is known to follow.
    """

    events: History
    first: np.ndarray
    step_end: np.ndarray
    window_end: np.ndarray

    @classmethod
    def after(cls, log: Log, *, kinds: np.ndarray, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> "Future":
        """kinds: event ids that count. now, until: µs [Q]. owner: the customer's position in `log` for each moment [Q]."""
        whole = History(log.offsets, log.columns)
        events = whole.where(np.isin(log.columns["event"], kinds))
        times = np.unique(events.columns["timestamp"])
        # (customer, rank of the time) as one number, rising along the events: a search in it is a search within a customer
        place = customer_of_event(events.offsets) * (len(times) + 1) + np.searchsorted(times, events.columns["timestamp"])

        def past(moment: np.ndarray) -> np.ndarray:
            """The index of each customer's first event later than the moment."""
            return np.searchsorted(place, owner * (len(times) + 1) + np.searchsorted(times, moment, side="right"))

        first = past(now)
        window_end = np.maximum(first, past(until))
        padded = np.append(place, -1)
        step_end = np.where(first < window_end, np.searchsorted(place, padded[first], side="right"), first)
        return cls(events, first, step_end, window_end)

    @property
    def found(self) -> np.ndarray:
        """Whether anything that counts is known to follow: bool [Q]."""
        return self.first < self.window_end

    def time_of_first(self) -> np.ndarray:
        """µs of the first event after each moment, where one is found; otherwise the largest int64."""
        timestamp = np.append(self.events.columns["timestamp"], 0)
        return np.where(self.found, timestamp[np.where(self.found, self.first, -1)], np.iinfo(np.int64).max)

    def totals(self, values: np.ndarray) -> np.ndarray:
        """The sum of `values`, one of each of `events`, over all that is known to follow each moment: float64 [Q]."""
        sums = np.append(0.0, np.cumsum(values, dtype=np.float64))
        return np.where(self.found, sums[self.window_end] - sums[self.first], 0.0)

    def items(self, *, whole_window: bool) -> tuple[np.ndarray, np.ndarray]:
        """The distinct items of the next step, or of all that follows: values int64 [N], offsets [Q + 1]; items in rising order."""
        stop = self.window_end if whole_window else self.step_end
        counts = np.where(self.found, stop - self.first, 0)
        question = np.repeat(np.arange(len(counts)), counts)
        index = np.repeat(self.first - offsets_of(counts)[:-1], counts) + np.arange(counts.sum())
        item = self.events.columns["item"][index].astype(np.int64)
        order = np.lexsort((item, question))
        question, item = question[order], item[order]
        distinct = np.ones(len(item), dtype=bool)
        distinct[1:] = (question[1:] != question[:-1]) | (item[1:] != item[:-1])
        return item[distinct], offsets_of(np.bincount(question[distinct], minlength=len(counts)))


def has_begun(known: Log, now: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Whether a customer had been seen by each moment: bool [Q]. Of somebody unknown nothing is asked but what they want first."""
    begun = np.diff(known.offsets) > 0
    first = np.full(len(begun), np.iinfo(np.int64).max)
    first[begun] = known.columns["timestamp"][known.offsets[:-1][begun]]
    return first[owner] <= now
