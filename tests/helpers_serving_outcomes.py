"""A small artifact that answers outcomes and recommends nothing: what it says depends on how many events the model reads, and no more."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from helpers_serving import FIELDS, MAX_EVENTS, NOW, random_events, write_contract, write_toy_artifact
from onnx import TensorProto, helper, numpy_helper

from serving.spending import spend_within

SILENCE_DAYS = [7.0, 28.0]
RATES = np.array([[0.05, 0.45]], dtype=np.float32)  # of an event more, over each of silence_days
WORTH = 10_000 / 3
SPENDING = {"value_evenness": 0.75, "value_amount_shape": 2.5, "value_rate_days": 100.0}  # of everybody
BOUNDS = ("value_low", "value_high", "value_zero_probability")  # follow from the number of events, too
OUTPUTS: list[dict[str, Any]] = [
    {"name": "return_probability", "dtype": "float32", "shape": ["batch"], "unit": "probability"},
    {"name": "silence_probability", "dtype": "float32", "shape": ["batch", 2], "unit": "probability, at each of silence_days"},
    {"name": "value", "dtype": "float32", "shape": ["batch"], "unit": "as price times quantity in the log"},
    *({"name": name, "dtype": "float32", "shape": ["batch"], "unit": ""} for name in BOUNDS),
    {"name": "value_purchases", "dtype": "float32", "shape": ["batch"], "unit": "purchases"},
    *({"name": name, "dtype": "float32", "shape": ["batch"], "unit": ""} for name in SPENDING),
    {"name": "num_events", "dtype": "int64", "shape": ["batch"], "unit": "events"},
    {"name": "by_event_id", "dtype": "int64", "shape": ["batch"], "unit": "id", "vocabulary": "event"},
]
TERMS = {
    "return_horizon_days": 28.0, "silence_days": SILENCE_DAYS, "value_horizon_days": 28.0, "value_interval": 0.8, "value_rate_fall": 0.6,
}  # fmt: skip


def write_outcomes_artifact(path: Path, *, cases: list[dict[str, Any]] | None = None) -> Path:
    """The artifact with its own recorded answers, or others."""
    write_toy_artifact(path)
    onnx.save(_graph(), path / "model.onnx")
    (path / "golden.json").write_text(json.dumps(cases or outcome_cases()))
    write_contract(path, terms=TERMS, outputs=OUTPUTS, name="outcomes")
    return path


def outcomes_of(num_events: int) -> dict[str, Any]:
    """What it must answer, by plain Python."""
    silence = np.exp(-RATES[0].astype(np.float64) * num_events)
    told = {"value": WORTH * num_events, "value_purchases": float(num_events), **SPENDING}
    spend = spend_within(28.0, told, TERMS)
    bounds = dict(zip(BOUNDS, (spend.low, spend.high, spend.zero_probability), strict=True))
    spending = {"value": told.pop("value"), **bounds, **told}
    return_probability = {"return_probability": float(1 - silence[1])}
    return {**return_probability, "silence_probability": silence.tolist(), **spending, "num_events": num_events, "by_event": "purchase"}


def outcome_cases() -> list[dict[str, Any]]:
    """Nothing, something, and more than is read; the order in which events came is no part of it."""
    histories = {"no history": {field["name"]: [] for field in FIELDS}, "long": random_events(40, seed=2)}
    kept = {"no history": 0, "long": MAX_EVENTS}
    return [{"name": name, "now": NOW, "events": past(events), "answer": outcomes_of(kept[name])} for name, events in histories.items()]


def past(events: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The events up to NOW, each at a time of its own."""
    return {**events, "timestamp": [NOW - place for place in range(len(events["timestamp"]))]}


def _graph() -> onnx.ModelProto:
    node, value = helper.make_node, helper.make_tensor_value_info
    constants: dict[str, Any] = {"first": [0], "second": [1], "last": [-1], "end": [2**31 - 1], "column": [1], "rates": -RATES}
    constants |= {"worth": np.float32(WORTH), "zero": np.int64(0), "purchase": np.int64(3)}
    constants |= {f"{name} of all": np.float32(number) for name, number in SPENDING.items()}
    constants |= {f"{name} by events": np.float32([outcomes_of(number)[name] for number in range(MAX_EVENTS + 1)]) for name in BOUNDS}
    constants |= {"one": np.float32(1), "to its end": [1], "flat": [-1]}
    nodes = [
        node("Slice", ["offsets", "first", "last"], ["begins"]),
        node("Slice", ["offsets", "second", "end"], ["ends"]),
        node("Sub", ["ends", "begins"], ["num_events"]),
        node("Cast", ["num_events"], ["counts"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["counts", "column"], ["counts_B1"]),
        node("Mul", ["counts_B1", "rates"], ["log_silence"]),
        node("Exp", ["log_silence"], ["silence_probability"]),
        node("Slice", ["silence_probability", "to its end", "end", "column"], ["silent to its end"]),
        node("Reshape", ["silent to its end", "flat"], ["silent"]),
        node("Sub", ["one", "silent"], ["return_probability"]),
        node("Mul", ["counts", "worth"], ["value"]),
        *(node("Gather", [f"{name} by events", "num_events"], [name]) for name in BOUNDS),
        node("Identity", ["counts"], ["value_purchases"]),
        node("Mul", ["num_events", "zero"], ["nothing"]),
        node("Cast", ["nothing"], ["no_number"], to=TensorProto.FLOAT),
        *(node("Add", ["no_number", f"{name} of all"], [name]) for name in SPENDING),
        node("Add", ["nothing", "purchase"], ["by_event_id"]),
    ]
    types = {field["name"]: TensorProto.FLOAT if field["kind"] == "number" else TensorProto.INT64 for field in FIELDS}
    inputs = [value(name, kind, ["T"]) for name, kind in types.items()]
    inputs += [value("offsets", TensorProto.INT64, ["B1"]), value("now", TensorProto.INT64, ["B"])]
    kinds = {"int64": TensorProto.INT64, "float32": TensorProto.FLOAT}
    outputs = [value(output["name"], kinds[output["dtype"]], ["B", *output["shape"][1:]]) for output in OUTPUTS]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "outcomes", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
