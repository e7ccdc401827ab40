"""From a log's columns to canonical events, and which rows can't be used and why: each row is kept or quarantined, none is lost.

A row has one reason, the first that holds of: too many cells, truncated row, broken encoding; missing or unreadable timestamp, timestamp
out of range, missing customer, event or item, unknown event, over-long text, unreadable or negative number; exact repeat.
"""

from collections.abc import Collection, Iterable, Mapping

import polars as pl

from training.events.schema import NEVER_NEGATIVE, REQUIRED, Column, Kind, Log, TimeRange
from training.events.sources import FLAW, SourceFile, open_source, present
from training.events.times import read_time, time_limits

DTYPES: dict[Kind, pl.DataType] = {"key": pl.String(), "category": pl.String(), "time": pl.Int64(), "number": pl.Float32()}
TEXTS: tuple[Kind, ...] = ("key", "category")
ROWS_A_FILE = 1 << 40
GIVEN, PLACE = "_given_", "_place_"
NOTHING, UNKNOWN, TOO_LONG = -1, -2, -3  # where a text's place would stand: the file has none, or one that can't be used


def separate(log: Log, files: list[SourceFile], *, fields: Mapping[str, Kind] | None = None, first: int = 0) -> pl.LazyFrame:
    """The plan of all rows of all files: the fields, `_order` (the position in the log) and `reason`, null where the row can be used.

    Exact repeats are not among the reasons: they show when rows are sorted.

    fields   those of the whole log, where the files are a part of it
    first    the number of the first of the files in the whole log
    """
    tables = [open_source(file, log) for file in files]
    columns = [present(file.source.columns, table) for file, table in zip(files, tables, strict=True)]
    fields = fields or _fields(log, columns)
    parsed = [_parse(table, some, fields, _first_reason(fields, log)) for table, some in zip(tables, columns, strict=True)]
    return pl.concat([_counted(table, number) for number, table in enumerate(parsed, first)])


def separate_placed(log: Log, file: SourceFile, places: pl.DataFrame, *, fields: Mapping[str, Kind], number: int) -> pl.LazyFrame:
    """The plan of a file's rows, whose texts have been looked at: as `separate`, without the fields that are texts.

    places   int32 columns named like the fields that are texts: a row's place among keys; NOTHING, UNKNOWN or TOO_LONG where it has none
    """
    table = open_source(file, log)
    columns = {name: column for name, column in present(file.source.columns, table).items() if name not in places.columns}
    used = {name for column in columns.values() for name in (column.column, column.divide_by) if name}
    plain = table.select("_row", *(name for name in table.collect_schema().names() if name in used or name == FLAW))
    placed = pl.concat([plain, places.lazy().rename(lambda name: PLACE + name)], how="horizontal_extend")
    parsed = _parse(placed, columns, fields, _first_reason(fields, log, places.columns), places.columns)
    return _counted(parsed.drop(places.columns), number)


def judge_texts(words: pl.Series, column: Column, log: Log) -> pl.LazyFrame:
    """The plan that says what a field makes of some texts of a column: `value`, and whether that is missing, unknown or too_long."""
    table = pl.LazyFrame({column.column: words})
    types = table.collect_schema()
    value, given = _value("category", column, types), _given(column, types)
    judged = table.select(value=value, missing=~given)
    too_long = (pl.col("value").str.len_bytes() > log.max_text_bytes).fill_null(value=False)
    return judged.select("value", "missing", unknown=~pl.col("missing") & pl.col("value").is_null(), too_long=too_long)


