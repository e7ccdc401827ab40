from datetime import UTC, datetime

import numpy as np
import pytest

from training.errors import ConfigError
from training.events.schema import Sessions
from training.events.sessions import number_sessions

MINUTE = 60_000_000


def moments(*texts: str) -> np.ndarray:
    return np.array([int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000 for text in texts])


def test_a_longer_silence_than_the_gap_begins_a_session() -> None:
    timestamp = np.array([0, 30, 61, 61, 500]) * MINUTE
    assert number_sessions(timestamp, np.array([0, 5]), Sessions()).tolist() == [0, 0, 1, 1, 2]
    assert number_sessions(timestamp, np.array([0, 5]), Sessions(gap_minutes=0.5)).tolist() == [0, 1, 2, 2, 3]


@pytest.mark.parametrize("by", ["gap", "day"])
def test_each_customer_counts_from_nothing(by: str) -> None:
    timestamp = moments("2024-03-01", "2024-03-02", "2024-03-04", "2024-01-01", "2024-03-04", "2024-03-05")
    assert number_sessions(timestamp, np.array([0, 0, 3, 4, 4, 6, 6]), Sessions(by=by)).tolist() == [0, 1, 2, 0, 0, 1]


def test_a_day_is_one_of_the_zone_s_clock_also_where_it_has_23_or_25_hours() -> None:
    timestamp = moments(
        "2024-03-30T22:59", "2024-03-30T23:00", "2024-03-31T21:59", "2024-03-31T22:00", "2024-10-27T22:59", "2024-10-27T23:00"
    )
    offsets = np.array([0, 6])
    assert number_sessions(timestamp, offsets, Sessions(by="day", timezone="Europe/Berlin")).tolist() == [0, 1, 1, 2, 3, 4]
    assert number_sessions(timestamp, offsets, Sessions(by="day")).tolist() == [0, 0, 1, 1, 2, 2]


def test_days_before_1970_are_days() -> None:
    timestamp = moments("1969-12-30T23:00", "1969-12-31T00:00", "1970-01-01T00:00")
    assert number_sessions(timestamp, np.array([0, 3]), Sessions(by="day")).tolist() == [0, 1, 2]


def test_an_unknown_zone_is_named() -> None:
    with pytest.raises(ConfigError, match="found 'Mars/Olympus'"):
        number_sessions(np.array([0]), np.array([0, 1]), Sessions(by="day", timezone="Mars/Olympus"))
