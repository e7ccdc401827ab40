"""New files into a store that is there: a day more of its log.

Only the new rows are read, cleaned and given ids, and only customers whom they name are sorted again, with what the store holds of
them. All other rows are copied as they lie. Ids that are there stay; keys that are new follow behind them, by falling count, then key.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from training.engine import Engine
from training.errors import ConfigError, DataError
from training.events.clean import Cleaned, Say, count_reasons
from training.events.encode import ITEM, Encoded, item_words
from training.events.identity import Identities, find_identities
from training.events.order import order_of
from training.events.quarantine import fields_of
from training.events.reading import Reader, nothing_usable, repeated
from training.events.refine import SESSION, keep_rows, with_sessions
from training.events.runs import CUSTOMER, TIMESTAMP, Run, repeated_rows, sort_rows
from training.events.schema import Filter, Kind, Log
from training.events.sources import SourceFile
from training.sequences.history import take
from training.sequences.pieces import Pieces
from training.sequences.store import IDENTITIES, QUARANTINE, SequenceStore
from training.sequences.vocabulary import MISSING, NUM_RESERVED, UNKNOWN, Vocabulary, with_reserved

ROWS_A_PIECE = 1 << 20
OLD = -1  # the place in the log of a row that the store has


def append(store: SequenceStore, log: Log, files: list[SourceFile], engine: Engine, *, say: Say) -> Cleaned:
    """The contents of the store with the rows of some files more.

    Raises DataError where no row is usable or the log's links part customers whom the store united, ConfigError for a log whose store
    can only be made whole.
    """
    if log.filter != Filter():
        raise ConfigError("append=PATH: expected a log without data.filter, whose choice hangs on all events; make its store again instead")
    reader = Reader(log, _fields(store, log, files), engine)
    say(f"reading {len(files)} new files of {log.name}")
    placed, broken = reader.placed(files)
    num_new = placed.num_rows
    if not num_new:
        raise nothing_usable(log, reader.quarantined(files, broken))
    united, identities = None, find_identities(log, engine)
    if identities:
        placed, seen = identities.unite(placed)
        seen |= _seen_before(store, identities)
        united = identities.united(seen)
    say(f"sorting {num_new:,} new events")
    new, grown = _with_ids(sort_rows(placed), store)
    customers = Customers.of(store, new, identities)
    touched, again = _touched(store, new, customers, log)
    touched, vocabularies = _with_last_ids(touched, grown, store, reader)
    events, offsets = _copied(store, touched, customers)
    broken = pl.concat([broken, repeated(pl.Series(again))])
    quarantined = _quarantined(store, reader.quarantined(files, broken).to_arrow())
    encoded = Encoded(events, customers.keys.to_arrow().cast(pa.string()), offsets, vocabularies)
    num_read = store.meta["counts"]["read"] + num_new + broken.height - len(again)
    return Cleaned(encoded, quarantined, _added(store.meta["reasons"], count_reasons(broken)), {}, num_read, united)


@dataclass(frozen=True)
class Customers:
    """keys     of all customers, old and new, sorted
    touched  of those among them whose rows are sorted again, sorted
    known    the key that each customer of the store has by now
    """

    keys: pl.Series
    touched: pl.Series
    known: pl.Series

    @classmethod
    def of(cls, store: SequenceStore, new: Run, identities: Identities | None) -> "Customers":
        """Touched are those of the new rows, and those whom new links give another key."""
        known = identities.resolve(store.keys) if identities else store.keys
        touched = pl.concat([new.keys[CUSTOMER].rename("key"), known.filter(known != store.keys).rename("key")]).unique().sort()
        return cls(pl.concat([known.rename("key"), touched]).unique().sort(), touched, known)

    @property
    def is_touched(self) -> np.ndarray:
        """Of the store's customers: bool [customers of the store]."""
        return self.known.is_in(self.touched.implode()).to_numpy()


