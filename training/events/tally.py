"""Counts of a log by day and channel, taken from its sorted columns in one go, some customers after the other."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from training.events.encode import Encoded
from training.events.order import repeats
from training.events.runs import TIMESTAMP, each
from training.sequences.pieces import Pieces
from training.sequences.vocabulary import MISSING

DAY, HOUR = 86_400_000_000, 3_600_000_000  # µs
CHANNEL, EVENT, ITEM = "channel", "event", "item"
MAX_CHANNELS, OTHERS = 20, "(others)"  # the channels with most events are counted one by one
ROWS_A_BLOCK = 1 << 20
# Nobody acts at 500 moments of one day, nor at 100 that lie in 20 hours of it.
MOMENTS_OF_A_BOT, HOURS_OF_A_BOT, MOMENTS_IN_MANY_HOURS = 500, 20, 100


@dataclass(frozen=True)
class Suspect:
    """A customer who acts as a bot does: its position and events, and the worst day (since 1970) with its moments and hours."""

    position: int
    events: int
    day: int
    moments: int
    hours: int


@dataclass(frozen=True)
class Grid:
    """first_day, num_days   the days of the log in UTC, the first counted since 1970
    channels, slot        what is counted one by one, and which of them each id of the vocabulary is: int64 [ids]
    """

    first_day: int
    num_days: int
    channels: list[str]
    slot: np.ndarray

    @property
    def size(self) -> int:
        return self.num_days * len(self.channels)


@dataclass
class Tally:
    """events    int64 [days, channels]
    missing   {field: the same, of events without it}
    sets      how many customers were seen in which channels, these as bits of a number
    doubles   events that have customer, moment, event and item of another one
    """

    events: np.ndarray
    missing: dict[str, np.ndarray]
    sets: Counter[int]
    doubles: int
    suspects: list[Suspect]

    def add(self, other: "Tally") -> None:
        """Count what other customers did, too."""
        self.events += other.events
        for name, counts in other.missing.items():
            self.missing[name] += counts
        self.sets.update(other.sets)
        self.doubles += other.doubles
        self.suspects += other.suspects


def tally(encoded: Encoded) -> tuple[Grid, Tally]:
    """Count all events. Memory holds one piece of the columns, and the counts."""
    grid = _grid(encoded)
    total = _none(grid, _optional(encoded.events))
    for columns, first in _aligned(encoded.events):
        for part in each(partial(_count, columns, first, encoded.offsets, grid), _blocks(columns, first, encoded.offsets)):
            total.add(part)
    return grid, total


def _optional(pieces: Pieces) -> list[str]:
    return [name for name in pieces.schema.names if name not in (TIMESTAMP, EVENT, ITEM)]


def _none(grid: Grid, fields: list[str]) -> Tally:
    shape = (grid.num_days, len(grid.channels))
    return Tally(np.zeros(shape, dtype=np.int64), {name: np.zeros(shape, dtype=np.int64) for name in fields}, Counter(), 0, [])


def _grid(encoded: Encoded) -> Grid:
    limits = [(int(times.min()), int(times.max())) for times in encoded.events.read(TIMESTAMP)]
    first, last = min(low for low, _ in limits) // DAY, max(high for _, high in limits) // DAY
    if CHANNEL not in encoded.vocabularies:
        return Grid(first, last - first + 1, [""], np.zeros(1, dtype=np.int64))
    vocabulary = encoded.vocabularies[CHANNEL]
    known = np.flatnonzero(vocabulary.counts)
    shown = known[np.argsort(-vocabulary.counts[known], kind="stable")][:MAX_CHANNELS]
    slot = np.full(vocabulary.size, len(shown), dtype=np.int64)
    slot[shown] = np.arange(len(shown))
    names = [vocabulary.keys[place] for place in shown]
    return Grid(first, last - first + 1, names + [OTHERS] * (len(known) > len(shown)), slot)


def _aligned(pieces: Pieces) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """The pieces of all columns side by side, each with the number of its first row."""
    first, names = 0, pieces.schema.names
    for arrays in zip(*(pieces.read(name) for name in names), strict=True):
        yield dict(zip(names, arrays, strict=True)), first
        first += len(arrays[0])


def _blocks(columns: dict[str, np.ndarray], first: int, offsets: np.ndarray) -> list[tuple[int, int]]:
    """The customers of a piece in stretches of about so many rows, but of one customer at least."""
    begin, end = np.searchsorted(offsets, [first, first + len(columns[TIMESTAMP])])
    marks = np.searchsorted(offsets, np.arange(first, offsets[end], ROWS_A_BLOCK))
    edges = np.unique(np.clip(np.append(marks, [begin, end]), begin, end))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _count(columns: dict[str, np.ndarray], first: int, offsets: np.ndarray, grid: Grid, customers: tuple[int, int]) -> Tally:
    """The counts of some consecutive customers. `first` is the row at which the columns begin."""
    begin, end = customers
    bounds = offsets[begin : end + 1] - offsets[begin]
    rows = slice(int(offsets[begin]) - first, int(offsets[end]) - first)
    columns = {name: values[rows] for name, values in columns.items()}
    time = columns[TIMESTAMP]
    slot = grid.slot[columns[CHANNEL]] if len(grid.slot) > 1 else np.zeros(len(time), dtype=np.int64)
    cell = (time // DAY - grid.first_day) * len(grid.channels) + slot
    missing = {name: _missing(values) for name, values in columns.items() if name not in (TIMESTAMP, EVENT, ITEM)}
    shape = (grid.num_days, len(grid.channels))
    return Tally(
        np.bincount(cell, minlength=grid.size).reshape(shape),
        {name: np.bincount(cell[absent], minlength=grid.size).reshape(shape) for name, absent in missing.items()},
        _sets(slot, bounds),
        len(repeats(bounds[:-1], time, [columns[EVENT], columns[ITEM]])),
        _suspects(time, bounds, begin),
    )


def _missing(values: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.isnan(values) if values.dtype.kind == "f" else values == MISSING)


def _sets(slot: np.ndarray, bounds: np.ndarray) -> Counter[int]:
    seen = np.bitwise_or.reduceat(np.int64(1) << slot, bounds[:-1])
    return Counter(dict(zip(*(values.tolist() for values in np.unique(seen, return_counts=True)), strict=True)))


def _suspects(time: np.ndarray, bounds: np.ndarray, begin: int) -> list[Suspect]:
    busy = np.flatnonzero(np.diff(bounds) >= MOMENTS_IN_MANY_HOURS)
    found = [_worst_day(time[bounds[place] : bounds[place + 1]], begin + int(place)) for place in busy.tolist()]
    return [suspect for suspect in found if suspect]


def _worst_day(time: np.ndarray, position: int) -> Suspect | None:
    """The day with most moments of those on which a customer acts as a bot does; None where there is no such day."""
    moments = time[np.flatnonzero(np.diff(time, prepend=time[0] - 1))]
    days, num_moments = np.unique(moments // DAY, return_counts=True)
    days, num_moments = (values[num_moments >= MOMENTS_IN_MANY_HOURS] for values in (days, num_moments))
    hours_of = np.unique(moments // HOUR) // (DAY // HOUR)  # the day of each hour in which something happened
    hours = np.searchsorted(hours_of, days, side="right") - np.searchsorted(hours_of, days)
    is_bot = (num_moments >= MOMENTS_OF_A_BOT) | (hours >= HOURS_OF_A_BOT)
    if not is_bot.any():
        return None
    worst = int(np.argmax(np.where(is_bot, num_moments, 0)))
    return Suspect(position, len(time), int(days[worst]), int(num_moments[worst]), int(hours[worst]))
