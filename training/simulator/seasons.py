"""When people shop: the year, the week and the day, and the slices of time in which the log is written."""

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import numpy as np

from training.simulator.settings import DAY, Settings

CHANNELS = ("web", "app", "store")
WEB, APP, STORE = range(len(CHANNELS))
# Monday to Sunday
WEEK = np.array([0.92, 0.9, 0.92, 0.97, 1.1, 1.28, 0.91])
# Relative traffic of each hour, from midnight
HOURS = {
    "web": [3, 2, 1, 1, 1, 2, 4, 7, 9, 10, 10, 10, 11, 10, 9, 9, 9, 10, 12, 15, 17, 16, 12, 7],
    "app": [4, 2, 1, 1, 1, 3, 8, 12, 10, 8, 8, 9, 12, 10, 8, 8, 10, 12, 12, 13, 15, 17, 15, 9],
    "store": [0, 0, 0, 0, 0, 0, 0, 0, 4, 8, 10, 11, 10, 9, 9, 10, 13, 15, 11, 5, 0, 0, 0, 0],
}
NUM_QUANTILES = 1024
LONGEST_SLICE = 14  # days


@dataclass(frozen=True)
class Seasons:
    """traffic   float64 [days]: how busy each day is, 1 on the average day
    clock        int64 [3, NUM_QUANTILES + 1]: the time of day (µs) of each quantile of the visits of a channel
    """

    begin: int
    traffic: np.ndarray
    clock: np.ndarray

    def between(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """float64 [n]: the traffic between two times (µs) in average days; parts of a day count by their length."""
        return np.maximum(self._since_begin(end) - self._since_begin(start), 0)

    def _since_begin(self, time: np.ndarray) -> np.ndarray:
        days = np.clip((time - self.begin) / DAY, 0, len(self.traffic))
        whole = days.astype(np.int64)
        total, traffic = np.append(0.0, np.cumsum(self.traffic)), np.append(self.traffic, 0.0)
        return total[whole] + (days - whole) * traffic[whole]

    def time_of_day(self, channel: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """int64 [n]: µs since midnight of a visit to each channel (index in `CHANNELS`), for uniform numbers below 1."""
        place = uniform * NUM_QUANTILES
        quantile = place.astype(np.int64)
        clock, at = self.clock.ravel(), channel.astype(np.int64) * (NUM_QUANTILES + 1) + quantile
        low = clock[at]
        return low + ((place - quantile) * (clock[at + 1] - low)).astype(np.int64)


def make_seasons(settings: Settings) -> Seasons:
    """The seasons of the log's days."""
    first = date.fromisoformat(settings.start)
    days = [first + timedelta(number) for number in range(settings.days)]
    of_year = np.array([day.timetuple().tm_yday for day in days])
    of_week = np.array([day.weekday() for day in days])
    traffic = _year(of_year) * WEEK[of_week]
    clock = np.stack([_quantiles(np.array(HOURS[name], dtype=float)) for name in CHANNELS])
    return Seasons(settings.begin, traffic / traffic.mean(), clock)


def slices(settings: Settings, *, max_events: int) -> list[tuple[int, int]]:
    """(start, end) of each slice in µs: whole days, cut where a campaign's effect begins or ends, each of about `max_events` or fewer."""
    cuts = {0, settings.days}
    for first in campaign_days(settings):
        cuts |= {first, min(first + settings.benefits.window_days, settings.days)}
    longest = min(max(1, int(max_events * settings.days / settings.num_events)), LONGEST_SLICE)
    starts = [day for low, high in pairwise(sorted(cuts)) for day in range(low, high, longest)]
    return [(settings.begin + low * DAY, settings.begin + high * DAY) for low, high in pairwise([*starts, settings.days])]


def campaign_days(settings: Settings) -> range:
    """The days, counted from the log's first, on which a campaign begins to work; its messages went out the evening before."""
    return range(settings.benefits.every_days, settings.days, settings.benefits.every_days)


def _year(day: np.ndarray) -> np.ndarray:
    """A calm wave, with the weeks before Christmas on top of it."""
    return 1 + 0.12 * np.cos(2 * np.pi * (day - 350) / 365.25) + 0.5 * np.exp(-(((day - 340) / 14.0) ** 2))


def _quantiles(hours: np.ndarray) -> np.ndarray:
    total = np.concatenate([[0.0], np.cumsum(hours / hours.sum())])
    used = np.concatenate([[True], np.diff(total) > 0])
    edges = np.arange(25) * (DAY // 24)
    low = int(np.flatnonzero(hours)[0])
    used[: low + 1] = [False] * low + [True]
    # the last quantile belongs to the same day
    return np.minimum(np.interp(np.linspace(0, 1, NUM_QUANTILES + 1), total[used], edges[used]), DAY - 1).astype(np.int64)
