"""The canonical event and the config of a log that is mapped onto it: `conf/data/<log>.yaml`, checked and typed.

docs/adding_a_log.md explains every setting on an example.
"""

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from training.errors import ConfigError

Kind = Literal["key", "time", "category", "number"]
CANONICAL: dict[str, Kind] = {
    "customer": "key",
    "timestamp": "time",
    "event": "category",
    "item": "category",
    "category": "category",
    "brand": "category",
    "price": "number",
    "quantity": "number",
    "channel": "category",
    "session": "category",
    "dwell_seconds": "number",
    "query": "category",
}
RESERVED = (*CANONICAL, "source", "row", "reason", "now", "offsets")
REQUIRED = ("customer", "timestamp", "event", "item")
NEVER_NEGATIVE = ("price", "quantity", "dwell_seconds")
ISO = "iso"
EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
T = TypeVar("T")


@dataclass(frozen=True)
class Column:
    """Where one field of the canonical event comes from.

    column or literal   a column of the file, or the same text for every row
    prefix              put before the text, also before a time is read ("2014-" for a log without years)
    map                 the log's names -> ours; a name that is not in the map is unknown
    patterns            instead of a map: regular expressions -> our names, the first that is found in the text counts
    divide_by           the column that turns an amount into one a unit
    negative_for        the events whose number the log writes below zero; its sign is turned
    format              of a time: iso, epoch_s, epoch_ms, epoch_us or strptime's, several are tried in turn; not for a file's own time type
    timezone            of a time without one
    optional            the file may lack the column
    """

    column: str = ""
    literal: str = ""
    prefix: str = ""
    map: Mapping[str, str] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)
    divide_by: str = ""
    negative_for: tuple[str, ...] = ()
    format: tuple[str, ...] = ()
    timezone: str = "UTC"
    optional: bool = False


@dataclass(frozen=True)
class Lookup:
    """Columns of another table, found by its `key` (one row each), for the rows whose column `by` has that key."""

    files: str
    by: str
    columns: tuple[str, ...]
    key: str = ""


@dataclass(frozen=True)
class Source:
    """Files of one layout. `files` is a pattern below the log's path; empty if the path is the file itself.

    separator   between the cells of a text: one character, a blank for any number of blanks; empty if the file's ending says it
    layout      table, or lines: a customer a line, `customer item item …` in the order of time, read as columns customer, place, item
    """

    columns: Mapping[str, Column]
    files: str = ""
    names: tuple[str, ...] = ()
    separator: str = ""
    layout: Literal["table", "lines"] = "table"
    lookups: Mapping[str, Lookup] = field(default_factory=dict)


@dataclass(frozen=True)
class ItemTable:
    """What is known about items: attributes made of a table's columns, for the item with the key `prefix` + column `key`."""

    files: str
    key: str
    columns: Mapping[str, tuple[str, ...]]
    prefix: str = ""
    names: tuple[str, ...] = ()
    separator: str = ""


@dataclass(frozen=True)
class TimeRange:
    """Dates between which the log's events lie: from the first moment of `start` up to, not including, that of `until`."""

    start: str
    until: str
    timezone: str = "UTC"


@dataclass(frozen=True)
class Sessions:
    """How the events of a log without sessions are parted into some: where a customer was silent for longer than the gap, or by days."""

    by: str = "gap"
    gap_minutes: float = 30
    timezone: str = "UTC"


@dataclass(frozen=True)
class Filter:
    """Which usable events are left out of the store; 0 leaves none out.

    max_customer_events   only the last so many of each customer are kept; this comes first
    min_item_events, min_customer_events   items and customers with fewer are left out, in turn until all that stay have as many
    """

    max_customer_events: int = 0
    min_item_events: int = 0
    min_customer_events: int = 0


@dataclass(frozen=True)
class Identity:
    """Which keys of customers mean the same one: rows of (key, account), from tables below the log's path.

    links          patterns of the tables' files
    max_component  of more keys than this that links connect none are united: something that many share connects them
    """

    links: tuple[str, ...]
    key: str = "key"
    account: str = "account"
    max_component: int = 50


@dataclass(frozen=True)
class Log:
    """One behaviour log: where it lies and what its columns mean.

    The last four settings are read by training; they lie here because they follow from what the log records.
    """

    name: str
    path: str
    sources: Mapping[str, Source]
    next_item_events: tuple[str, ...]
    intent_events: tuple[str, ...]
    intent_horizon_days: float
    split: Mapping[str, Any]
    items: Mapping[str, ItemTable] = field(default_factory=dict)
    fields: Mapping[str, Kind] = field(default_factory=dict)
    time_range: TimeRange | None = None
    keep_exact_repeats: bool = False
    max_text_bytes: int = 1_000
    identity: Identity | None = None
    sessions: Sessions | None = None
    filter: Filter = field(default_factory=Filter)
    install: str = ""
    caveat: str = ""

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of each field that this log may have: the canonical ones, then its own."""
        return {**CANONICAL, **self.fields}


def log_from_config(config: Mapping[str, Any]) -> Log:
    """Check the composed config of a log. Raises ConfigError, naming the setting, what was expected and what came."""
    log = _build(Log, config, "data")
    sources = {name: _source(spec, f"data.sources.{name}", log) for name, spec in _mapping(log.sources, "data.sources").items()}
    items = {name: _item_table(spec, f"data.items.{name}") for name, spec in _mapping(log.items, "data.items").items()}
    _check_fields(log.fields)
    time_range = _build(TimeRange, log.time_range, "data.time_range") if log.time_range else None
    if not sources:
        raise ConfigError("data.sources: expected at least one source, found none")
    if not isinstance(log.max_text_bytes, int) or log.max_text_bytes < 1:
        raise ConfigError(f"data.max_text_bytes: expected a whole number above 0, found {log.max_text_bytes!r}")
    identity, sessions, limits = _identity(log.identity), _sessions(log.sessions), _filter(log.filter)
    return replace(log, sources=sources, items=items, time_range=time_range, identity=identity, sessions=sessions, filter=limits)


def find_zone(name: str) -> ZoneInfo:
    """The zone with that name. Raises ConfigError if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f"timezone: expected a name such as UTC or Europe/Berlin, found {name!r}") from error