def _fields(store: SequenceStore, log: Log, files: list[SourceFile]) -> dict[str, Kind]:
    """The fields that the store was made of."""
    made = {name for name in store.fields if not (log.sessions and name == SESSION)}
    if more := [name for name in fields_of(log, files) if name not in made and name != CUSTOMER]:
        raise DataError(
            f"append=PATH: expected only fields that {store.path} has, found {', '.join(more)}, too; make the store again instead"
        )
    return {name: kind for name, kind in log.kinds.items() if name in made or name == CUSTOMER}


def _seen_before(store: SequenceStore, identities: Identities) -> np.ndarray:
    """Which linked keys the rows of the store had: bool [keys]."""
    table = pl.read_parquet(store.path / IDENTITIES)
    if not (identities.resolve(table["key"]) == identities.resolve(table["customer"])).all():
        raise DataError(f"append=PATH: expected links that keep together what {store.path} united, but some are now apart; make it again")
    unlinked = store.keys.filter(~store.keys.is_in(table["customer"].implode()))
    places = identities.places(pl.concat([table["key"], unlinked]))
    seen = np.zeros(len(identities.keys), dtype=bool)
    seen[places[places >= 0]] = True
    return seen


def _with_ids(run: Run, store: SequenceStore) -> tuple[Run, dict[str, pl.Series]]:
    """The run with ids in the place of places, and the keys that are new, sorted, whose ids follow in this order for the time being."""
    columns, grown = dict(run.columns), {}
    for name in store.vocabularies:
        ids = store.vocabularies[name].encode(run.keys[name].to_list())
        is_new = ids == UNKNOWN
        ids[is_new] = store.vocabularies[name].size + np.arange(is_new.sum())
        columns[name] = np.append(ids, np.int32(MISSING))[run.columns[name]]
        grown[name] = run.keys[name].filter(pl.Series(is_new))
    return replace(run, columns=columns), grown


def _touched(store: SequenceStore, new: Run, customers: Customers, log: Log) -> tuple[Run, np.ndarray]:
    """All rows of the customers who are touched, those of the store first among equals, and where the repeats stand in the new files."""
    positions, keys = np.flatnonzero(customers.is_touched), customers.touched
    old = take(store, positions)
    owners = [
        np.repeat(keys.search_sorted(some).to_numpy(), counts)
        for some, counts in ((customers.known.gather(positions), old.num_events), (new.keys[CUSTOMER], np.diff(new.offsets)))
    ]
    customer = np.concatenate(owners).astype(np.int64)
    columns = {name: np.concatenate([old.columns[name], values]) for name, values in new.columns.items()}
    order = np.concatenate([np.full(len(owners[0]), OLD, dtype=np.int64), new.order])
    rank = order_of(customer, columns[TIMESTAMP])
    offsets = np.concatenate([[0], np.cumsum(np.bincount(customer, minlength=len(keys)))])
    run, again = _without_repeats(
        Run({CUSTOMER: keys}, offsets, {name: values[rank] for name, values in columns.items()}, order[rank]), log
    )
    return (with_sessions(run, log.sessions) if log.sessions else run), again


def _without_repeats(run: Run, log: Log) -> tuple[Run, np.ndarray]:
    """What the store kept stays, also where two of its customers are one by now."""
    rows = np.zeros(0, dtype=np.int64) if log.keep_exact_repeats else repeated_rows(run)
    rows = rows[run.order[rows] != OLD]
    stays = np.ones(run.num_rows, dtype=bool)
    stays[rows] = False
    return keep_rows(run, stays), run.order[rows]


