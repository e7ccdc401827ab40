"""A log's times in int64 microseconds since 1970 UTC.

Only what Polars and cuDF read alike: strptime knows the parts %Y %m %d %H %M %S here, fractions and offsets are taken apart by hand.
"""

from datetime import UTC, datetime

import polars as pl

from training.errors import ConfigError
from training.events.schema import EPOCHS, ISO, Column, TimeRange, find_zone

MICROSECONDS = 1_000_000
# Outside of these years a number is not the time of an event: it was written in another unit.
EARLIEST, LATEST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * MICROSECONDS for year in (1900, 2200))
ISO_PATTERN = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)?)?$"


def read_time(column: Column, types: pl.Schema) -> pl.Expr:
    """The time of each row, null where it is missing or can't be read. Raises ConfigError where the config doesn't say how to read it."""
    find_zone(column.timezone)
    dtype, value = types[column.column], pl.col(column.column)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return value.cast(pl.Datetime("us", dtype.time_zone)).dt.epoch("us")
    if isinstance(dtype, pl.Datetime | pl.Date):
        return _clock_to_utc(value.cast(pl.Datetime("us")), column.timezone)
    if not column.format:
        known = f"{ISO}, {', '.join(EPOCHS)} or strptime's such as %d.%m.%Y"
        raise ConfigError(f"timestamp: the column {column.column} holds {dtype}, no times; set its format: {known}")
    text = value.cast(pl.String)
    if column.prefix:
        text = pl.lit(column.prefix) + text
    return pl.coalesce([_read(text, format, column.timezone) for format in column.format])


def time_limits(time_range: TimeRange | None) -> tuple[int, int]:
    """The first microsecond of the range and the first after it. Raises ConfigError for what is no date or a range without a day."""
    if time_range is None:
        return EARLIEST, LATEST
    start, end = (_midnight(day, time_range.timezone) for day in (time_range.start, time_range.until))
    if start >= end:
        raise ConfigError(f"data.time_range: expected start before until, found {time_range.start} and {time_range.until}")
    return start, end


def _read(text: pl.Expr, format: str, timezone: str) -> pl.Expr:
    if format in EPOCHS:
        return _read_epoch(text, EPOCHS[format])
    if format == ISO:
        return _read_iso(text, timezone)
    return _clock_to_utc(_strptime(text, format), timezone)


def _read_epoch(text: pl.Expr, unit: int) -> pl.Expr:
    """Floating point is exact here to the microsecond, and can't overflow as an integer would."""
    time = text.cast(pl.Float64, strict=False) * unit
    return pl.when((time >= EARLIEST) & (time < LATEST)).then(time.round().cast(pl.Int64, strict=False))


def _read_iso(text: pl.Expr, timezone: str) -> pl.Expr:
    """2024-12-31, 2024-12-31T23:59:59, with a blank for the T, with a fraction, with Z or an offset such as +02:00."""
    text = pl.when(text.str.contains(ISO_PATTERN)).then(text)
    full = pl.when(text.str.len_chars() == 10).then(text + "T00:00:00").otherwise(text)
    clock = _strptime(full.str.slice(0, 10) + " " + full.str.slice(11, 8), "%Y-%m-%d %H:%M:%S")
    rest = full.str.slice(19)
    fraction = _integer(rest.str.extract(r"^\.(\d{1,6})", 1).str.pad_end(6, "0"))
    minutes = _integer(rest.str.extract(r"[+-](\d\d):?\d\d$", 1)) * 60 + _integer(rest.str.extract(r"[+-]\d\d:?(\d\d)$", 1))
    offset = pl.when(rest.str.contains("-", literal=True)).then(-minutes).otherwise(minutes) * (60 * MICROSECONDS)
    has_zone = rest.str.contains(r"[Z+-]")
    return pl.when(has_zone).then(clock.dt.epoch("us") - offset).otherwise(_clock_to_utc(clock, timezone)) + fraction


def _strptime(text: pl.Expr, format: str) -> pl.Expr:
    return text.str.strptime(pl.Datetime("us"), format, strict=False, cache=False)


def _integer(digits: pl.Expr) -> pl.Expr:
    return digits.cast(pl.Int64, strict=False).fill_null(0)


def _clock_to_utc(clock: pl.Expr, timezone: str) -> pl.Expr:
    """Of an hour that comes twice in autumn the first is meant; an hour that spring leaves out can't be read."""
    if timezone != "UTC":
        clock = clock.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    return clock.dt.epoch("us")


def _midnight(day: str, timezone: str) -> int:
    try:
        moment = datetime.fromisoformat(day)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"data.time_range: expected a date such as 2024-12-31, found {day!r}") from error
    return int(moment.replace(tzinfo=find_zone(timezone)).timestamp()) * MICROSECONDS
