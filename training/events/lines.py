"""Texts that hold a customer a line, `customer item item …` in the order of time, as rows: the form of most published benchmarks.

    rows_of_lines(Path("Beauty.txt"))     # a Parquet file with the columns customer, place (from 1 on) and item, all texts

No time is known, only the order: `place` may be read as seconds. The file is deleted when the process ends.
"""

from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from training.events.text import free_name, read_text

SCHEMA = pa.schema({name: pa.string() for name in ("customer", "place", "item")})
ROWS = 1 << 18  # at a time


def rows_of_lines(path: Path) -> Path:
    """Write the rows of a text aside and return where. A customer without an item is a row without one, for the quarantine to tell of."""
    plain = read_text(path).path
    return _written(plain, plain.stat().st_mtime_ns)


@cache
def _written(path: Path, changed: int) -> Path:
    copy = free_name(path.with_suffix(".parquet"))
    with path.open(encoding="utf-8-sig") as lines, pq.ParquetWriter(copy, SCHEMA) as writer:
        rows = _rows(lines)
        while some := list(islice(rows, ROWS)):
            writer.write_table(pa.table(dict(zip(SCHEMA.names, zip(*some, strict=True), strict=True)), schema=SCHEMA))
    return copy


def _rows(lines: Iterator[str]) -> Iterator[tuple[str, str, str | None]]:
    for line in lines:
        customer, *items = line.split() or [""]
        if customer:
            yield from ((customer, str(place), item) for place, item in enumerate(items or [None], start=1))
