from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest

from training.errors import ConfigError
from training.events.schema import Column, TimeRange
from training.events.times import EARLIEST, LATEST, read_time, time_limits


def micros(*parts: int, offset_hours: float = 0) -> int:
    """Microseconds of a moment on the clock of a zone so many hours ahead of UTC."""
    moment = datetime(*parts, tzinfo=timezone(timedelta(hours=offset_hours)))  # type: ignore[misc, arg-type]
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def read(values: list[Any], dtype: Any = None, **settings: Any) -> list[int | None]:
    table = pl.LazyFrame({"t": pl.Series(values, dtype=dtype)})
    plan = table.select(t=read_time(Column(column="t", **settings), table.collect_schema()))
    assert plan.collect_schema().dtypes() == [pl.Int64]
    return plan.collect()["t"].to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-02-29", micros(2024, 2, 29)),
        ("2024-02-29T23:59:58", micros(2024, 2, 29, 23, 59, 58)),
        ("2024-02-29 23:59:58.25", micros(2024, 2, 29, 23, 59, 58, 250_000)),
        ("2024-02-29T23:59:58.123456789Z", micros(2024, 2, 29, 23, 59, 58, 123_456)),
        ("2024-02-29T23:59:58+05:30", micros(2024, 2, 29, 23, 59, 58, offset_hours=5.5)),
        ("2024-02-29T23:59:58.5-0800", micros(2024, 2, 29, 23, 59, 58, 500_000, offset_hours=-8)),
        ("1969-12-31T23:59:59Z", -1_000_000),
        ("2023-02-29", None),
        ("2024-02-29T24:00:00", None),
        ("2024-02-29T12:00", None),
        ("29.02.2024", None),
        ("", None),
        (None, None),
    ],
)
def test_iso_times(text: str | None, expected: int | None) -> None:
    assert read([text], pl.String, format=("iso",)) == [expected]


def test_an_offset_in_the_text_outweighs_the_zone_of_the_config() -> None:
    both = read(["2024-06-01T12:00:00Z", "2024-06-01T12:00:00"], format=("iso",), timezone="Europe/Berlin")
    assert both == [micros(2024, 6, 1, 12), micros(2024, 6, 1, 10)]


def test_the_hour_that_comes_twice_is_the_first_and_the_one_left_out_is_unreadable() -> None:
    times = read(["2024-10-27 02:30:00", "2024-03-31 02:30:00"], format=("iso",), timezone="Europe/Berlin")
    assert times == [micros(2024, 10, 27, 0, 30), None]


@pytest.mark.parametrize(("format", "unit"), [("epoch_s", 1_000_000), ("epoch_ms", 1_000), ("epoch_us", 1)])
def test_epochs(format: str, unit: int) -> None:
    seconds = 1_511_544_070
    number = str(seconds * 1_000_000 // unit)
    assert read([number, "9" * 18, "soon", "-" + "9" * 18, "nan"], format=(format,)) == [seconds * 1_000_000, None, None, None, None]


def test_epoch_seconds_may_have_a_fraction_and_a_number_type() -> None:
    assert read([1511544070.25], pl.Float64, format=("epoch_s",)) == [1_511_544_070_250_000]
    assert read([1511544070, None], pl.Int64, format=("epoch_s",)) == [1_511_544_070_000_000, None]


def test_the_first_format_that_fits_counts() -> None:
    assert read(["31.12.2024", "2024/12/31", "12-31"], format=("%d.%m.%Y", "%Y/%m/%d")) == [micros(2024, 12, 31)] * 2 + [None]


def test_a_prefix_gives_days_their_year() -> None:
    assert read(["6-4", "8-15", "2-30"], prefix="2014-", format=("%Y-%m-%d",)) == [micros(2014, 6, 4), micros(2014, 8, 15), None]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_file_s_own_times_need_no_format(unit: Any) -> None:
    assert read([datetime(2024, 6, 1, 12)], pl.Datetime(unit), timezone="Asia/Shanghai") == [micros(2024, 6, 1, 4)]
    assert read([datetime(2024, 6, 1, 12, tzinfo=UTC)], pl.Datetime(unit, "UTC"), timezone="Asia/Shanghai") == [micros(2024, 6, 1, 12)]
    assert read([date(2024, 6, 1)], pl.Date) == [micros(2024, 6, 1)]


def test_text_without_a_format_is_a_wrong_config() -> None:
    with pytest.raises(ConfigError, match="the column t holds String, no times; set its format: iso"):
        read(["2024-06-01"])


def test_an_unknown_zone_is_a_wrong_config() -> None:
    with pytest.raises(ConfigError, match="expected a name such as UTC or Europe/Berlin, found 'Mars/Olympus'"):
        read(["2024-06-01"], format=("iso",), timezone="Mars/Olympus")


def test_limits_are_the_midnights_of_the_zone() -> None:
    assert time_limits(None) == (EARLIEST, LATEST)
    assert time_limits(TimeRange("2017-11-25", "2017-12-04", "Asia/Shanghai")) == (micros(2017, 11, 24, 16), micros(2017, 12, 3, 16))


@pytest.mark.parametrize(("start", "until"), [("soon", "2024-01-01"), ("2024-01-02", "2024-01-01"), ("2024-01-01", "2024-01-01")])
def test_a_range_without_a_day_is_a_wrong_config(start: str, until: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.time_range: expected"):
        time_limits(TimeRange(start, until))