def _identity(spec: Any) -> Identity | None:
    if spec is None:
        return None
    identity = _build(Identity, spec, "data.identity")
    if isinstance(identity.max_component, bool) or not isinstance(identity.max_component, int) or identity.max_component < 2:
        raise ConfigError(f"data.identity.max_component: expected a whole number above 1, found {identity.max_component!r}")
    return identity


def _sessions(spec: Any) -> Sessions | None:
    if spec is None:
        return None
    sessions = _build(Sessions, spec, "data.sessions")
    if sessions.by not in ("gap", "day"):
        raise ConfigError(f"data.sessions.by: expected gap or day, found {sessions.by!r}")
    if not isinstance(sessions.gap_minutes, int | float) or not sessions.gap_minutes > 0:
        raise ConfigError(f"data.sessions.gap_minutes: expected a number above 0, found {sessions.gap_minutes!r}")
    find_zone(sessions.timezone)
    return sessions


def _filter(spec: Any) -> Filter:
    if isinstance(spec, Filter):  # the config sets none
        return spec
    limits = _build(Filter, spec, "data.filter")
    for name, limit in vars(limits).items():
        if not isinstance(limit, int) or limit < 0:
            raise ConfigError(f"data.filter.{name}: expected a whole number, 0 or above, found {limit!r}")
    return limits


def _check_fields(declared: Mapping[str, str]) -> None:
    for name, kind in _mapping(declared, "data.fields").items():
        if kind not in ("category", "number"):
            raise ConfigError(f"data.fields.{name}: expected category or number, found {kind!r}")
        if name in RESERVED or name.startswith("_"):
            raise ConfigError(f"data.fields: {name!r} is a name that the store needs for itself; choose another")


def _source(spec: Any, where: str, log: Log) -> Source:
    source = _build(Source, spec, where)
    lookups = {name: _build(Lookup, lookup, f"{where}.lookups.{name}") for name, lookup in _mapping(source.lookups, where).items()}
    columns = {name: _column(column, f"{where}.columns.{name}") for name, column in _mapping(source.columns, f"{where}.columns").items()}
    if source.layout not in ("table", "lines"):
        raise ConfigError(f"{where}.layout: expected table or lines, found {source.layout!r}")
    if unknown := set(columns) - set(log.kinds):
        raise ConfigError(f"{where}.columns: {sorted(unknown)} is no field; declare it under data.fields or use one of {sorted(log.kinds)}")
    if missing := set(REQUIRED) - set(columns):
        raise ConfigError(f"{where}.columns: expected at least {list(REQUIRED)}, missing are {sorted(missing)}")
    return replace(source, columns=columns, lookups=lookups)


def _column(spec: Any, where: str) -> Column:
    column = _build(Column, {"column": spec} if isinstance(spec, str) else spec, where)
    if bool(column.column) == bool(column.literal):
        raise ConfigError(f"{where}: expected the name of a column or {{literal: TEXT}}, found {spec}")
    if column.map and column.patterns:
        raise ConfigError(f"{where}: expected a map or patterns, found both")
    for pattern in _mapping(column.patterns, f"{where}.patterns"):
        _check_pattern(pattern, f"{where}.patterns")
    return column


def _check_pattern(pattern: str, where: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"{where}: expected a regular expression, found {pattern!r}: {error}") from error


def _item_table(spec: Any, where: str) -> ItemTable:
    table = _build(ItemTable, spec, where)
    columns = {name: _texts(parts, f"{where}.columns.{name}") for name, parts in _mapping(table.columns, f"{where}.columns").items()}
    return replace(table, columns=columns)


def _build(cls: type[T], spec: Any, where: str) -> T:
    """A `cls` of a mapping: no other keys than its fields, none missing; a text where a tuple of texts belongs is a tuple of one."""
    spec = _mapping(spec, where)
    known = {entry.name: entry for entry in fields(cls)}  # type: ignore[arg-type]
    required = {name for name, entry in known.items() if entry.default is MISSING and entry.default_factory is MISSING}
    if unknown := set(spec) - set(known):
        raise ConfigError(f"{where}: {sorted(unknown)} is no setting; expected one of {list(known)}")
    if missing := required - {name for name, value in spec.items() if value is not None}:
        raise ConfigError(f"{where}: expected a value for {sorted(missing)}, found {sorted(spec)}")
    values = {name: value for name, value in spec.items() if value is not None}
    texts = {name: _texts(value, f"{where}.{name}") for name, value in values.items() if known[name].type == tuple[str, ...]}
    return cls(**{**values, **texts})


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected `name: value` pairs, found {value!r}")
    return {str(name): entry for name, entry in value.items()}


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, list | tuple) and all(isinstance(text, str) for text in value):
        return tuple(value)
    if isinstance(value, str):
        return (value,)
    raise ConfigError(f"{where}: expected a text or a list of texts, found {value!r}")
