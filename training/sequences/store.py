"""The sequence store: all events of a log, sorted by customer and time, memory-mapped.

    store = SequenceStore.open("stores/complete_journey")
    store.columns["item"][store.offsets[3]:store.offsets[4]]      the item ids of the fourth customer

Written whole or not at all: everything goes to `<path>.partial`, which is renamed at the end. docs/design.md lists the files.
"""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from training import files
from training.errors import StoreError
from training.sequences.pieces import Pieces, arrow_of, write_pieces
from training.sequences.vocabulary import UNKNOWN, Vocabulary

FORMAT, VERSION = "revisit-store", 1
KINDS = {"category": pa.int32(), "time": pa.int64(), "number": pa.float32()}
META, EVENTS, CUSTOMERS, QUARANTINE = "store.json", "events.arrow", "customers.arrow", "quarantine.parquet"
IDENTITIES = "identities.parquet"  # of a log whose customers have several keys; nothing here reads it
ROWS_A_GROUP = 1 << 20  # of the quarantine, whose bytes may not depend on how it comes
META_KEYS = {"format", "version", "created", "data", "counts", "reasons", "span", "sources", "fields", "files"}


@dataclass(frozen=True)
class SequenceStore:
    """A store that is open for reading; its arrays are views of the files and can't be written to.

    meta          store.json
    offsets       int64 [num_customers + 1]: customer c owns the events offsets[c]:offsets[c + 1]
    columns       {field: array [num_events]}: int32 ids, int64 microseconds since 1970 UTC, float32 numbers (NaN where missing)
    vocabularies  {category field: Vocabulary}
    """

    path: Path
    meta: dict[str, Any]
    offsets: np.ndarray
    columns: dict[str, np.ndarray]
    vocabularies: dict[str, Vocabulary]
    _keys: pa.StringArray

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> "SequenceStore":
        """Map the store at `path`; `verify` also reads every file and compares its digest.

        Raises StoreError where the store is missing, damaged or of another version.
        """
        path = Path(path)
        meta = read_meta(path)
        _check_files(path, meta, verify=verify)
        events = _map(path, EVENTS, {name: KINDS[spec["kind"]] for name, spec in meta["fields"].items()}, meta)
        customers = _map(path, CUSTOMERS, {"customer": pa.string(), "offset": pa.int64()}, meta)
        starts = customers["offset"].to_numpy()
        _check_offsets(path, meta, starts, events.num_rows)
        columns = {name: events[name].to_numpy(zero_copy_only=True) for name in meta["fields"]}
        vocabularies = {name: _read_vocabulary(path, spec["vocabulary"], meta) for name, spec in _categories(meta).items()}
        return cls(path, meta, np.append(starts, events.num_rows), columns, vocabularies, customers["customer"])

    @property
    def fields(self) -> dict[str, dict[str, str]]:
        """{name: {kind: category|time|number, dtype, vocabulary?}}."""
        return self.meta["fields"]

    @property
    def num_customers(self) -> int:
        """How many customers have at least one event."""
        return len(self.offsets) - 1

    @property
    def num_events(self) -> int:
        """How many events all customers have together."""
        return int(self.offsets[-1])

    @cached_property
    def customers(self) -> list[str]:
        """The customers' keys in their order, which is that of the keys."""
        return self._keys.to_pylist()

    @property
    def keys(self) -> pl.Series:
        """The same as a column."""
        return pl.Series("key", self._keys)

    @cached_property
    def digest(self) -> str:
        """Tells one content from another: sha256 over the digests of all files."""
        return hashlib.sha256(json.dumps(self.meta["files"], sort_keys=True).encode()).hexdigest()

    def as_known_to(self, digest: str) -> "SequenceStore | None":
        """The store with the ids that were known when its digest was this one; None where it never had it.

        Keys that were added since are unknown ones, as they are to a model that was trained then.
        """
        if digest == self.digest:
            return self
        sizes = next((before["sizes"] for before in self.meta.get("appended", []) if before["store"] == digest), None)
        if sizes is None:
            return None
        vocabularies = {name: vocabulary.head(sizes[name]) for name, vocabulary in self.vocabularies.items()}
        columns = dict(self.columns)
        for name in (name for name in vocabularies if vocabularies[name].size < self.vocabularies[name].size):
            columns[name] = np.where(self.columns[name] < sizes[name], self.columns[name], np.int32(UNKNOWN))
        return replace(self, columns=columns, vocabularies=vocabularies)

    def customer_index(self, key: str) -> int:
        """The position of a customer. Raises StoreError if the store has no such customer."""
        index = bisect_left(self.customers, key)
        if index == self.num_customers or self.customers[index] != key:
            raise StoreError(f"{self.path}: no customer {key!r} among {self.num_customers}; the first is {self.customers[0]!r}")
        return index


