"""A run: usable rows sorted by customer and time, their texts as places among sorted keys. What a log is made into before ids are known."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

from training.events.keys import places_of
from training.events.order import order_of, repeats
from training.events.schema import Kind

CUSTOMER, TIMESTAMP, ORDER, OFFSETS = "customer", "timestamp", "_order", "_offsets"
In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Placed:
    """Rows as they lie in the log, their texts as places. keys, columns: as of a `Run`, the columns with `customer` and `_order`."""

    keys: dict[str, pl.Series]
    columns: dict[str, np.ndarray]

    @property
    def num_rows(self) -> int:
        return len(self.columns[ORDER])


@dataclass(frozen=True)
class Run:
    """keys      {customer and each category: its distinct texts, sorted}
    offsets   int64 [customers + 1]: customer c of keys["customer"] owns the rows offsets[c]:offsets[c + 1]; some may own none
    columns   {field: array [n]}: places among the keys (int8 or int32, -1 where missing), int64 microseconds, float32 numbers (NaN where
              missing)
    order     int64 [n]: the position of each row in the log
    """

    keys: dict[str, pl.Series]
    offsets: np.ndarray
    columns: dict[str, np.ndarray]
    order: np.ndarray

    @property
    def num_rows(self) -> int:
        return len(self.order)

    def counts(self, field: str) -> np.ndarray:
        """int64 [keys + 1]: how many rows have no value of a category, then how many have each key."""
        return count_places(self.columns[field], len(self.keys[field]))


def count_places(places: np.ndarray, num_keys: int) -> np.ndarray:
    """int64 [num_keys + 1]: how many are -1, then how many are each place."""
    return np.bincount(places + 1, minlength=num_keys + 1)


def place_texts(rows: pl.DataFrame, kinds: Mapping[str, Kind]) -> Placed:
    """The rows, the fields and `_order`, with places in the place of texts."""
    series = {column.name: column for column in rows}  # taken out one by one: texts are large, and not needed once they have places
    del rows
    names = [*series]
    texts = [name for name in names if name != ORDER and kinds[name] in ("key", "category")]
    placed = dict(zip(texts, each(lambda name: places_of(series.pop(name)), texts), strict=True))
    keys = {name: keys for name, (_, keys) in placed.items()}
    columns = {name: placed[name][0] if name in placed else plain(series.pop(name)) for name in names}
    return Placed(keys, columns)


def sort_rows(rows: Placed) -> Run:
    """The run of rows that rise by `_order`. Of `rows` nothing is left: of each column that is put into order only one is kept."""
    keys, columns = rows.keys, rows.columns
    customer = columns.pop(CUSTOMER)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(customer, minlength=len(keys[CUSTOMER])))])
    rank = order_of(customer, columns[TIMESTAMP])
    del customer
    columns = dict(zip(list(columns), each(lambda name: columns.pop(name)[rank], list(columns)), strict=True))
    return Run(keys, offsets, columns, columns.pop(ORDER))


def drop_repeats(run: Run) -> tuple[Run, np.ndarray]:
    """The run without the rows that equal an earlier one in every field, and where those stood in the log."""
    again = repeated_rows(run)
    if not len(again):
        return run, again
    stays = np.ones(run.num_rows, dtype=bool)
    stays[again] = False
    columns = {name: values[stays] for name, values in run.columns.items()}
    offsets = run.offsets - np.searchsorted(again, run.offsets)
    return replace(run, offsets=offsets, columns=columns, order=run.order[stays]), run.order[again]


def repeated_rows(run: Run) -> np.ndarray:
    """The rows that equal an earlier one in every field, rising: int64 [r]."""
    starts = run.offsets[:-1][run.offsets[:-1] < run.offsets[1:]]
    others = [values for name, values in run.columns.items() if name != TIMESTAMP]
    return repeats(starts, run.columns[TIMESTAMP], others)


def save_run(run: Run, folder: Path) -> None:
    """Write a run into a new folder: a file an array, so that a stretch of it can be read alone."""
    folder.mkdir()
    for name, keys in run.keys.items():
        pl.DataFrame({"key": keys}).write_ipc(folder / f"{name}.keys")
    for name, values in {**run.columns, OFFSETS: run.offsets, ORDER: run.order}.items():
        np.save(folder / f"{name}.npy", values)


def open_run(folder: Path, keys: dict[str, pl.Series] | None = None) -> Run:
    """A saved run; its arrays are mapped, not read. `keys` if they are not its own."""
    arrays = {file.stem: np.load(file, mmap_mode="r") for file in sorted(folder.glob("*.npy"))}
    if keys is None:
        keys = {file.stem: pl.read_ipc(file)["key"] for file in sorted(folder.glob("*.keys"))}
    return Run(keys, arrays.pop(OFFSETS), arrays, arrays.pop(ORDER))


def each(work: Callable[[In], Out], things: Iterable[In]) -> list[Out]:
    """`work` done for each thing, on as many threads as Polars uses: NumPy lets go of Python's lock where it moves much."""
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        return list(pool.map(work, things))


def plain(column: pl.Series) -> np.ndarray:
    """A column that is no text as an array, NaN where a number is missing."""
    return (column.fill_null(float("nan")) if column.dtype.is_float() else column).to_numpy()
