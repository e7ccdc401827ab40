"""From clean events to what the sequence store holds: keys become ids, rows are sorted by customer and time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from training.engine import Engine
from training.events.schema import Kind
from training.sequences.vocabulary import Vocabulary, count_keys, encode_keys, with_reserved


@dataclass(frozen=True)
class Encoded:
    """The columns, customers and vocabularies of a store, as `write_store` takes them."""

    events: pa.Table
    customers: list[str]
    offsets: np.ndarray
    vocabularies: dict[str, Vocabulary]


def encode(kept: pl.DataFrame, kinds: Mapping[str, Kind], *, attributes: Sequence[pl.DataFrame], engine: Engine) -> Encoded:
    """Encode events.

    kept         the fields and `_order`, the position of each row in the log
    attributes   tables with the column `key` (an item) and text columns; of an item in several tables the first one counts
    """
    fields = {name: kinds[name] for name in kept.columns if name not in ("customer", "_order")}
    categories = [name for name, kind in fields.items() if kind == "category"]
    known = {name: engine.collect(count_keys(kept.lazy(), name)) for name in categories}
    events, customers = engine.collect(sorted_events(kept, fields, known)), engine.collect(count_events(kept))
    vocabularies = {name: with_reserved(known[name], num_missing=kept[name].null_count()) for name in categories}
    vocabularies["item"] = with_reserved(known["item"], num_missing=0, attributes=_item_words(known["item"], attributes))
    offsets = np.concatenate([[0], np.cumsum(customers["count"].to_numpy(), dtype=np.int64)])
    return Encoded(events.to_arrow(), customers["customer"].to_list(), offsets, vocabularies)


def sorted_events(kept: pl.DataFrame, fields: Mapping[str, Kind], known: Mapping[str, pl.DataFrame]) -> pl.LazyFrame:
    """The plan of the store's columns: ids for keys, NaN for missing numbers, sorted by customer, time and the log's order."""
    events = kept.lazy()
    for name, keys in known.items():
        events = encode_keys(events, keys.lazy(), name)
    numbers = [pl.col(name).fill_null(float("nan")) for name, kind in fields.items() if kind == "number"]
    return events.with_columns(numbers).sort("customer", "timestamp", "_order").select(*fields)


def count_events(kept: pl.DataFrame) -> pl.LazyFrame:
    """The plan of the customers in the order of their keys, with the number of their events."""
    return kept.lazy().group_by("customer").agg(count=pl.len().cast(pl.Int64)).sort("customer")


def _item_words(items: pl.DataFrame, attributes: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The attributes of each item; an item without a name is called by its key."""
    tables = [items.select("key").with_columns(name=pl.lit(None, pl.String)).clear(), *attributes]
    table = pl.concat(tables, how="diagonal").unique("key", keep="first", maintain_order=True)
    words = items.select("key").join(table, on="key", how="left", maintain_order="left")
    named = pl.when(pl.col("name").fill_null("") != "").then("name").otherwise("key")
    return words.with_columns(name=named)