def write_store(
    path: str | Path,
    *,
    events: Pieces,
    customers: Sequence[str] | pa.StringArray,
    offsets: np.ndarray,
    vocabularies: Mapping[str, Vocabulary],
    quarantine: pa.Table | Iterable[pa.Table],
    meta: Mapping[str, Any],
    more: Callable[[Path], object] = lambda folder: None,
) -> Path:
    """Write a store and return its path; a store that is already there is replaced. How events and quarantine are cut changes no byte.

    events      one column a field, sorted by customer, then time; its types say the kind of each field (`KINDS`)
    customers   the customers' keys in order
    offsets     int64 [num_customers + 1]
    quarantine  at least one table; all have the same columns
    meta        data, counts {read, kept, quarantined}, reasons, sources: the parts of store.json that the events don't tell
    more        writes further files of the store into its folder
    """
    path = Path(path)
    assert len(offsets) == len(customers) + 1
    assert offsets[-1] == events.num_rows
    check_replaceable(path)
    with files.replacing_folder(path) as partial:
        (partial / "vocabulary").mkdir()
        digest = write_pieces(partial / EVENTS, events)
        _write_arrow(partial / CUSTOMERS, pa.table({"customer": pa.array(customers, pa.string()), "offset": arrow_of(offsets[:-1])}))
        for name, vocabulary in vocabularies.items():
            vocabulary.write(partial / _vocabulary_file(name))
        _write_tables(partial / QUARANTINE, [quarantine] if isinstance(quarantine, pa.Table) else quarantine)
        more(partial)
        counts = {**meta["counts"], "customers": len(customers), "items": vocabularies["item"].size - 2}
        limits = [(int(times.min()), int(times.max())) for times in events.read("timestamp")]
        span = [min(first for first, _ in limits), max(last for _, last in limits)]
        header = {"format": FORMAT, "version": VERSION, "created": datetime.now(UTC).isoformat(timespec="seconds")}
        derived = {"counts": counts, "span": span, "fields": _fields(events.schema), "files": _describe_files(partial, {EVENTS: digest})}
        (partial / META).write_text(json.dumps({**header, **meta, **derived}, indent=1, ensure_ascii=False))
    return path


def check_replaceable(path: Path) -> None:
    """Raise ConfigError if something else than a store lies at `path`: it isn't ours to remove."""
    files.check_replaceable(path, known_by=META, what="a store")


def read_meta(path: str | Path) -> dict[str, Any]:
    """store.json of the store at `path`. Raises StoreError where it is missing, unreadable or of another version."""
    file = Path(path) / META
    if not file.is_file():
        remedy = f"make one with `python -m training.preprocess data=LOG out={path}`"
        raise StoreError(f"{path}: expected a sequence store, found no {META}; {remedy}")
    try:
        meta = json.loads(file.read_text())
    except ValueError as error:
        raise StoreError(f"{file}: expected JSON, but {error}; {_remedy(path)}") from error
    found = (meta.get("format"), meta.get("version")) if isinstance(meta, dict) else None
    if found != (FORMAT, VERSION):
        raise StoreError(f"{file}: expected format {FORMAT!r} version {VERSION}, found {found}; {_remedy(path, meta)}")
    if missing := META_KEYS - set(meta):
        raise StoreError(f"{file}: expected the keys {sorted(META_KEYS)}, missing are {sorted(missing)}; {_remedy(path, meta)}")
    for name, spec in meta["fields"].items():
        if spec.get("kind") not in KINDS or (spec["kind"] == "category") != ("vocabulary" in spec):
            raise StoreError(f"{file}: expected {name} to be of a kind of {list(KINDS)}, found {spec}; {_remedy(path, meta)}")
    return meta


def file_digest(file: Path) -> dict[str, Any]:
    """{bytes, sha256} of a file."""
    return {"bytes": file.stat().st_size, "sha256": files.sha256(file)}


