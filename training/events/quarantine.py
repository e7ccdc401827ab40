"""From a log's columns to canonical events, and which rows can't be used and why: each row is kept or quarantined, none is lost.

A row has one reason, the first that holds of: missing or unreadable timestamp, timestamp out of range, missing customer, event or item,
unknown event, unreadable or negative number, exact repeat.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from training.events.schema import NEVER_NEGATIVE, REQUIRED, Column, Kind, Log, TimeRange
from training.events.sources import SourceFile, open_source, present
from training.events.times import read_time, time_limits

DTYPES: dict[Kind, pl.DataType] = {"key": pl.String(), "category": pl.String(), "time": pl.Int64(), "number": pl.Float32()}
ROWS_A_FILE = 1 << 40
RAW = "_raw_"


@dataclass(frozen=True)
class Cleaned:
    """Two plans. kept: the fields and `_order`; quarantined: source, row, reason and the fields as the file has them."""

    kept: pl.LazyFrame
    quarantined: pl.LazyFrame
    fields: dict[str, Kind]


def clean(log: Log, files: list[SourceFile]) -> Cleaned:
    """The plans that read all files and separate the rows that can be used."""
    tables = [open_source(file, log) for file in files]
    columns = [present(file.source.columns, table) for file, table in zip(files, tables, strict=True)]
    named = {name for some in columns for name in some}
    fields = {name: kind for name, kind in log.kinds.items() if name in named}
    parsed = [
        _parse(table, number, file.name, some, fields, log.time_range)
        for number, (file, table, some) in enumerate(zip(files, tables, columns, strict=True))
    ]
    rows = pl.concat(parsed)
    if not log.keep_exact_repeats:
        rows = _with_repeats(rows, fields)
    kept = rows.filter(pl.col("reason").is_null()).select(*fields, "_order")
    raw = [pl.col(RAW + name).alias(name) for name in fields]
    quarantined = rows.filter(pl.col("reason").is_not_null()).select("source", "row", "reason", *raw)
    return Cleaned(kept, quarantined, fields)


def _parse(
    table: pl.LazyFrame, number: int, name: str, columns: Mapping[str, Column], fields: Mapping[str, Kind], time_range: TimeRange | None
) -> pl.LazyFrame:
    """source, row, _order, reason, and each field twice: as the file has it (text) and as an event has it."""
    types = table.collect_schema()
    row = pl.col("_row").cast(pl.Int64)
    absent = pl.lit(None, pl.String)
    raw = {RAW + field: _text(columns[field], types) if field in columns else absent for field in fields}
    values = {field: _value(kind, columns[field], types) if field in columns else absent.cast(DTYPES[kind]) for field, kind in fields.items()}
    parsed = table.select(source=pl.lit(name), row=row, _order=row + number * ROWS_A_FILE, **raw, **values)
    return parsed.with_columns(reason=_first_reason(fields, time_range))


def _text(column: Column, types: pl.Schema) -> pl.Expr:
    """What the file has there, null where that is nothing: an empty text, or the NaN of a column of numbers."""
    if column.literal:
        return pl.lit(column.literal)
    value = pl.col(column.column)
    if types[column.column].is_float():
        value = pl.when(value.is_not_nan()).then(value)
    text = value.cast(pl.String)
    return pl.when(text != "").then(text)


def _value(kind: Kind, column: Column, types: pl.Schema) -> pl.Expr:
    """The field's value, null where there is none or it can't be read."""
    if kind == "time":
        return read_time(column, types)
    text = _text(column, types)
    if kind == "number":
        return _number(text, column)
    if column.map:
        text = text.replace_strict(list(column.map), list(column.map.values()), default=None, return_dtype=pl.String)
    return pl.lit(column.prefix) + text if column.prefix else text


def _number(text: pl.Expr, column: Column) -> pl.Expr:
    """A finite number, null where the text is none. Nothing paid for no units is a price of 0; something paid for none has no price."""
    number = text.cast(pl.Float64, strict=False)
    if column.divide_by:
        units = pl.col(column.divide_by).cast(pl.String).cast(pl.Float64, strict=False)
        number = pl.when((number == 0) & (units == 0)).then(number).otherwise(number / units)
    single = number.cast(pl.Float32)
    return pl.when(single.is_finite()).then(single)


def _first_reason(fields: Mapping[str, Kind], time_range: TimeRange | None) -> pl.Expr:
    reasons = [*_time_reasons(time_range), *(check for name, kind in fields.items() for check in _reasons(name, kind))]
    chain = pl.when(reasons[0][0]).then(pl.lit(reasons[0][1]))
    for broken, reason in reasons[1:]:
        chain = chain.when(broken).then(pl.lit(reason))  # type: ignore[assignment]
    return chain.otherwise(pl.lit(None, pl.String))


def _time_reasons(time_range: TimeRange | None) -> Iterable[tuple[pl.Expr, str]]:
    first, end = time_limits(time_range)
    value = pl.col("timestamp")
    yield pl.col(RAW + "timestamp").is_null(), "missing timestamp"
    yield value.is_null(), "unreadable timestamp"
    yield (value < first) | (value >= end), "timestamp out of range"


def _reasons(name: str, kind: Kind) -> Iterable[tuple[pl.Expr, str]]:
    raw, value = pl.col(RAW + name), pl.col(name)
    if name in REQUIRED and kind != "time":
        yield raw.is_null(), f"missing {name}"
    if kind == "number":
        yield raw.is_not_null() & value.is_null(), f"unreadable {name}"
    if kind == "category":
        yield raw.is_not_null() & value.is_null(), f"unknown {name}"
    if name in NEVER_NEGATIVE:
        yield value < 0, f"negative {name}"


def _with_repeats(rows: pl.LazyFrame, fields: Iterable[str]) -> pl.LazyFrame:
    """A usable row that equals an earlier one in every field gets the reason "exact repeat"."""
    usable = pl.col("reason").is_null()
    nth = usable.cast(pl.Int64).cum_sum().over(*fields, "reason", order_by="_order")
    return rows.with_columns(reason=pl.when(usable & (nth > 1)).then(pl.lit("exact repeat")).otherwise("reason"))
