"""A small artifact without torch, its answers by plain Python, and a real Triton to serve it."""

import hashlib
import json
import math
import random
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tritonclient.grpc
from onnx import TensorProto, helper, numpy_helper

from serving.errors import InstallationError
from serving.installation import find_installation
from serving.server import TritonServer

DAY = 86_400_000_000
NOW = 17_500 * DAY  # a day in 2017
MAX_EVENTS = 8
TOP_K = 5
ITEMS = [f"item {number}" for number in range(12)]
EVENTS = ["view", "purchase"]
VOCABULARIES = {"item": ["", "", *ITEMS], "event": ["", "", *EVENTS]}
FIELDS: list[dict[str, Any]] = [
    {"name": "item", "kind": "category", "dtype": "int64", "unit": "", "required": True, "vocabulary": "item"},
    {"name": "event", "kind": "category", "dtype": "int64", "unit": "", "required": True, "vocabulary": "event"},
    {"name": "timestamp", "kind": "time", "dtype": "int64", "unit": "microseconds since 1970-01-01T00:00:00Z", "required": True},
    {"name": "price", "kind": "number", "dtype": "float32", "unit": "currency for one unit", "required": False, "minimum": 0.0},
]
OUTPUTS: list[dict[str, Any]] = [
    {"name": "item_id", "dtype": "int64", "shape": ["B", "K"], "unit": "id", "vocabulary": "item"},
    {"name": "item_score", "dtype": "float32", "shape": ["B", "K"], "unit": "natural log of a probability"},
    {"name": "purchase_probability", "dtype": "float32", "shape": ["B"], "unit": "probability"},
]
TERMS: dict[str, Any] = {"top_k": TOP_K, "purchase_horizon_days": 7}
DIM = 4
_random = np.random.default_rng(7)
EMBEDDINGS = _random.normal(size=(len(VOCABULARIES["item"]), DIM))
HEAD = _random.normal(size=(DIM, len(VOCABULARIES["item"])))
BIAS = np.where(np.arange(len(VOCABULARIES["item"])) < 2, -1e9, _random.normal(size=len(VOCABULARIES["item"])))
FADE = 0.1


def server_environment_or_skip() -> None:
    """Skip the test where no tritonserver can be started, and say how to get one."""
    try:
        find_installation()
    except InstallationError:
        pytest.skip("no tritonserver here: make setup")


def write_toy_artifact(path: Path, **changes: Any) -> Path:
    """An artifact whose graph scores items by the price-weighted sum of the history's item embeddings. `changes` go into contract.json."""
    (path / "vocabulary").mkdir(parents=True)
    onnx.save(toy_graph(), path / "model.onnx")
    for name, keys in VOCABULARIES.items():
        columns = {"id": pa.array(range(len(keys)), pa.int32()), "key": keys, "count": pa.array([1] * len(keys), pa.int64())}
        names = {"name": [f"The {key}" if key else "" for key in keys]} if name == "item" else {}
        pq.write_table(pa.table(columns | names), path / "vocabulary" / f"{name}.parquet")
    (path / "golden.json").write_text(json.dumps(golden_cases()))
    write_contract(path, **changes)
    return path


def write_contract(path: Path, *, terms: dict[str, Any] = TERMS, **changes: Any) -> None:
    """contract.json with the digests of the files that lie in `path` now."""
    contract = {
        "format": "revisit-artifact",
        "version": 1,
        "name": "toy",
        "created": "2026-01-01T00:00:00Z",
        "model": _entry(path, "model.onnx"),
        "max_events": MAX_EVENTS,
        "tolerance": 1e-4,
        "inputs": FIELDS,
        "outputs": OUTPUTS,
        "vocabularies": {name: _entry(path, f"vocabulary/{name}.parquet") | {"size": len(keys)} for name, keys in VOCABULARIES.items()},
        "golden": _entry(path, "golden.json"),
        "versions": {"onnx": onnx.__version__},
        **terms,
    }
    (path / "contract.json").write_text(json.dumps(contract | changes))


