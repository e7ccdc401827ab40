"""Raw histories in, the graph's inputs out; ids in, keys out.

    encoder = Encoder(contract)
    inputs = encoder.batch([encoder.history({"item": ["A"], "event": ["view"], "timestamp": [now - 1]}, now)])

Outside the graph stay the order of events, the choice of the most recent steps and the vocabulary look-up; everything else is
computed inside it. Shapes: T events of all requests together, B requests, N events of one request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from serving.contract import TIME, Contract, Field, Output
from serving.errors import ArtifactError, RequestError

MISSING = 0
UNKNOWN = 1
NUM_RESERVED = 2

# What stands for a field that a request leaves out. The time can be left out only with the events.
_ABSENT: dict[str, tuple[float, type]] = {"category": (MISSING, np.int64), "time": (0, np.int64), "number": (np.nan, np.float32)}

# Seconds, milliseconds and nanoseconds of our time fall outside these bounds when they are read as microseconds.
_EARLIEST_LIKELY = 10**13  # April 1970
_LATEST_LIKELY = 10**17  # the year 5138

# Beyond it products of two numbers (price and quantity) leave float32, and the answer would be no number.
_LARGEST = 1e15


@dataclass(frozen=True)
class History:
    """One checked request: the events that the graph will see, by time, and the moment of the question.

    columns: {field: array [N]}, int64 ids for categories, int64 microseconds for the time, float32 for numbers; now: microseconds
    since 1970, UTC.
    """

    columns: Mapping[str, np.ndarray]
    now: int


class Encoder:
    """Knows an artifact's fields and vocabularies."""

    def __init__(self, contract: Contract) -> None:
        self._fields = {field.name: field for field in contract.fields}
        self._max_events = contract.max_events
        keys = {name: _read_keys(contract, name) for name in contract.vocabularies}
        self._ids = {name: _Ids(keys[name]) for name in {field.vocabulary for field in contract.fields if field.vocabulary}}
        self._keys = {name: np.array(keys[name], dtype=object) for name in {output.vocabulary for output in contract.outputs} if name}

    def history(self, events: Mapping[str, Sequence | np.ndarray | None], now: Any) -> History:
        """Check one request and keep what the graph will see of it.

        events: {field: values [N]} in any order; strings or bytes for categories, integer microseconds for the time, numbers or
        None for numbers.
        No events at all are an empty history. Raises RequestError.
        """
        columns = {name: _column(self._known(name), values) for name, values in events.items() if values is not None}
        num_events = _common_length(columns)
        self._check_required(columns, num_events)
        now = _moment(now)
        order = self._visible(columns[TIME], now) if num_events else np.zeros(0, dtype=np.int64)
        return History({name: self._encoded(field, columns.get(name), order) for name, field in self._fields.items()}, now)

    def batch(self, histories: Sequence[History]) -> dict[str, np.ndarray]:
        """The graph's inputs for B >= 1 histories: {field: [T], "offsets": int64 [B+1], "now": int64 [B]}."""
        offsets = np.zeros(len(histories) + 1, dtype=np.int64)
        np.cumsum([len(history.columns[TIME]) for history in histories], out=offsets[1:])
        inputs = {name: np.concatenate([history.columns[name] for history in histories]) for name in self._fields}
        return {**inputs, "offsets": offsets, "now": np.array([history.now for history in histories], dtype=np.int64)}

    def decoded(self, output: Output, answers: np.ndarray) -> np.ndarray:
        """What callers receive of an output: the keys (bytes, UTF-8) of ids, numbers as they are. In the same shape."""
        return self._keys[output.vocabulary][answers] if output.vocabulary else answers

    def _known(self, name: str) -> Field:
        if name not in self._fields:
            raise RequestError(f"expected fields {', '.join(self._fields)}, received {name!r}; leave it out")
        return self._fields[name]

    def _check_required(self, columns: Mapping[str, np.ndarray], num_events: int) -> None:
        missing = [field.name for field in self._fields.values() if field.required and field.name not in columns]
        if num_events and missing:
            raise RequestError(f"expected {', '.join(missing)} for each of the {num_events} events, received nothing; send it")

    def _visible(self, timestamps: np.ndarray, now: int) -> np.ndarray:
        """Positions of the events to keep, by time: nothing after `now`, the most recent whole steps, at least one."""
        _check_microseconds(TIME, int(timestamps.min()))
        _check_microseconds(TIME, int(timestamps.max()))
        order = np.argsort(timestamps, kind="stable")
        ordered = timestamps[order]
        end = int(np.searchsorted(ordered, now, side="right"))
        return order[_first_kept(ordered[:end], self._max_events) : end]

    def _encoded(self, field: Field, column: np.ndarray | None, order: np.ndarray) -> np.ndarray:
        if column is None:
            value, dtype = _ABSENT[field.kind]
            return np.full(len(order), value, dtype=dtype)
        if field.kind == "category":
            return self._ids[field.vocabulary].look_up(column[order], field.name)
        return column[order]


