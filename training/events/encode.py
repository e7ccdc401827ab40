"""From sorted rows to what the sequence store holds: keys become ids, by how often they occur."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from training.events.runs import CUSTOMER, Run, each
from training.sequences.pieces import Pieces, pieces_of
from training.sequences.vocabulary import MISSING, Vocabulary, by_falling_count, with_reserved

ITEM = "item"


@dataclass(frozen=True)
class Encoded:
    """The columns, customers and vocabularies of a store, as `write_store` takes them."""

    events: Pieces
    customers: pa.StringArray
    offsets: np.ndarray
    vocabularies: dict[str, Vocabulary]


def encode(run: Run, *, attributes: Sequence[pl.DataFrame]) -> Encoded:
    """Encode events.

    attributes   tables with the column `key` (an item) and text columns; of an item in several tables the first one counts
    """
    vocabularies, ids = {}, {}
    categories = [name for name in run.columns if name in run.keys]
    for name, counts in zip(categories, each(run.counts, categories), strict=True):
        vocabularies[name], ids[name] = vocabulary_of(name, run.keys[name], counts, attributes)
    columns = each(lambda name: ids[name][run.columns[name]] if name in ids else run.columns[name], run.columns)
    events = pieces_of(dict(zip(run.columns, columns, strict=True)))
    return Encoded(events, run.keys[CUSTOMER].to_arrow().cast(pa.string()), run.offsets, vocabularies)


def vocabulary_of(field: str, keys: pl.Series, counts: np.ndarray, attributes: Sequence[pl.DataFrame]) -> tuple[Vocabulary, np.ndarray]:
    """The vocabulary of a category and the ids of the places among its keys, int32 [keys + 1]: the last is that of -1, a missing value.

    keys     sorted
    counts   int64 [keys + 1]: events without a value, then with each key
    """
    known, ids = by_falling_count(keys, counts[1:])
    words = item_words(known, attributes) if field == ITEM else None
    return with_reserved(known, num_missing=int(counts[0]), attributes=words), np.append(ids, np.int32(MISSING))


def item_words(items: pl.DataFrame, attributes: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The attributes of each item; an item without a name is called by its key."""
    tables = [items.select("key").with_columns(name=pl.lit(None, pl.String)).clear(), *attributes]
    table = pl.concat(tables, how="diagonal").unique("key", keep="first", maintain_order=True)
    words = items.select("key").join(table, on="key", how="left", maintain_order="left")
    named = pl.when(pl.col("name").fill_null("") != "").then("name").otherwise("key")
    return words.with_columns(name=named)