def _check_files(path: Path, meta: dict[str, Any], *, verify: bool) -> None:
    for name, expected in meta["files"].items():
        file = path / name
        if not file.is_file():
            raise StoreError(f"{file}: the file is missing; {_remedy(path, meta)}")
        if (size := file.stat().st_size) != expected["bytes"]:
            raise StoreError(f"{file}: expected {expected['bytes']} bytes, found {size}; {_remedy(path, meta)}")
        if verify and (digest := file_digest(file)["sha256"]) != expected["sha256"]:
            raise StoreError(f"{file}: expected sha256 {expected['sha256'][:12]}…, found {digest[:12]}…; {_remedy(path, meta)}")


def _map(path: Path, name: str, types: Mapping[str, pa.DataType], meta: dict[str, Any]) -> pa.RecordBatch:
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path / name)))
        found = {column.name: column.type for column in reader.schema}
        if found != dict(types) or reader.num_record_batches != 1:
            raise pa.ArrowInvalid(f"expected one batch of {_words(types)}, found {reader.num_record_batches} of {_words(found)}")
        return reader.get_batch(0)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path / name}: {error}; {_remedy(path, meta)}") from error


def _read_vocabulary(path: Path, name: str, meta: dict[str, Any]) -> Vocabulary:
    try:
        return Vocabulary.read(path / name)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StoreError(f"{path / name}: {error}; {_remedy(path, meta)}") from error


def _check_offsets(path: Path, meta: dict[str, Any], starts: np.ndarray, num_events: int) -> None:
    expected, found = (meta["counts"]["kept"], meta["counts"]["customers"]), (num_events, len(starts))
    if found != expected:
        raise StoreError(f"{path}: expected {expected} events and customers, found {found}; {_remedy(path, meta)}")
    if len(starts) == 0 or starts[0] != 0 or starts[-1] >= num_events or (np.diff(starts) <= 0).any():
        raise StoreError(f"{path / CUSTOMERS}: expected rising offsets from 0 to less than {num_events}; {_remedy(path, meta)}")


def _remedy(path: str | Path, meta: Any = None) -> str:
    data = meta.get("data") if isinstance(meta, dict) else None
    name = data.get("name", "LOG") if isinstance(data, dict) else "LOG"
    return f"make it again with `python -m training.preprocess data={name} out={path} force=true`"


def _words(types: Mapping[str, pa.DataType]) -> str:
    return ", ".join(f"{name} {dtype}" for name, dtype in types.items())


def _categories(meta: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {name: spec for name, spec in meta["fields"].items() if spec["kind"] == "category"}


def _vocabulary_file(name: str) -> str:
    return f"vocabulary/{name}.parquet"


def _fields(schema: pa.Schema) -> dict[str, dict[str, str]]:
    kinds = {dtype: kind for kind, dtype in KINDS.items()}
    fields = {}
    for column in schema:
        fields[column.name] = {"kind": kinds[column.type], "dtype": np.dtype(column.type.to_pandas_dtype()).name}
        if kinds[column.type] == "category":
            fields[column.name]["vocabulary"] = _vocabulary_file(column.name)
    return fields


def _describe_files(folder: Path, digests: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """{bytes, sha256} of each file; those whose digest is known are not read."""
    files = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
    known = {name: {"bytes": files[name].stat().st_size, "sha256": digest} for name, digest in digests.items()}
    return {name: known[name] if name in known else file_digest(file) for name, file in files.items()}


def _write_arrow(file: Path, table: pa.Table) -> None:
    """One batch without compression, so that a reader can map its columns as they lie."""
    (batch,) = table.combine_chunks().to_batches()
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _write_tables(file: Path, tables: Iterable[pa.Table]) -> None:
    """One table of all, in groups of a fixed number of rows."""
    tables = iter(tables)
    rest = next(tables)
    with pq.ParquetWriter(file, rest.schema) as writer:
        for table in tables:
            rest = pa.concat_tables([rest, table])
            while rest.num_rows > ROWS_A_GROUP:
                writer.write_table(rest.slice(0, ROWS_A_GROUP).combine_chunks(), ROWS_A_GROUP)
                rest = rest.slice(ROWS_A_GROUP)
        writer.write_table(rest.combine_chunks(), ROWS_A_GROUP)