def _with_last_ids(run: Run, grown: dict[str, pl.Series], store: SequenceStore, reader: Reader) -> tuple[Run, dict[str, Vocabulary]]:
    """The run with the ids that last, and the vocabularies with the new rows counted."""
    is_new, columns, vocabularies = run.order != OLD, dict(run.columns), {}
    for name, vocabulary in store.vocabularies.items():
        counts = np.bincount(columns[name][is_new], minlength=vocabulary.size + len(grown[name]))
        by_count = np.argsort(-counts[vocabulary.size :], kind="stable")
        ids = np.arange(len(counts), dtype=np.int32)
        ids[vocabulary.size + by_count] = vocabulary.size + np.arange(len(by_count), dtype=np.int32)
        columns[name] = ids[columns[name]]
        counts[: vocabulary.size] += vocabulary.counts
        keys = pl.concat([pl.Series("key", vocabulary.keys[NUM_RESERVED:], pl.String), grown[name].gather(by_count).rename("key")])
        known = pl.DataFrame(
            {"key": keys, "count": np.concatenate([counts[NUM_RESERVED : vocabulary.size], counts[vocabulary.size :][by_count]])}
        )
        words = item_words(known, [*reader.item_words(), _words(vocabulary)]) if name == ITEM else None
        vocabularies[name] = with_reserved(known, num_missing=int(counts[MISSING]), attributes=words)
    return replace(run, columns=columns), vocabularies


def _words(vocabulary: Vocabulary) -> pl.DataFrame:
    """What was known about items before, in case the log's tables don't name them any more."""
    columns = {"key": vocabulary.keys, **vocabulary.attributes}
    return pl.DataFrame({name: words[NUM_RESERVED:] for name, words in columns.items()}, schema=dict.fromkeys(columns, pl.String))


def _copied(store: SequenceStore, touched: Run, customers: Customers) -> tuple[Pieces, np.ndarray]:
    """The columns of all customers, from the store but for those who are touched, and the offsets."""
    stay, keys = np.flatnonzero(~customers.is_touched), customers.keys
    starts, ends, is_touched = (np.zeros(len(keys), dtype=np.int64) for _ in range(3))
    for some, offsets, positions in (
        (store.keys.gather(stay), store.offsets, stay),
        (touched.keys[CUSTOMER], touched.offsets, np.arange(len(touched.offsets) - 1)),
    ):
        place = keys.search_sorted(some).to_numpy()
        starts[place], ends[place], is_touched[place] = offsets[positions], offsets[positions + 1], offsets is touched.offsets
    stretches = _stretches(starts, ends, is_touched)

    def read(name: str) -> Iterator[np.ndarray]:
        columns = (store.columns[name], touched.columns[name])
        for some in stretches:
            yield np.concatenate([columns[source][start:end] for start, end, source in some])

    schema = pa.schema([(name, pa.from_numpy_dtype(values.dtype)) for name, values in store.columns.items()])
    offsets = np.concatenate([[0], np.cumsum(ends - starts)])
    return Pieces(schema, int(offsets[-1]), read), offsets


def _stretches(starts: np.ndarray, ends: np.ndarray, source: np.ndarray) -> list[list[tuple[int, int, int]]]:
    """Neighbours that lie together in one source as one stretch, and these in pieces of about so many rows, of whole customers."""
    piece = np.cumsum(ends - starts) // ROWS_A_PIECE
    parts = (source[1:] != source[:-1]) | (starts[1:] != ends[:-1]) | (piece[1:] != piece[:-1])
    first = np.flatnonzero(np.append(True, parts))
    last = np.append(first[1:], len(starts)) - 1
    stretches = zip(starts[first].tolist(), ends[last].tolist(), source[first].tolist(), piece[first].tolist(), strict=True)
    return [[stretch[:3] for stretch in some] for _, some in groupby(stretches, key=itemgetter(3))]


def _quarantined(store: SequenceStore, more: pa.Table) -> Iterator[pa.Table]:
    """The rows that can't be used, those of before first."""
    with pq.ParquetFile(store.path / QUARANTINE) as file:
        schema = file.schema_arrow
        yield schema.empty_table()
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)
    yield more.select(schema.names).cast(schema)


def _added(reasons: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """Both together, most first."""
    total = Counter(reasons)
    total.update(more)
    return dict(sorted(total.items(), key=lambda entry: (-entry[1], entry[0])))
