"""Ask a served model about customers.

python -m serving.client --url 127.0.0.1:8000 --events history.json --now 2017-12-01

with Client("127.0.0.1:8000") as client:
    answer = client.ask({"item": ["A"], "event": ["purchase"], "timestamp": ["2017-11-20"]}, now="2017-12-01")
    print(answer.items[0], answer.probabilities[0], answer["purchase_probability"])
"""

import argparse
import contextlib
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from serving.cli import command
from serving.errors import RequestError, ServerError
from serving.horizons import OPEN_HORIZONS
from serving.moments import Moment, microseconds
from serving.silence import silence_within
from serving.spending import TOLD, Spend, spend_within

Events = Mapping[str, Sequence[Any] | np.ndarray] | Sequence[Mapping[str, Any]]

PROTOCOLS = {"http": tritonclient.http, "grpc": tritonclient.grpc}
_WIRE_TYPES = {"TYPE_STRING": "BYTES", "TYPE_INT64": "INT64", "TYPE_FP32": "FP32"}
_NOT_THE_CALLERS_FAULT = ("500", "503", "499", "StatusCode.INTERNAL", "StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")
_NOW = "now"
_RANKED = ("item", "item_score")  # what top_k cuts


@dataclass(frozen=True)
class Answer:
    """What a model says about one customer; `answer["value"]` raises RequestError where it says nothing of that.

    values: by output, a number or a key (text), or where it holds K of them an array or a tuple. terms: what they mean, such as
    `return_horizon_days`.
    """

    values: Mapping[str, Any]
    terms: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """One output's value."""
        if name not in self.values:
            raise RequestError(f"expected a model that answers {name}, received one that answers {', '.join(self.values)}; ask another")
        return self.values[name]

    @property
    def items(self) -> tuple[str, ...]:
        """K keys of items, best first."""
        item = self["item"]
        return (item,) if isinstance(item, str) else item

    @property
    def scores(self) -> np.ndarray:
        """float32 [K]: natural logarithm of each item's probability."""
        return np.atleast_1d(self["item_score"]).astype(np.float32)

    @property
    def probabilities(self) -> np.ndarray:
        """float32 [K]: the probability of each item."""
        return np.exp(self.scores)

    @property
    def purchase_probability(self) -> float:
        """Of a purchase within `terms["purchase_horizon_days"]`."""
        return self["purchase_probability"]

    @property
    def category_probabilities(self) -> dict[str, float]:
        """Of a purchase of each category within `terms["purchase_horizon_days"]`, the likeliest first."""
        said = zip(self.terms.get("purchase_categories", ()), np.atleast_1d(self["category_probability"]).tolist(), strict=True)
        return dict(sorted(said, key=lambda pair: -pair[1]))

    def silence(self, days: float) -> float:
        """The probability of no purchase in the next `days`, any number up to the last of `terms["silence_days"]`.

        Between two of them the model's hazard is constant, so that this is its own answer, not an approximation.
        """
        return silence_within(days, np.atleast_1d(self["silence_probability"]), self.terms["silence_days"])

    def absence(self, days: float) -> float:
        """The probability of no visit in the next `days`, any number up to the last of `terms["absence_days"]`. See `silence`."""
        return silence_within(days, np.atleast_1d(self["absence_probability"]), self.terms["absence_days"])

    def value(self, days: float) -> Spend:
        """What they spend in the next `days`, above 0: `expected`, from `low` to `high`, `zero_probability`; for how many `purchases`.

        The model's own answer for as many days, whatever `terms["value_horizon_days"]`: purchases are counted at a rate that falls.
        """
        return spend_within(days, {name: self[name] for name in TOLD}, self.terms)


@dataclass(frozen=True)
class _Field:
    """One input of the served model."""

    name: str
    wire_type: str
    required: bool


@dataclass(frozen=True)
class _Output:
    """One output of the served model: `size` values an answer."""

    name: str
    size: int


