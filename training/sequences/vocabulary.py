"""A field's keys and their ids: what a model sees of a string.

Id 0 is a missing value, id 1 a key that the vocabulary doesn't know; known keys follow by falling count, then by key, so the same
events always give the same ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from training.sequences.pieces import arrow_of

MISSING, UNKNOWN = 0, 1
NUM_RESERVED = 2
RESERVED_KEYS = ["", ""]
COLUMNS = {"id": pa.int32(), "key": pa.string(), "count": pa.int64()}


@dataclass(frozen=True)
class Vocabulary:
    """Keys of one category field.

    keys        the key of each id; "" for the reserved ids 0 and 1
    counts      int64 [size]: events that carry the key; at id 0 those without a value, at id 1 none
    attributes  further words about each key (an item's `name`, `category`): one string an id, "" where there is none
    """

    keys: list[str]
    counts: np.ndarray
    attributes: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(self.keys), len(self.counts), *(len(words) for words in self.attributes.values())}
        assert lengths == {self.size}, f"keys, counts and attributes differ in length: {lengths}"
        assert self.keys[:NUM_RESERVED] == RESERVED_KEYS, "ids 0 and 1 are reserved"

    @property
    def size(self) -> int:
        """The number of ids, the two reserved ones included."""
        return len(self.keys)

    @cached_property
    def _ids(self) -> dict[str, int]:
        ids = {key: number for number, key in enumerate(self.keys) if number >= NUM_RESERVED}
        return {**ids, "": MISSING}

    def encode(self, keys: Sequence[str | None]) -> np.ndarray:
        """int32 [len(keys)]: the id of each key, 0 for None and "", 1 for a key that isn't known."""
        ids = self._ids
        return np.fromiter((ids.get(key or "", UNKNOWN) for key in keys), np.int32, len(keys))

    def head(self, size: int) -> "Vocabulary":
        """The first `size` ids."""
        return Vocabulary(self.keys[:size], self.counts[:size], {name: words[:size] for name, words in self.attributes.items()})

    def write(self, path: Path) -> None:
        """Write the table `id, key, count` and the attributes as Parquet."""
        ids = arrow_of(np.arange(self.size, dtype=np.int32))
        words = {name: _texts(values) for name, values in self.attributes.items()}
        table = {"id": ids, "key": _texts(self.keys), "count": arrow_of(self.counts.astype(np.int64)), **words}
        pq.write_table(pa.table(table), path)

    @classmethod
    def read(cls, path: Path) -> "Vocabulary":
        """Read what `write` wrote. Raises ValueError where the table is another one."""
        table = pq.read_table(path)
        types = {name: table.schema.field(name).type for name in table.column_names}
        if any(types.get(name) != dtype for name, dtype in COLUMNS.items()):
            raise ValueError(f"expected the columns {', '.join(COLUMNS)}, found {', '.join(types)}")
        keys = table["key"].to_pylist()
        if keys[:NUM_RESERVED] != RESERVED_KEYS or not np.array_equal(table["id"].to_numpy(), np.arange(len(keys))):
            raise ValueError("expected ids from 0 on, 0 and 1 reserved")
        attributes = {name: table[name].to_pylist() for name in table.column_names if name not in COLUMNS}
        return cls(keys, table["count"].to_numpy(), attributes)


def _texts(values: Sequence[str]) -> pa.Array:
    return pl.Series(values, dtype=pl.String).to_arrow().cast(pa.string())


def by_falling_count(keys: pl.Series, counts: np.ndarray) -> tuple[pl.DataFrame, np.ndarray]:
    """`key` and `count` in the order of their ids, by falling count, then key; and the id of each key, int32 [keys].

    A key that no event carries has no place there, and the id of a missing value.
    keys     distinct and sorted
    counts   int64 [keys]: the events that carry each
    """
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    ids = np.full(len(counts), MISSING, dtype=np.int32)
    ids[order] = np.arange(NUM_RESERVED, NUM_RESERVED + len(order), dtype=np.int32)
    return pl.DataFrame({"key": keys.gather(order), "count": counts[order]}), ids


def with_reserved(known: pl.DataFrame, *, num_missing: int, attributes: pl.DataFrame | None = None) -> Vocabulary:
    """The vocabulary of `by_falling_count`'s table; `attributes` has the column `key` and one string column an attribute."""
    counts = np.concatenate([[num_missing, 0], known["count"].to_numpy()]).astype(np.int64)
    words: dict[str, list[str]] = {}
    if attributes is not None:
        table = known.select("key").join(attributes, on="key", how="left", maintain_order="left").drop("key").fill_null("")
        words = {name: RESERVED_KEYS + table[name].to_list() for name in table.columns}
    return Vocabulary(RESERVED_KEYS + known["key"].to_list(), counts, words)
