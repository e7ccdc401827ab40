"""One customer behind several keys: the cookies, devices, cards and accounts that a table of links connects.

Links are followed as far as they lead (connected components): a cookie and a card of one account are the same customer. A device that many
share would weld strangers together in this way, so a group of more keys than `max_component` is not united at all.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from training.engine import Engine
from training.errors import DataError
from training.events.keys import places_of
from training.events.quarantine import text_of
from training.events.runs import CUSTOMER, Placed
from training.events.schema import Column, Identity, Log
from training.events.sources import brief, find_files, open_table, require_columns

KEYS = "identities.ipc"


@dataclass(frozen=True)
class United:
    """table   `key` and `customer`, sorted by key: the linked keys of the log and the customers they mean
    counts  keys (linked ones that the log has), customers (whom they mean), kept_apart (keys whose group is too large)
    """

    table: pl.DataFrame
    counts: dict[str, int]


@dataclass(frozen=True)
class Identities:
    """keys       every text that is linked, key or account, sorted
    known_as   int32 [keys]: the place among `keys` of the customer whom each means; its own place where it is not united
    too_large  bool [keys]: keys that stay apart since their group is larger than allowed
    """

    keys: pl.Series
    known_as: np.ndarray
    too_large: np.ndarray

    def unite(self, rows: Placed) -> tuple[Placed, np.ndarray]:
        """The rows with each customer's one key, and which of `keys` they had: bool [keys]."""
        place = self.places(rows.keys[CUSTOMER])
        seen = np.zeros(len(self.keys), dtype=bool)
        seen[place[place >= 0]] = True
        customer, keys = places_of(self._renamed(rows.keys[CUSTOMER], place))
        columns = {**rows.columns, CUSTOMER: customer[rows.columns[CUSTOMER]]}
        return replace(rows, keys={**rows.keys, CUSTOMER: keys}, columns=columns), seen

    def resolve(self, keys: pl.Series) -> pl.Series:
        """The key of the customer whom each text means: itself where nothing is linked to it."""
        return self._renamed(keys, self.places(keys))

    def places(self, keys: pl.Series) -> np.ndarray:
        """Where some texts stand among `keys`: int32 [n], -1 where they are not linked."""
        numbered = pl.DataFrame({"key": self.keys, "place": np.arange(len(self.keys), dtype=np.int32)})
        return pl.DataFrame({"key": keys}).join(numbered, on="key", how="left", maintain_order="left")["place"].fill_null(-1).to_numpy()

    def united(self, seen: np.ndarray) -> United:
        """What became of the keys that the log has: `seen`, bool [keys]."""
        rows = np.flatnonzero(seen)
        table = pl.DataFrame({"key": self.keys.gather(rows), "customer": self.keys.gather(self.known_as[rows])})
        counts = {"keys": seen, "kept_apart": seen & self.too_large}
        return United(table, {**{name: int(some.sum()) for name, some in counts.items()}, "customers": len(np.unique(self.known_as[seen]))})

    def save(self, folder: Path) -> None:
        """Write what `open_identities` reads."""
        pl.DataFrame({"key": self.keys, "known_as": self.known_as, "too_large": self.too_large}).write_ipc(folder / KEYS)

    def _renamed(self, keys: pl.Series, place: np.ndarray) -> pl.Series:
        known_as = pl.Series(np.append(self.known_as, np.int32(-1))[place]).replace(-1, None)
        table = pl.DataFrame({"own": keys, "other": self.keys.gather(known_as)})
        return table.select(pl.coalesce("other", "own"))["other"]


def find_identities(log: Log, engine: Engine) -> Identities | None:
    """Who is who by the log's links; None where the log has none. Raises DataError where the table can't be read."""
    if log.identity is None:
        return None
    try:
        links = pl.concat([engine.collect(plan) for plan in link_plans(log)])
    except pl.exceptions.PolarsError as error:
        raise DataError(f"data.identity.links of {log.name}: {brief(error)}") from error
    return unite_links(links, max_component=log.identity.max_component)


def open_identities(folder: Path) -> Identities:
    """What `save` wrote."""
    table = pl.read_ipc(folder / KEYS)
    return Identities(table["key"], table["known_as"].to_numpy(), table["too_large"].to_numpy())


def link_plans(log: Log) -> Iterable[pl.LazyFrame]:
    """One plan a file of links: `key` and `account` as text, without the rows that lack one of them."""
    assert log.identity
    for pattern in log.identity.links:
        for _, path in find_files(log, pattern):
            yield _links(log.identity, path)


def unite_links(links: pl.DataFrame, *, max_component: int) -> Identities:
    """The groups of the texts that `key` and `account` connect; a group is known by its least account, whatever the order of the rows."""
    places, keys = places_of(pl.concat([links["key"], links["account"].rename("key")]))
    key, account = np.split(places, 2)
    graph = coo_array((np.ones(len(key), dtype=bool), (key, account)), shape=(len(keys), len(keys)))
    _, group = connected_components(graph, directed=False)
    too_large = (np.bincount(group) > max_component)[group]
    accounts = np.unique(account)
    _, least = np.unique(group[accounts], return_index=True)  # each group has an account
    own = np.arange(len(keys), dtype=np.int32)
    return Identities(keys, np.where(too_large, own, accounts[least][group]).astype(np.int32), too_large)


def _links(identity: Identity, path: Path) -> pl.LazyFrame:
    table = open_table(path)
    require_columns(table, [identity.key, identity.account], path)
    types = table.collect_schema()
    texts = {name: text_of(Column(column=column), types) for name, column in (("key", identity.key), ("account", identity.account))}
    return table.select(**texts).filter(pl.col("key").is_not_null() & pl.col("account").is_not_null())
