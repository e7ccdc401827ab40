"""Texts of a Parquet file as its pages number them: each distinct text is looked at once, however many rows have it.

A page of texts holds its distinct ones, and a number a row. Whoever reads it as texts has to find out again which of them are equal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from training.engine import Engine
from training.events.keys import places_of
from training.events.quarantine import NOTHING, TEXTS, TOO_LONG, UNKNOWN, judge_texts, parted, separate_placed
from training.events.runs import ORDER, Placed, each, plain
from training.events.schema import Kind, Log
from training.events.sources import SourceFile, describe_parquet, parquet_of


@dataclass(frozen=True)
class Numbered:
    """words     the distinct texts of a column, as the file has them
    numbers   int32 [n]: which of them each row has, -1 where it has none
    """

    words: pl.Series
    numbers: np.ndarray


def are_numbered(files: Sequence[SourceFile], log: Log, engine: Engine) -> bool:
    """Whether the files' texts can be taken as their pages number them, and nothing else has to look at them row by row.

    Its plans are such as cuDF takes, but Arrow reads into the CPU's memory: on a GPU cuDF reads the texts.
    """
    return engine.name == "cpu" and all(_is_numbered(file, log) for file in files)


def _is_numbered(file: SourceFile, log: Log) -> bool:
    path, columns = parquet_of(file), file.source.columns.values()
    if path is None or file.source.lookups or any(column.negative_for for column in columns):
        return False
    schema = describe_parquet(path).schema.to_arrow_schema()
    return all(_holds_texts(schema.field(name).type) for name in _texts(file, log) if name in schema.names)


def place_numbered(log: Log, file: SourceFile, *, engine: Engine, fields: Mapping[str, Kind], number: int) -> tuple[Placed, pl.DataFrame]:
    """The usable rows of a file and `_order` and `reason` of the others, as `Reader.placed` has them. `number` is the file's in the log."""
    numbered, num_rows = _numbered(file, log)
    texts = [name for name, kind in fields.items() if kind in TEXTS]
    placed = dict(zip(texts, each(lambda name: _placed(log, file, numbered, name, engine, num_rows), texts), strict=True))
    places = {name: column for name, (column, _) in placed.items()}
    rows = engine.collect(separate_placed(log, file, pl.DataFrame(places), fields=fields, number=number))
    usable, (rows, broken) = rows["reason"].is_null().to_numpy(), parted(rows)
    columns = dict(zip(rows.columns, each(plain, rows), strict=True))
    columns |= {name: column[usable] if broken.height else column for name, column in places.items()}
    keys = {name: words for name, (_, words) in placed.items()}
    pa.default_memory_pool().release_unused()
    return _without_unused(Placed(keys, {name: columns[name] for name in [*fields, ORDER]})), broken


def join(parts: list[Placed]) -> Placed:
    """The rows of several files one behind the other, their keys united. Of `parts` nothing is left: rows may fill half the memory."""
    if len(parts) == 1:
        return parts.pop()
    names = list(parts[0].columns)
    joined = dict(zip(names, each(lambda name: _joined(name, parts), names), strict=True))
    return Placed({name: joined[name][0] for name in parts[0].keys}, {name: column for name, (_, column) in joined.items()})


def _joined(name: str, parts: Sequence[Placed]) -> tuple[pl.Series, np.ndarray]:
    """The keys of a field, none where it has no texts, and its column."""
    columns = [part.columns.pop(name) for part in parts]
    if name not in parts[0].keys:
        return pl.Series(dtype=pl.String), np.concatenate(columns)
    keys, places = _unite([part.keys[name] for part in parts])
    return keys, np.concatenate([some[column] for some, column in zip(places, columns, strict=True)])


def _unite(keys: Sequence[pl.Series]) -> tuple[pl.Series, list[np.ndarray]]:
    """All keys, sorted, and for each series the places of its own among them; at their end NOTHING, where a missing value's place leads."""
    places, united = places_of(pl.concat(keys))
    each_own = np.split(_narrow(places, len(united)), np.cumsum([len(some) for some in keys[:-1]]))
    return united, [np.append(own, own.dtype.type(NOTHING)) for own in each_own]


def _narrow(places: np.ndarray, num_keys: int) -> np.ndarray:
    """Most fields have few words, and rows are moved often."""
    return places.astype(np.int8 if num_keys <= np.iinfo(np.int8).max else np.int32)