class Client:
    """A connection to one model of one server. One thread at a time may use it; `ask_many` brings its own threads."""

    def __init__(
        self, url: str, *, protocol: str = "http", model: str | None = None, timeout_s: float = 60.0, num_connections: int = 16
    ) -> None:
        """`url` is host:port; `protocol` is "http" or "grpc"; `model` may be left out where the server has only one.

        Raises ServerError if nobody answers there, RequestError if it doesn't serve the model.
        """
        if protocol not in PROTOCOLS:
            raise RequestError(f"expected protocol {' or '.join(PROTOCOLS)}, received {protocol!r}; choose one of them")
        self._triton = PROTOCOLS[protocol]
        self._url, self._timeout_s, self._num_connections = _address(url), timeout_s, num_connections
        self._connection = self._connect()
        try:
            with self._translated_errors():
                self.model = model or self._only_model()
                config = self._read_config()
        except BaseException:
            self.close()
            raise
        self._fields = [
            _Field(entry["name"], _WIRE_TYPES[entry["data_type"]], not entry.get("optional", False)) for entry in config["input"]
        ]
        self._outputs = [_Output(entry["name"], int(entry["dims"][0])) for entry in config["output"]]
        self._terms = {name: json.loads(value["string_value"]) for name, value in config.get("parameters", {}).items()}
        self._open_horizons = self._terms.pop(OPEN_HORIZONS, [])

    def ask(
        self,
        events: Events,
        now: Moment,
        *,
        top_k: int | None = None,
        return_horizon_days: float | None = None,
        visit_horizon_days: float | None = None,
        value_horizon_days: float | None = None,
    ) -> Answer:
        """What does the model say of this customer at the moment `now`?

        events: {field: values} or a list of events, in any order; none at all is a customer without history. A time without a zone
        is UTC. top_k: how many items to keep of those the model gives, if it does. The horizons: instead of the model's own, for the
        outputs `return_probability`, `visit_probability`, and `value` and what belongs to it. Raises RequestError or ServerError.
        """
        horizons = self._horizons(
            return_horizon_days=return_horizon_days, visit_horizon_days=visit_horizon_days, value_horizon_days=value_horizon_days
        )
        return self._ask(self._connection, events, now, top_k, horizons)

    def ask_many(
        self,
        requests: Iterable[tuple[Events, Moment]],
        *,
        top_k: int | None = None,
        return_horizon_days: float | None = None,
        visit_horizon_days: float | None = None,
        value_horizon_days: float | None = None,
    ) -> list[Answer]:
        """Answers in the order of the requests, `num_connections` of them in flight, so that the server can batch them.

        The rest is as in `ask`, for all of them. Raises the first error.
        """
        horizons = self._horizons(
            return_horizon_days=return_horizon_days, visit_horizon_days=visit_horizon_days, value_horizon_days=value_horizon_days
        )
        own = threading.local()
        connections: list[Any] = []

        def open_connection() -> None:
            own.connection = self._connect()
            connections.append(own.connection)

        def ask(request: tuple[Events, Moment]) -> Answer:
            return self._ask(own.connection, *request, top_k, horizons)

        try:
            with ThreadPoolExecutor(self._num_connections, initializer=open_connection) as threads:
                return list(threads.map(ask, requests))
        finally:
            for connection in connections:
                connection.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        """The client itself; it was connected when it was made."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def _connect(self) -> Any:
        if self._triton is tritonclient.http:
            return tritonclient.http.InferenceServerClient(self._url, connection_timeout=self._timeout_s, network_timeout=self._timeout_s)
        return tritonclient.grpc.InferenceServerClient(self._url)

    def _only_model(self) -> str:
        index = self._as_json(self._connection.get_model_repository_index)
        names = sorted({entry["name"] for entry in (index if isinstance(index, list) else index.get("models", []))})
        if len(names) != 1:
            raise RequestError(f"expected one model at {self._url}, found {', '.join(names) or 'none'}; name one")
        return names[0]

    def _read_config(self) -> dict[str, Any]:
        config = self._as_json(self._connection.get_model_config, self.model)
        return config.get("config", config)

    def _as_json(self, call: Any, *arguments: str) -> Any:
        return call(*arguments) if self._triton is tritonclient.http else call(*arguments, as_json=True, client_timeout=self._timeout_s)

    def _horizons(self, **asked: float | None) -> dict[str, float]:
        """Those that are asked for. Whether they can be answered the server says, unless it would not read them."""
        horizons = {name: float(days) for name, days in asked.items() if days is not None}
        if horizons and not self._open_horizons:
            remedy = "ask another, or export the run and generate its repository again"
            raise RequestError(f"expected a model that is asked for horizons, received {', '.join(horizons)} for {self.model}; {remedy}")
        return horizons

    def _ask(self, connection: Any, events: Events, now: Moment, top_k: int | None, horizons: Mapping[str, float]) -> Answer:
        inputs = self._inputs(events, now)
        options: dict[str, Any] = {} if self._triton is tritonclient.http else {"client_timeout": self._timeout_s}
        if horizons:
            options["parameters"] = dict(horizons)
        with self._translated_errors():
            result = connection.infer(self.model, inputs, **options)
        answers = {output.name: result.as_numpy(output.name)[0] for output in self._outputs}
        kept = {name: values[:top_k] if name in _RANKED else values for name, values in answers.items()}
        return Answer(
            {output.name: _plain(kept[output.name], alone=output.size == 1) for output in self._outputs}, {**self._terms, **horizons}
        )

    def _inputs(self, events: Events, now: Moment) -> list[Any]:
        columns = dict(events) if isinstance(events, Mapping) else as_columns(events)
        num_events = max((len(values) for values in columns.values()), default=0)
        self._check_names(columns, num_events)
        columns[_NOW] = [now]
        # A field that isn't sent would keep the request out of its neighbours' batch: missing values are sent instead.
        absent = [None] * num_events
        return [self._tensor(field, columns.get(field.name, absent)) for field in self._fields]

    def _check_names(self, columns: Mapping[str, Any], num_events: int) -> None:
        names = [field.name for field in self._fields if field.name != _NOW]
        if unknown := sorted(set(columns) - set(names)):
            raise RequestError(f"expected fields {', '.join(names)}, received {', '.join(unknown)}; leave it out")
        missing = [field.name for field in self._fields if field.required and field.name not in columns and field.name != _NOW]
        if num_events and missing:
            raise RequestError(f"expected {', '.join(missing)} for each of the {num_events} events, received nothing; send it")

    def _tensor(self, field: _Field, values: Sequence[Any] | np.ndarray) -> Any:
        array = _array(field, values)
        tensor = self._triton.InferInput(field.name, [1, len(array)], field.wire_type)
        tensor.set_data_from_numpy(array[None])
        return tensor

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except InferenceServerException as error:
            if error.status() is None or error.status() in _NOT_THE_CALLERS_FAULT:
                remedy = "see the server's log, or start one: python -m serving.server"
                raise ServerError(f"expected an answer from {self._url}, received: {error.message()}; {remedy}") from error
            raise RequestError(error.message()) from error
        except (OSError, HTTPException) as error:
            raise ServerError(f"expected a Triton server at {self._url}, received: {error}; start one: python -m serving.server") from error


def _address(url: str) -> str:
    address = url.removeprefix("http://").rstrip("/")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise RequestError(f"expected host:port, received {url!r}; for example 127.0.0.1:8000")
    return address


def as_columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Events given one by one as {field: values}; a field that an event lacks is None there."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _plain(values: np.ndarray, *, alone: bool) -> Any:
    """Keys as texts, numbers as they are; what can only ever be one, without a list around it."""
    if values.dtype == np.object_:
        keys = tuple(key.decode() for key in values)
        return keys[0] if alone else keys
    return values[0].item() if alone else values


def _array(field: _Field, values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """One field's values as Triton's client wants them: bytes, microseconds or float32."""
    if field.wire_type == "BYTES":
        return np.array([_as_bytes(value) for value in values], dtype=np.object_)
    if field.wire_type == "INT64":
        return np.array([microseconds(value) for value in values], dtype=np.int64)
    try:
        return np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise RequestError(f"expected numbers in {field.name}, received something else ({error}); send None for a missing one") from error


def _as_bytes(value: Any) -> bytes:
    """A missing category (None, or the NaN of a data frame) is empty; a numeric key becomes text."""
    if value is None or value != value:
        return b""
    return value if isinstance(value, bytes) else str(value).encode()


def main(arguments: list[str] | None = None) -> None:
    """Read the flags, ask once, print the answer as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.client", description="Ask a served model about one customer; prints the answer as JSON."
    )
    parser.add_argument("--url", default="127.0.0.1:8000", help="host:port of the server (default: %(default)s)")
    parser.add_argument(
        "--protocol", choices=PROTOCOLS, default="http", help="(default: %(default)s; gRPC listens on another port, 8001 by default)"
    )
    parser.add_argument("--model", help="the model's name (default: the only one there)")
    parser.add_argument("--events", required=True, type=Path, help="a JSON file: {field: [values]} or [{field: value}, ...]")
    parser.add_argument(
        "--now", required=True, help="the moment of the question: ISO 8601 (UTC if it has no zone) or microseconds since 1970"
    )
    parser.add_argument("--top-k", type=int, help="how many items to print (default: all that the model gives)")
    options = parser.parse_args(arguments)
    now = int(options.now) if options.now.isdecimal() else options.now
    events = read_events(options.events)
    with Client(options.url, protocol=options.protocol, model=options.model) as client:
        answer = client.ask(events, now, top_k=options.top_k)
    print(json.dumps(as_document(answer), indent=2))


def read_events(file: Path) -> Events:
    """Events from a JSON file, by column or one by one. Raises RequestError."""
    try:
        events = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise RequestError(
            f"expected events as JSON in {file}, received: {error}; write {{field: [values]}} or [{{field: value}}, ...]"
        ) from error
    by_column = isinstance(events, dict) and all(isinstance(values, list) for values in events.values())
    if not by_column and not (isinstance(events, list) and all(isinstance(event, dict) for event in events)):
        raise RequestError(f"expected {{field: [values]}} or [{{field: value}}, ...] in {file}, received other JSON; write it so")
    return events


def as_document(answer: Answer) -> dict[str, Any]:
    """The answer for a JSON file."""
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in answer.values.items()}
    if not plain.keys() >= set(_RANKED):
        return plain
    rest = {name: value for name, value in plain.items() if name not in _RANKED}
    items = [
        {"item": item, "probability": float(probability)} for item, probability in zip(answer.items, answer.probabilities, strict=True)
    ]
    return {"items": items, **rest}


if __name__ == "__main__":
    command(main)
