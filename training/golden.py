"""Recorded answers: raw events in, torch's answers out. Serving must give the same, on customers of the store and where it gets awkward."""

from typing import Any

import numpy as np
import torch

from training.answers import outputs_of
from training.build import Parts
from training.objectives.objective import Output
from training.sequences.history import History, keep_last, offsets_of, take
from training.sequences.questions import Questions
from training.sequences.split import DAY
from training.showcase import raw_events

UNKNOWN = "never seen before"


def golden_cases(parts: Parts, *, num_customers: int) -> list[dict[str, Any]]:
    """Customers drawn by a fixed seed, asked at the test moment, and the edge cases; each with torch's own answer."""
    chosen = np.random.default_rng(0).choice(parts.store.num_customers, min(num_customers, parts.store.num_customers), replace=False)
    requests = [(f"customer {parts.store.customers[position]}", *_request(parts, int(position))) for position in chosen]
    requests += edge_cases(parts)
    return [{"name": name, "now": now, "events": events, "answer": answer(parts, events, now)} for name, events, now in requests]


def edge_cases(parts: Parts) -> list[tuple[str, dict[str, list[Any]], int]]:
    """Name, raw events and moment of what a server will be asked some day."""
    longest = int(np.argmax(np.diff(parts.store.offsets)))
    whole = take(parts.store, np.array([longest]))
    everything = raw_events(parts, whole)
    now = int(whole.columns["timestamp"][-1]) + DAY
    first = {field: values[:1] for field, values in everything.items()}
    last = {field: values[-3:] for field, values in everything.items()}
    shuffled = np.random.default_rng(0).permutation(len(everything["timestamp"]))
    return [
        ("no history", {field: [] for field in everything}, now),
        ("one event", first, now),
        ("unknown item", first | {"item": [UNKNOWN]}, now),
        ("unknown event", first | {"event": [UNKNOWN]}, now),
        ("every optional field missing", {field: _blank(parts, field, values) for field, values in last.items()}, now),
        ("equal timestamps", last | {"timestamp": last["timestamp"][:1] * len(last["timestamp"])}, now),
        ("future timestamp", last | {"timestamp": [now - DAY, now, now + DAY][: len(last["timestamp"])]}, now),
        ("everything in the future", last, last["timestamp"][0] - 1),
        ("longest history", everything, now),
        ("longest history, out of order", {field: [values[place] for place in shuffled] for field, values in everything.items()}, now),
    ]


def answer(parts: Parts, events: dict[str, list[Any]], now: int) -> dict[str, Any]:
    """Torch's answer to raw events, encoded with the store's own vocabularies."""
    log = encode(parts, events)
    questions = Questions(log, fields=parts.questions.fields, max_events=parts.questions.max_events, objectives={})
    parts.model.eval()
    with torch.inference_mode():
        answers = parts.model(questions.ask(np.array([0]), np.array([now]), np.array([1])))
    return {output.served_as: _recorded(parts, output, answers[output.name][0]) for output in outputs_of(parts)}


def _recorded(parts: Parts, output: Output, answer: torch.Tensor) -> Any:
    """Keys for ids: they are what a caller receives."""
    if not output.vocabulary:
        return answer.tolist()
    keys = parts.store.vocabularies[output.vocabulary].keys
    return [keys[index] for index in answer.tolist()]


def encode(parts: Parts, events: dict[str, list[Any]]) -> History:
    """One customer's raw events as a log, in order of time."""
    order = np.argsort(np.array(events["timestamp"], dtype=np.int64), kind="stable")
    columns = {field: _encoded(parts, field, values)[order] for field, values in events.items()}
    return History(offsets_of(np.array([len(order)])), columns)


def _encoded(parts: Parts, field: str, values: list[Any]) -> np.ndarray:
    kind = parts.store.fields[field]["kind"]
    if kind == "category":
        return parts.store.vocabularies[field].encode(values)
    if kind == "time":
        return np.array(values, dtype=np.int64)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float32)


def _request(parts: Parts, position: int) -> tuple[dict[str, list[Any]], int]:
    """A customer's raw events up to the test moment, and that moment."""
    now = int(parts.split.test.now[position])
    history = keep_last(History.at(take(parts.store, np.array([position])), now), parts.questions.max_events)
    return raw_events(parts, history), now


def _blank(parts: Parts, field: str, values: list[Any]) -> list[Any]:
    if field in ("item", "event", "timestamp"):
        return values
    return [None if parts.store.fields[field]["kind"] == "number" else ""] * len(values)