def _entry(path: Path, file: str) -> dict[str, str]:
    return {"file": file, "sha256": hashlib.sha256((path / file).read_bytes()).hexdigest()}


def toy_graph() -> onnx.ModelProto:
    """T events, B requests; the sum over a request is the difference of two places of a running sum. Double inside, so that only
    the output is rounded."""
    constants = {
        "embeddings": EMBEDDINGS,
        "head": HEAD,
        "bias": BIAS,
        "zero": 0.0,
        "one": 1.0,
        "day": float(DAY),
        "fade": FADE,
        "purchase": VOCABULARIES["event"].index("purchase"),
        "nothing": np.zeros((1, DIM + 2)),
        "axis": 0,
        "column": [1],
        "flat": [-1],
        "first": [0],
        "second": [1],
        "last": [-1],
        "end": [2**31 - 1],
        "k": [TOP_K],
        "sizes": [DIM, 1, 1],
    }
    node, value = helper.make_node, helper.make_tensor_value_info
    nodes = [
        node("Cast", ["price"], ["price_64"], to=TensorProto.DOUBLE),
        node("IsNaN", ["price_64"], ["no_price"]),
        node("Where", ["no_price", "zero", "price_64"], ["known_price"]),
        node("Add", ["known_price", "one"], ["weight_T"]),
        node("Unsqueeze", ["weight_T", "column"], ["weight"]),
        node("Gather", ["embeddings", "item"], ["embedded"]),
        node("Mul", ["embedded", "weight"], ["weighted"]),
        node("Equal", ["event", "purchase"], ["is_bought"]),
        node("Cast", ["is_bought"], ["bought_T"], to=TensorProto.DOUBLE),
        node("Unsqueeze", ["bought_T", "column"], ["bought"]),
        node("Cast", ["timestamp"], ["time"], to=TensorProto.DOUBLE),
        node("Div", ["time", "day"], ["days_T"]),
        node("Unsqueeze", ["days_T", "column"], ["days"]),
        node("Concat", ["weighted", "bought", "days"], ["columns"], axis=1),
        node("Concat", ["nothing", "columns"], ["from_zero"], axis=0),
        node("CumSum", ["from_zero", "axis"], ["running"]),
        node("Slice", ["offsets", "first", "last"], ["begins"]),
        node("Slice", ["offsets", "second", "end"], ["ends"]),
        node("Gather", ["running", "begins"], ["sum_before"]),
        node("Gather", ["running", "ends"], ["sum_after"]),
        node("Sub", ["sum_after", "sum_before"], ["sums"]),
        node("Split", ["sums", "sizes"], ["state", "num_bought", "sum_days"], axis=1),
        node("MatMul", ["state", "head"], ["products"]),
        node("Add", ["products", "bias"], ["logits"]),
        node("LogSoftmax", ["logits"], ["log_probabilities"], axis=1),
        node("Cast", ["log_probabilities"], ["log_probabilities_32"], to=TensorProto.FLOAT),
        node("TopK", ["log_probabilities_32", "k"], ["item_score", "item_id"], axis=1),
        node("Sub", ["ends", "begins"], ["counts"]),
        node("Cast", ["counts"], ["num_events"], to=TensorProto.DOUBLE),
        node("Cast", ["now"], ["now_64"], to=TensorProto.DOUBLE),
        node("Div", ["now_64", "day"], ["now_days"]),
        node("Mul", ["now_days", "num_events"], ["now_sum"]),
        node("Reshape", ["sum_days", "flat"], ["sum_days_B"]),
        node("Sub", ["now_sum", "sum_days_B"], ["age"]),
        node("Mul", ["age", "fade"], ["faded"]),
        node("Reshape", ["num_bought", "flat"], ["num_bought_B"]),
        node("Sub", ["num_bought_B", "faded"], ["purchase_logit"]),
        node("Sigmoid", ["purchase_logit"], ["purchase_64"]),
        node("Cast", ["purchase_64"], ["purchase_probability"], to=TensorProto.FLOAT),
    ]
    inputs = [value(name, TensorProto.INT64, ["T"]) for name in ("item", "event", "timestamp")]
    inputs += [
        value("price", TensorProto.FLOAT, ["T"]),
        value("offsets", TensorProto.INT64, ["B1"]),
        value("now", TensorProto.INT64, ["B"]),
    ]
    outputs = [
        value("item_id", TensorProto.INT64, ["B", TOP_K]),
        value("item_score", TensorProto.FLOAT, ["B", TOP_K]),
        value("purchase_probability", TensorProto.FLOAT, ["B"]),
    ]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "toy", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def expected_answer(events: dict[str, list[Any]], now: int) -> dict[str, Any]:
    """What the toy must answer, by plain Python: knows nothing of serving.encode, so that the two check each other."""
    rows = sorted(_rows(events), key=lambda row: row["timestamp"])
    rows = [row for row in rows if row["timestamp"] <= now]
    times = sorted({row["timestamp"] for row in rows}, reverse=True)
    kept: list[dict[str, Any]] = []
    for time in times:
        step = [row for row in rows if row["timestamp"] == time]
        if kept and len(kept) + len(step) > MAX_EVENTS:
            break
        kept = step + kept
    state, logit = np.zeros(DIM), 0.0
    for row in kept:
        price = row.get("price")
        weight = 1.0 + (0.0 if price is None or math.isnan(price) else np.float32(price))
        state += EMBEDDINGS[_id("item", row["item"])] * weight
        logit += (row["event"] == "purchase") - FADE * (now - row["timestamp"]) / DAY
    logits = state @ HEAD + BIAS
    scores = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
    best = np.argsort(-scores, kind="stable")[:TOP_K]
    return {
        "item": [VOCABULARIES["item"][place] for place in best],
        "item_score": scores[best].tolist(),
        "purchase_probability": float(1 / (1 + math.exp(-logit))),
    }


