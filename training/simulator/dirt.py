"""Rows spoilt on purpose, and the truth about which: a preprocessing that counts right must find exactly these."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from training.simulator.settings import DAY, TEXT_ONLY, Dirt
from training.simulator.sources import Source

MARK = "\ue000"  # stands for bytes that are no text until a file is written
BROKEN_BYTES = b"\xff\xfe"
LONG_TEXT = "long" * 500
ISO = "%Y-%m-%dT%H:%M:%S%.6fZ"
# The reason that a preprocessing gives for each kind of dirt.
REASONS = {
    "missing_timestamp": "missing timestamp",
    "timestamp_out_of_range": "timestamp out of range",
    "missing_customer": "missing customer",
    "missing_item": "missing item",
    "unknown_event": "unknown event",
    "unreadable_price": "unreadable price",
    "negative_price": "negative price",
    "negative_quantity": "negative quantity",
    "over_long_item": "over-long item",
    "exact_repeat": "exact repeat",
    "unreadable_timestamp": "unreadable timestamp",
    "broken_encoding": "broken encoding",
    "truncated_row": "truncated row",
}
FIELD = {
    "missing_timestamp": "timestamp",
    "timestamp_out_of_range": "timestamp",
    "missing_customer": "customer",
    "missing_item": "item",
    "unknown_event": "event",
    "unreadable_price": "price",
    "negative_price": "price",
    "negative_quantity": "quantity",
    "over_long_item": "item",
    "unreadable_timestamp": "timestamp",
    "broken_encoding": "item",
}
NEEDS_A_VALUE = ("negative_price", "negative_quantity")


@dataclass(frozen=True)
class Spoilt:
    """table     the rows, some of them spoilt or repeated
    origin    int64 [n]: the position, in what came in, of each row
    row, kind int64 [k], text [k]: the position and the kind of dirt of each spoilt row
    """

    table: pl.DataFrame
    origin: np.ndarray
    row: np.ndarray
    kind: list[str]


def spoil(table: pl.DataFrame, source: Source, dirt: Dirt, rng: np.random.Generator, *, times_as_text: bool) -> Spoilt:
    """Spoil shares of the rows, each row in at most one way; a repeat stands right after the clean row that it repeats."""
    chosen = _choose(table, source, dirt, rng)
    for kind in (kind for kind in chosen if kind in FIELD and kind not in TEXT_ONLY):
        table = _spoilt(table, source, kind, chosen[kind])
    if times_as_text:
        table = table.with_columns(_as_text(name, table.schema[name]) for name in source.columns["timestamp"])
    for kind in (kind for kind in chosen if kind in TEXT_ONLY):
        table = _spoilt(table, source, kind, chosen[kind])
    times = np.ones(table.height, dtype=np.int64)
    times[chosen.get("exact_repeat", [])] = 2
    origin = np.repeat(np.arange(table.height), times)
    last = np.cumsum(times) - 1  # where each row, or its repeat, ends up
    where = {kind: last[rows] for kind, rows in chosen.items()}
    row = np.concatenate([np.empty(0, dtype=np.int64), *where.values()])
    kinds = [kind for kind, rows in where.items() for _ in rows]
    order = np.argsort(row)
    return Spoilt(table[origin], origin, row[order], [kinds[place] for place in order])


def _choose(table: pl.DataFrame, source: Source, dirt: Dirt, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The rows to spoil, by kind: no row twice, and none in which there is nothing to spoil."""
    free = np.ones(table.height, dtype=bool)
    chosen: dict[str, np.ndarray] = {}
    for kind in REASONS:
        share = getattr(dirt, kind)
        if share == 0 or kind == "truncated_row" or (kind in FIELD and FIELD[kind] not in source.columns):
            continue
        able = free.copy()
        if kind in NEEDS_A_VALUE:
            able &= (table[source.columns[FIELD[kind]][0]].fill_null(0) > 0).to_numpy()
        able = np.flatnonzero(able)
        rows = np.sort(rng.choice(able, min(rng.binomial(table.height, share), len(able)), replace=False))
        free[rows] = False
        chosen[kind] = rows
    return chosen


def _spoilt(table: pl.DataFrame, source: Source, kind: str, rows: np.ndarray) -> pl.DataFrame:
    hit = np.zeros(table.height, dtype=bool)
    hit[rows] = True
    columns = source.columns[FIELD[kind]]
    bad = {name: _bad(pl.col(name), table.schema[name], kind) for name in columns}
    return table.with_columns(pl.when(pl.lit(pl.Series(hit))).then(value).otherwise(name).alias(name) for name, value in bad.items())


def _as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    return column.cast(pl.String) if dtype.is_integer() else column.dt.strftime(ISO)


def _bad(value: pl.Expr, dtype: pl.DataType, kind: str) -> pl.Expr:
    match kind:
        case "missing_timestamp" | "missing_customer" | "missing_item":
            return pl.lit(None, dtype)
        case "timestamp_out_of_range":  # what a clock shows that was never set
            return pl.lit(DAY // 1000 if dtype.is_integer() else DAY).cast(dtype)
        case "unreadable_timestamp":
            return pl.lit("soon")
        case "unknown_event":
            return pl.lit("poked")
        case "unreadable_price":
            return pl.lit(float("inf"), dtype)
        case "negative_price" | "negative_quantity":
            return -value
        case "over_long_item":
            return pl.lit(LONG_TEXT)
        case "broken_encoding":
            return value + MARK
    raise AssertionError(f"no way to make {kind}")
