"""A log's times in int64 microseconds since 1970 UTC."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from training.errors import ConfigError
from training.events.schema import EPOCHS, Column, TimeRange

MICROSECONDS = 1_000_000
# Outside of these years a number is not the time of an event: it was written in another unit.
EARLIEST, LATEST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * MICROSECONDS for year in (1900, 2200))


def read_time(column: Column, types: pl.Schema) -> pl.Expr:
    """The time of each row, null where it is missing or can't be read. Raises ConfigError where the config doesn't say how to read it."""
    check_timezone(column.timezone)
    dtype, value = types[column.column], pl.col(column.column)
    if dtype.is_temporal():
        return _utc(value.cast(pl.Datetime("us", getattr(dtype, "time_zone", None))), column.timezone, getattr(dtype, "time_zone", None))
    if not column.format:
        raise ConfigError(f"timestamp: the column {column.column} is {dtype}, no time type; set its format (strptime's or one of {list(EPOCHS)})")
    text = pl.lit(column.prefix) + value.cast(pl.String)
    readings = [_read(text, format, column.timezone) for format in column.format]
    return pl.coalesce(readings) if len(readings) > 1 else readings[0]


def time_limits(time_range: TimeRange | None) -> tuple[int, int]:
    """The first microsecond of the range and the first after it."""
    if time_range is None:
        return EARLIEST, LATEST
    start, end = (_midnight(day, time_range.timezone) for day in (time_range.start, time_range.until))
    if start >= end:
        raise ConfigError(f"data.time_range: expected start before until, found {time_range.start} and {time_range.until}")
    return start, end


def check_timezone(name: str) -> ZoneInfo:
    """The zone with that name. Raises ConfigError if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f"timezone: expected a name such as UTC or Europe/Berlin, found {name!r}") from error


def _read(text: pl.Expr, format: str, timezone: str) -> pl.Expr:
    if format in EPOCHS:
        number, unit = text.cast(pl.Int64, strict=False), EPOCHS[format]
        # A number so large that it would overflow is not a time in this unit either.
        return pl.when((number >= EARLIEST // unit) & (number < LATEST // unit)).then(number * unit)
    zone = "UTC" if format.endswith("z") else None
    return _utc(text.str.strptime(pl.Datetime("us", zone), format, strict=False, cache=False), timezone, zone)


def _utc(time: pl.Expr, timezone: str, zone: str | None) -> pl.Expr:
    """Microseconds of a time in `zone`, or by the clocks of `timezone`: of an hour that comes twice in autumn the first, none for one that spring leaves out."""
    if zone is None and timezone != "UTC":
        time = time.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    return time.dt.epoch("us")


def _midnight(day: str, timezone: str) -> int:
    try:
        moment = datetime.fromisoformat(day)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"data.time_range: expected a date such as 2024-12-31, found {day!r}") from error
    return int(moment.replace(tzinfo=check_timezone(timezone)).timestamp()) * MICROSECONDS