def _rows(events: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(events, values, strict=True)) for values in zip(*events.values(), strict=True)]


def _id(field: str, key: str | None) -> int:
    if not key:
        return 0
    return VOCABULARIES[field].index(key) if key in VOCABULARIES[field] else 1


def random_events(num_events: int, *, seed: int) -> dict[str, list[Any]]:
    """Events over thirty days before NOW, unsorted, some at the same time, some after NOW, some unknown, some without a price."""
    chance = random.Random(seed)
    return {
        "item": [chance.choice([*ITEMS, "never seen", ""]) for _ in range(num_events)],
        "event": [chance.choice([*EVENTS, "never seen"]) for _ in range(num_events)],
        "timestamp": [NOW - chance.randrange(-2, 30) * DAY for _ in range(num_events)],
        "price": [chance.choice([None, 0.25, 1.5]) for _ in range(num_events)],
    }


def golden_cases() -> list[dict[str, Any]]:
    """The edge cases that every exported artifact records."""
    empty: dict[str, list[Any]] = {field["name"]: [] for field in FIELDS}
    questions = {
        "no history": empty,
        "one event": random_events(1, seed=1),
        "long": random_events(40, seed=2),
        "short": random_events(5, seed=3),
    }
    return [{"name": name, "now": NOW, "events": events, "answer": expected_answer(events, NOW)} for name, events in questions.items()]


def statistics(server: TritonServer, model: str = "toy") -> dict[str, int]:
    """Triton's own count of requests answered and of batches run, once it stands still: Triton counts after it has answered."""
    connection = tritonclient.grpc.InferenceServerClient(server.grpc_url)
    counts: dict[str, int] = {}
    while True:
        entry = connection.get_inference_statistics(model, as_json=True)["model_stats"][0]
        earlier, counts = counts, {"inferences": int(entry.get("inference_count", 0)), "executions": int(entry.get("execution_count", 0))}
        if counts == earlier:
            connection.close()
            return counts
        sleep(0.1)


def processes_about(mark: str | Path) -> list[str]:
    """Command lines of living processes that hold `mark`."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it ended meanwhile
            continue
    return [line for line in lines if str(mark) in line]