def _texts(file: SourceFile, log: Log) -> list[str]:
    """The columns of a file that hold the texts of fields."""
    columns = file.source.columns.items()
    return list(dict.fromkeys(column.column for name, column in columns if log.kinds[name] in TEXTS and column.column))


def _holds_texts(dtype: pa.DataType) -> bool:
    dtype = dtype.value_type if pa.types.is_dictionary(dtype) else dtype
    return pa.types.is_string(dtype) or pa.types.is_large_string(dtype)


def _numbered(file: SourceFile, log: Log) -> tuple[dict[str, Numbered], int]:
    """The columns that hold texts, and how many rows are meant."""
    path = parquet_of(file)
    assert path
    names = [name for name in _texts(file, log) if name in describe_parquet(path).schema.to_arrow_schema().names]
    with pq.ParquetFile(path, read_dictionary=names) as opened:
        table = _stretch(opened, names, file)
    return dict(zip(names, each(lambda name: _as_one(table[name]), names), strict=True)), table.num_rows


def _stretch(file: pq.ParquetFile, columns: list[str], stretch: SourceFile) -> pa.Table:
    """The rows that are meant, of the groups of rows that hold them."""
    lengths = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
    ends = np.cumsum([0, *lengths])
    end = ends[-1] if stretch.length is None else min(stretch.start + stretch.length, int(ends[-1]))
    groups = [number for number in range(len(lengths)) if ends[number] < end and stretch.start < ends[number + 1]]
    skipped = stretch.start - ends[groups[0]] if groups else 0
    return file.read_row_groups(groups, columns=columns).slice(skipped, end - stretch.start)


def _as_one(column: pa.ChunkedArray) -> Numbered:
    """One numbering for all pages. Raises pyarrow.ArrowInvalid for bytes that are no UTF-8, which Arrow doesn't look at by itself."""
    if not len(column):
        return Numbered(pl.Series(dtype=pl.String), np.zeros(0, dtype=np.int32))
    chunks = column.unify_dictionaries().chunks
    words = chunks[-1].dictionary
    words.validate(full=True)
    numbers = (chunk.indices.cast(pa.int32()) for chunk in chunks)
    rows = [np.from_dlpack(some.fill_null(NOTHING) if some.null_count else some) for some in numbers]
    return Numbered(pl.Series(words.cast(pa.large_string())), np.concatenate(rows))


def _placed(
    log: Log, file: SourceFile, numbered: Mapping[str, Numbered], field: str, engine: Engine, num_rows: int
) -> tuple[np.ndarray, pl.Series]:
    """A field's places among its sorted keys, below zero where a row has no usable text, [n]; and these keys."""
    column = file.source.columns.get(field)
    if column is not None and column.literal:
        return np.zeros(num_rows, dtype=np.int32), pl.Series([column.literal])
    if column is None or column.column not in numbered:
        return np.full(num_rows, NOTHING, dtype=np.int32), pl.Series(dtype=pl.String)
    texts = numbered[column.column]
    judged = engine.collect(judge_texts(texts.words, column, log))
    places, keys = places_of(judged["value"])
    for sign, holds in ((UNKNOWN, "unknown"), (TOO_LONG, "too_long"), (NOTHING, "missing")):
        places[judged[holds].to_numpy()] = sign
    return _narrow(np.append(places, NOTHING), len(keys))[texts.numbers], keys


def _without_unused(rows: Placed) -> Placed:
    """A file may name texts that none of the rows have, or none of the usable ones."""
    used = dict(zip(rows.keys, each(lambda name: _used(rows.columns[name], len(rows.keys[name])), rows.keys), strict=True))
    keys, columns = dict(rows.keys), dict(rows.columns)
    for name in (name for name, some in used.items() if not some.all()):
        keys[name] = rows.keys[name].filter(pl.Series(used[name]))
        # The place of each key among those that are used, and at the end, where NOTHING leads, that itself.
        places = np.append(np.cumsum(used[name]) - 1, NOTHING).astype(columns[name].dtype)
        columns[name] = places[columns[name]]
    return Placed(keys, columns)


def _used(places: np.ndarray, num_keys: int) -> np.ndarray:
    used = np.zeros(num_keys + 1, dtype=bool)
    used[places] = True  # NOTHING leads to the last
    return used[:-1]