def quarantine(
    log: Log, files: list[SourceFile], broken: pl.DataFrame, *, fields: Mapping[str, Kind] | None = None, first: int = 0
) -> list[pl.LazyFrame]:
    """Plans of the broken rows: `source`, `row` (from 1, a header not counted), `reason` and the fields as the file has them.

    One plan a file that has some: where nothing is broken no file is read again, and the one plan is that of no rows.
    broken          `_order` and `reason` of the rows that are unusable
    fields, first   as for `separate`
    """
    tables = [open_source(file, log) for file in files]
    columns = [present(file.source.columns, table) for file, table in zip(files, tables, strict=True)]
    fields, has_some = fields or _fields(log, columns), set((broken["_order"] // ROWS_A_FILE).unique())
    none = pl.LazyFrame(schema={"source": pl.String, "row": pl.Int64, "reason": pl.String, **dict.fromkeys(fields, pl.String)})
    plans = [
        table.join(_rows_of(number, broken), on="_row", how="inner").select(
            pl.lit(file.name).alias("source"), pl.col("_row").alias("row"), "reason", *_texts(some, fields, table.collect_schema())
        )
        for number, (file, table, some) in enumerate(zip(files, tables, columns, strict=True), first)
        if number in has_some
    ]
    return plans or [none]


def parted(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of `separate` that can be used, without `reason`, and `_order` and `reason` of the others."""
    broken = rows.filter(pl.col("reason").is_not_null()).select("_order", "reason")
    return (rows.filter(pl.col("reason").is_null()) if broken.height else rows).drop("reason"), broken


def fields_of(log: Log, files: list[SourceFile]) -> dict[str, Kind]:
    """The fields that at least one file has, in the order of the schema."""
    return _fields(log, [present(file.source.columns, open_source(file, log)) for file in files])


def text_of(column: Column, types: pl.Schema) -> pl.Expr:
    """A column as text, null where the file has nothing there; a whole number kept as floating point is written without its point."""
    if column.literal:
        return pl.lit(column.literal)
    value, dtype = pl.col(column.column), types[column.column]
    if isinstance(dtype, pl.Datetime | pl.Date):
        # cuDF doesn't cast a time to text, but it formats one.
        value = value.cast(pl.Datetime("us", getattr(dtype, "time_zone", None))).dt.to_string("%Y-%m-%d %H:%M:%S")
    if dtype.is_float():
        # A column of ids in which some are missing is often kept as floating point: 17850.0 is the id 17850.
        whole = value.cast(pl.Int64, strict=False)
        value = pl.when(whole == value).then(whole.cast(pl.String)).otherwise(value.cast(pl.String))
    return pl.when(_given(column, types)).then(value.cast(pl.String))


def _fields(log: Log, columns: list[dict[str, Column]]) -> dict[str, Kind]:
    named = {name for some in columns for name in some}
    return {name: kind for name, kind in log.kinds.items() if name in named}


def _rows_of(number: int, broken: pl.DataFrame) -> pl.LazyFrame:
    start = number * ROWS_A_FILE
    rows = broken.lazy().filter((pl.col("_order") > start) & (pl.col("_order") < start + ROWS_A_FILE))
    return rows.select(_row=pl.col("_order") - start, reason="reason")


def _texts(columns: Mapping[str, Column], fields: Mapping[str, Kind], types: pl.Schema) -> list[pl.Expr]:
    absent = pl.lit(None, pl.String)
    return [(text_of(columns[name], types) if name in columns else absent).alias(name) for name in fields]


def _counted(table: pl.LazyFrame, number: int) -> pl.LazyFrame:
    """Rows of a file numbered within the log."""
    return table.with_columns(pl.col("_order") + number * ROWS_A_FILE)


def _parse(
    table: pl.LazyFrame, columns: Mapping[str, Column], fields: Mapping[str, Kind], reason: pl.Expr, placed: Collection[str] = ()
) -> pl.LazyFrame:
    """The fields as an event has them (those that are `placed` as the table has them), `_order` (so far the row in its file), `reason`."""
    types = table.collect_schema()
    values = {name: _value(kind, columns[name], types) if name in columns else pl.lit(None, DTYPES[kind]) for name, kind in fields.items()}
    values |= {name: _turned(values[name], column, values["event"]) for name, column in columns.items() if column.negative_for}
    given = {GIVEN + name: _given(columns[name], types) if name in columns else pl.lit(False) for name in fields}
    values |= {name: pl.col(PLACE + name) for name in placed}
    given |= {GIVEN + name: pl.col(PLACE + name) != NOTHING for name in placed}
    flaw = [FLAW] if FLAW in types else []
    return table.select(*flaw, _order="_row", **values, **given).select(*fields, "_order", reason=pl.coalesce(*flaw, reason))


def _given(column: Column, types: pl.Schema) -> pl.Expr:
    """Whether the file has something there: not an empty text, nor the NaN of a column of numbers."""
    if column.literal:
        return pl.lit(True)
    value, dtype = pl.col(column.column), types[column.column]
    given = value.is_not_null()
    if dtype.is_float():
        return given & value.is_not_nan()
    return given & (value != "") if dtype == pl.String else given


def _value(kind: Kind, column: Column, types: pl.Schema) -> pl.Expr:
    """The field's value, null where there is none or it can't be read."""
    if kind == "time":
        return read_time(column, types)
    if kind == "number":
        return _number(column)
    text = text_of(column, types)
    if column.map:
        text = text.replace_strict(list(column.map), list(column.map.values()), default=None, return_dtype=pl.String)
    if column.patterns:
        text = pl.coalesce(pl.when(text.str.contains(pattern)).then(pl.lit(name)) for pattern, name in column.patterns.items())
    return pl.lit(column.prefix) + text if column.prefix else text


def _number(column: Column) -> pl.Expr:
    """A finite number, null where there is none. Nothing paid for no units is a price of 0; something paid for none has no price."""
    number = pl.col(column.column).cast(pl.Float64, strict=False)
    if column.divide_by:
        units = pl.col(column.divide_by).cast(pl.Float64, strict=False)
        number = pl.when((number == 0) & (units == 0)).then(number).otherwise(number / units)
    single = number.cast(pl.Float32)
    return pl.when(single.is_finite()).then(single)


def _turned(number: pl.Expr, column: Column, event: pl.Expr) -> pl.Expr:
    """The number with its sign turned where the event is one for which the log writes it below zero."""
    return pl.when(event.is_in(column.negative_for)).then(-number).otherwise(number)


def _first_reason(fields: Mapping[str, Kind], log: Log, placed: Collection[str] = ()) -> pl.Expr:
    checks = (check for name, kind in fields.items() for check in _reasons(name, kind, log.max_text_bytes, is_placed=name in placed))
    reasons = [*_time_reasons(log.time_range), *checks]
    chain = pl.when(reasons[0][0]).then(pl.lit(reasons[0][1]))
    for broken, reason in reasons[1:]:
        chain = chain.when(broken).then(pl.lit(reason))  # type: ignore[assignment]
    return chain.otherwise(pl.lit(None, pl.String))


def _time_reasons(time_range: TimeRange | None) -> Iterable[tuple[pl.Expr, str]]:
    first, end = time_limits(time_range)
    value = pl.col("timestamp")
    yield ~pl.col(GIVEN + "timestamp"), "missing timestamp"
    yield value.is_null(), "unreadable timestamp"
    yield (value < first) | (value >= end), "timestamp out of range"


def _reasons(name: str, kind: Kind, max_text_bytes: int, *, is_placed: bool) -> Iterable[tuple[pl.Expr, str]]:
    given, value = pl.col(GIVEN + name), pl.col(name)
    if name in REQUIRED and kind != "time":
        yield ~given, f"missing {name}"
    if kind == "number":
        yield given & value.is_null(), f"unreadable {name}"
    if kind in TEXTS:
        yield value == UNKNOWN if is_placed else given & value.is_null(), f"unknown {name}"
        yield value == TOO_LONG if is_placed else value.str.len_bytes() > max_text_bytes, f"over-long {name}"
    if name in NEVER_NEGATIVE:
        yield value < 0, f"negative {name}"