class _Ids(dict[bytes, int]):
    """Key to id. Bytes, as Triton hands them over, are found without a line of Python; strings take the longer way."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        super().__init__(zip(keys[NUM_RESERVED:], range(NUM_RESERVED, len(keys)), strict=True))
        self[b""] = MISSING

    def __missing__(self, key: bytes | str | None) -> int:
        if key is None:
            return MISSING
        if isinstance(key, str):
            return self.get(key.encode(), UNKNOWN)
        if isinstance(key, bytes):
            return UNKNOWN
        raise TypeError(key)

    def look_up(self, keys: np.ndarray, field: str) -> np.ndarray:
        try:
            return np.fromiter(map(self.__getitem__, keys), dtype=np.int64, count=len(keys))
        except TypeError as error:
            raise RequestError(f"expected strings in {field}, received {error}; send keys as text") from error


def _read_keys(contract: Contract, name: str) -> list[bytes]:
    file = contract.path / contract.vocabularies[name]
    try:
        table = pq.read_table(file, columns=["id", "key"])
        ids, keys = table["id"].to_numpy(), table["key"].to_pylist()
    except (OSError, ValueError, KeyError) as error:  # pyarrow's own errors are ValueErrors
        raise ArtifactError(f"expected a vocabulary with id and key in {file}, received {error}; export the run again") from error
    size = contract.vocabulary_sizes[name]
    if not np.array_equal(ids, np.arange(size)):
        raise ArtifactError(f"expected ids 0 to {size - 1} in {file}, received {len(ids)} others; export the run again")
    return [(key or "").encode() for key in keys]


def _column(field: Field, values: Sequence | np.ndarray) -> np.ndarray:
    """The values as a one-dimensional array: objects for a category, int64 for the time, float32 for a number."""
    if field.kind == "category":
        column = np.empty(len(values), dtype=object)
        column[:] = values
        return column
    if field.kind == "time":
        column = np.asarray(values)
        if len(column) and column.dtype.kind not in "iu":
            raise RequestError(f"expected int64 microseconds since 1970 (UTC) in {field.name}, received {values[0]!r}; convert the times")
        return column.astype(np.int64)
    try:
        numbers = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise RequestError(f"expected numbers in {field.name}, received something else ({error}); send null for a missing one") from error
    least = max(field.minimum, -_LARGEST)
    wrong = (numbers < least) | (numbers > _LARGEST)  # a missing number, NaN, is neither
    if wrong.any():
        raise RequestError(
            f"expected {field.name} from {least:g} to {_LARGEST:g}, received {numbers[wrong][0]:g}; send null for a missing one"
        )
    return numbers


def _common_length(columns: Mapping[str, np.ndarray]) -> int:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        received = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise RequestError(f"expected every field to hold the same number of events, received {received}; send one value an event")
    return next(iter(lengths.values()), 0)


def _moment(now: Any) -> int:
    if now is None:
        raise RequestError("expected the moment of the question in 'now', received nothing; send int64 microseconds since 1970 (UTC)")
    if isinstance(now, bool) or not isinstance(now, int | np.integer):
        raise RequestError(f"expected int64 microseconds since 1970 (UTC) in 'now', received {now!r}; convert the time")
    _check_microseconds("now", int(now))
    return int(now)


def _check_microseconds(name: str, value: int) -> None:
    if not _EARLIEST_LIKELY <= value <= _LATEST_LIKELY:
        raise RequestError(
            f"expected int64 microseconds since 1970 (UTC) in {name!r}, received {value}, which would be {_as_date(value)}; "
            "send microseconds, not seconds, milliseconds or nanoseconds"
        )


def _as_date(microseconds: int) -> str:
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:
        return "in no calendar"


def _first_kept(ordered: np.ndarray, max_events: int) -> int:
    """Where the most recent whole steps begin that hold at most `max_events` events together; at least the latest step is kept.

    ordered: int64 [N], rising. A step is all events with the same timestamp.
    """
    num_events = len(ordered)
    if num_events <= max_events:
        return 0
    first = num_events - max_events
    if ordered[first - 1] == ordered[first]:  # the limit would cut through a step: leave the whole step out
        first = int(np.searchsorted(ordered, ordered[first], side="right"))
    return first if first < num_events else int(np.searchsorted(ordered, ordered[-1], side="left"))
