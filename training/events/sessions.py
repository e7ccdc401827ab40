"""Sessions of a log that records none: events parted by a silence or by days. Over sorted arrays, NumPy's or CuPy's."""

from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

import numpy as np

from kernels.sessions import MINUTE, gap_sessions
from training.events.filters import customer_of_event
from training.events.schema import Sessions, find_zone

SECOND = 1_000_000  # µs
Array = Any  # numpy.ndarray or cupy.ndarray


def number_sessions(timestamp: Array, offsets: Array, sessions: Sessions, *, xp: ModuleType = np) -> Array:
    """The number of each event's session within its customer, from 0: int64 [T].

    timestamp   µs since 1970 UTC, int64 [T], rising within a customer
    offsets     int64 [C + 1]: customer c owns the events offsets[c]:offsets[c + 1]
    """
    if not len(timestamp):
        return xp.zeros(0, dtype=xp.int64)
    customer = customer_of_event(offsets, xp=xp)
    if sessions.by == "day":
        return gap_sessions(customer, _day(timestamp, sessions.timezone, xp), 0)[1]
    return gap_sessions(customer, timestamp, round(sessions.gap_minutes * MINUTE))[1]


def _day(timestamp: Array, timezone: str, xp: ModuleType) -> Array:
    """The number of each moment's day by the clock of a zone, whose days have 23 to 25 hours."""
    zone = find_zone(timezone)
    first, last = (datetime.fromtimestamp(int(moment) // SECOND, zone).date() for moment in (timestamp.min(), timestamp.max()))
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    midnights = [int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * SECOND for day in days]
    return xp.searchsorted(xp.asarray(midnights), timestamp, side="right")
