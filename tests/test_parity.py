"""One model, two ways to its answers: raw events through the store into torch, and raw events through a request into ONNX Runtime.

Ids must be equal to the last bit, scores within 1e-4 (the artifact's own tolerance); whoever is asked about, whenever, in whatever company.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers_training import shop_rows, train_config

from serving.contract import read_contract
from serving.golden import prove
from serving.predictor import Predictor
from training.build import Parts, build
from training.export import load_run, write_graph
from training.golden import encode
from training.sequences.history import History, keep_last, take
from training.sequences.questions import Questions
from training.sequences.split import DAY
from training.sequences.store import SequenceStore

Events = Mapping[str, Sequence[Any]]
TOLERANCE = 1e-4
MAX_EVENTS = 60
MIDNIGHT = 19_844 * DAY  # 2024-05-01
EMPTY: Events = {"item": [], "event": [], "timestamp": [], "price": [], "quantity": []}


@dataclass
class Reply:
    """items: keys [K], best first; scores [K]; probability of a purchase."""

    items: list[str]
    scores: np.ndarray
    probability: float


@pytest.fixture(scope="module")
def parts(small_run: Path) -> Parts:
    return load_run(small_run)


@pytest.fixture(scope="module")
def predictor(small_artifact: Path) -> Predictor:
    return Predictor(read_contract(small_artifact), num_threads=2)


@pytest.fixture(scope="module")
def raw() -> dict[str, Events]:
    """Each customer's rows as a caller has them: strings, microseconds, None for a missing number."""
    events: dict[str, dict[str, list[Any]]] = {}
    for row in shop_rows():
        of = events.setdefault(str(row["customer"]), {field: [] for field in EMPTY})
        of["item"].append(row["item"])
        of["event"].append(row["event"])
        of["timestamp"].append(int(np.datetime64(str(row["timestamp"]), "us").astype(np.int64)))
        of["price"].append(float(str(row["price"])) if row["price"] else None)
        of["quantity"].append(float(str(row["quantity"])) if row["quantity"] else None)
    return events


def torch_says(parts: Parts, log: object, customers: np.ndarray, now: np.ndarray) -> list[Reply]:
    """Torch's answers on a log: the store, or one customer's events encoded with the store's vocabularies."""
    questions = Questions(log, fields=parts.questions.fields, max_events=parts.questions.max_events, objectives={})
    with torch.inference_mode():
        answers = parts.model(questions.ask(customers, now, np.ones(len(customers), dtype=np.int64)))
    keys = parts.store.vocabularies["item"].keys
    rows = zip(answers["item_id"].tolist(), answers["item_score"].numpy(), answers["purchase_probability"].tolist(), strict=True)
    return [Reply([keys[item] for item in items], scores, probability) for items, scores, probability in rows]


def onnx_says(predictor: Predictor, requests: Sequence[tuple[Events, int]]) -> list[Reply]:
    """ONNX Runtime's answers to requests that arrive together."""
    answers = predictor.answer([predictor.encoder.history(events, now) for events, now in requests])
    rows = zip(answers["item"], answers["item_score"], answers["purchase_probability"], strict=True)
    return [Reply([key.decode() for key in items], scores, float(probability)) for items, scores, probability in rows]


def assert_same(received: Sequence[Reply], expected: Sequence[Reply]) -> None:
    assert len(received) == len(expected)
    for number, (one, other) in enumerate(zip(received, expected, strict=True)):
        assert one.items == other.items, number
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=TOLERANCE, err_msg=str(number))
        assert one.probability == pytest.approx(other.probability, abs=TOLERANCE), number


def moments_of(parts: Parts, seed: int) -> np.ndarray:
    """A moment for each customer, anywhere from before their first event to after their last."""
    times, offsets = parts.store.columns["timestamp"], parts.store.offsets
    first, last = times[offsets[:-1]], times[offsets[1:] - 1]
    share = np.random.default_rng(seed).uniform(-0.05, 1.2, len(first))
    return (first + share * (last - first)).astype(np.int64)


# Customers of the store


def test_requests_are_encoded_as_the_store_is_byte_for_byte(parts: Parts, predictor: Predictor, raw: dict[str, Events]) -> None:
    now = moments_of(parts, seed=0)
    assert list(raw) == parts.store.customers
    for position, events in enumerate(raw.values()):
        kept = keep_last(History.at(take(parts.store, np.array([position])), now[position]), MAX_EVENTS)
        sent = predictor.encoder.history(events, int(now[position]))
        for field, column in sent.columns.items():
            stored = kept.columns[field].astype(column.dtype)
            assert column.tobytes() == stored.tobytes(), (field, position)


@pytest.mark.parametrize("seed", range(4))
def test_every_customer_gets_the_same_answer_in_a_batch(parts: Parts, predictor: Predictor, raw: dict[str, Events], seed: int) -> None:
    now = moments_of(parts, seed)
    expected = torch_says(parts, parts.store, np.arange(parts.store.num_customers), now)
    assert_same(onnx_says(predictor, list(zip(raw.values(), now.tolist(), strict=True))), expected)


def test_every_customer_gets_the_same_answer_alone(parts: Parts, predictor: Predictor, raw: dict[str, Events]) -> None:
    now = moments_of(parts, seed=9)
    expected = torch_says(parts, parts.store, np.arange(parts.store.num_customers), now)
    for request, reply in zip(zip(raw.values(), now.tolist(), strict=True), expected, strict=True):
        assert_same(onnx_says(predictor, [request]), [reply])


def test_some_histories_are_longer_than_the_model_reads(parts: Parts) -> None:
    assert parts.questions.max_events == MAX_EVENTS
    assert (np.diff(parts.store.offsets) > MAX_EVENTS).sum() > 5
    assert (np.diff(parts.store.offsets) < MAX_EVENTS).sum() > 5


def test_recorded_answers_hold(predictor: Predictor, small_artifact: Path) -> None:
    proof = prove(predictor, read_contract(small_artifact))
    assert proof.ids_equal
    assert proof.max_abs_score_difference < TOLERANCE
    assert proof.cases == 34


OTHER_MODELS = [  # every encoder, every option once: making a graph takes longer than all else here
    ["encoder=hstu"],
    ["encoder=gated", "counted_events=[view]", "visit_events=[view,purchase]"],
    ["encoder=gru4rec"],
    ["encoder.num_positions=20", "objective=[intent,dormancy,presence,value,loyalty]", "visit_events=[view]", "knows_items=false"],
    [
        "knows_times=false",
        "objectives.next_item.repeat=false",
        "objectives.next_item.neighbours=true",
        "objectives.next_item.leave_out_seen=true",
    ],
    ["encoder=bsarec", "item_tower=true", "objectives.next_item.normalise=true", "objectives.next_item.temperature=0.1"],
]


@pytest.mark.parametrize("overrides", OTHER_MODELS, ids=" ".join)
def test_another_model_keeps_its_word_too(small_store: Path, tmp_path: Path, overrides: list[str]) -> None:
    """As it is before training: its graph holds what ONNX itself defines and says what torch says."""
    parts = build(train_config(small_store, tmp_path, *overrides, "max_events=60"), SequenceStore.open(small_store))
    parts.model.eval()
    write_graph(parts, tmp_path / "model.onnx")
    assert [entry.domain for entry in onnx.load(tmp_path / "model.onnx").opset_import] == [""]
    now = moments_of(parts, seed=5)
    batch = parts.questions.ask(np.arange(len(now)), now, np.ones(len(now), dtype=np.int64))
    with torch.inference_mode():
        expected = parts.model(batch)
    inputs = {**batch.fields, "offsets": batch.offsets, "now": batch.now}
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    received = session.run(list(expected), {name: values.numpy() for name, values in inputs.items()})
    for (name, values), answer in zip(expected.items(), received, strict=True):
        np.testing.assert_allclose(answer, values.numpy(), rtol=0, atol=TOLERANCE, err_msg=name)


# Where it gets awkward


def visits(*times: int, items: Sequence[str] = ("i03", "i07", "i11", "i03")) -> Events:
    """A view, then purchases, one at each time."""
    number = len(times)
    return {
        "item": [items[index % len(items)] for index in range(number)],
        "event": ["view" if index == 0 else "purchase" for index in range(number)],
        "timestamp": list(times),
        "price": [None if index == 0 else 1.0 + index for index in range(number)],
        "quantity": [None if index == 0 else 2.0 for index in range(number)],
    }


def with_field(events: Events, **changes: Sequence[Any]) -> Events:
    return {**events, **changes}


HOUR = DAY // 24
THREE = visits(MIDNIGHT - 9 * DAY, MIDNIGHT - 5 * DAY, MIDNIGHT - 2 * DAY)
LONG = visits(*(MIDNIGHT - 80 * DAY + index * 11 * HOUR for index in range(3 * MAX_EVENTS)))
EDGES: dict[str, tuple[Events, int]] = {
    "no history": (EMPTY, MIDNIGHT),
    "one event": (visits(MIDNIGHT - DAY), MIDNIGHT),
    "one event now": (visits(MIDNIGHT), MIDNIGHT),
    "unknown item": (with_field(THREE, item=["i03", "never seen", "i07"]), MIDNIGHT),
    "only unknown items": (with_field(THREE, item=["?", "??", "???"]), MIDNIGHT),
    "unknown event": (with_field(THREE, event=["view", "juggle", "purchase"]), MIDNIGHT),
    "missing item": (with_field(THREE, item=["i03", "", "i07"]), MIDNIGHT),
    "missing numbers": (with_field(THREE, price=[None] * 3, quantity=[None] * 3), MIDNIGHT),
    "odd numbers": (with_field(THREE, price=[0.0, 1e-30, 1e12], quantity=[0.0, 1e-9, 1e12]), MIDNIGHT),
    "equal timestamps": (with_field(THREE, timestamp=[MIDNIGHT - DAY] * 3), MIDNIGHT),
    "a future timestamp": (with_field(THREE, timestamp=[MIDNIGHT - DAY, MIDNIGHT, MIDNIGHT + 1]), MIDNIGHT),
    "everything in the future": (THREE, MIDNIGHT - 30 * DAY),
    "out of order": (with_field(LONG, timestamp=np.random.default_rng(0).permutation(LONG["timestamp"]).tolist()), MIDNIGHT),
    "as long as the model reads": ({field: values[:MAX_EVENTS] for field, values in LONG.items()}, MIDNIGHT),
    "one more than the model reads": ({field: values[: MAX_EVENTS + 1] for field, values in LONG.items()}, MIDNIGHT),
    "three times as long": (LONG, MIDNIGHT),
    "one step longer than the model reads": (with_field(LONG, timestamp=[MIDNIGHT - DAY] * 3 * MAX_EVENTS), MIDNIGHT),
    "years of silence": (THREE, MIDNIGHT + 3_650 * DAY),
    "decades between events": (visits(5_000 * DAY, 12_000 * DAY, 19_000 * DAY), MIDNIGHT),
}
for offset in (-HOUR, -1_000_000, -1_000, -1, 0, 1, 1_000, HOUR):
    EDGES[f"asked {offset:+} us from midnight"] = (THREE, MIDNIGHT + offset)
    EDGES[f"bought {offset:+} us from midnight"] = (visits(MIDNIGHT - 6 * DAY, MIDNIGHT + offset), MIDNIGHT + DAY)
    EDGES[f"bought {offset:+} us from a week ago"] = (visits(MIDNIGHT - 7 * DAY + offset), MIDNIGHT)
for gap in (1, 2**31 - 1, 2**31, 2**31 + 1, 3_000_000_000, 2**32 - 1, 2**32, 2**32 + 1, 2**33, 2**40):
    EDGES[f"{gap} us between events"] = (visits(MIDNIGHT - DAY - gap, MIDNIGHT - DAY), MIDNIGHT)
    EDGES[f"{gap} us of silence"] = (visits(MIDNIGHT - DAY, MIDNIGHT), MIDNIGHT + gap)


def torch_says_of(parts: Parts, events: Events, now: int) -> Reply:
    log = encode(parts, {field: list(values) for field, values in events.items()})
    return torch_says(parts, log, np.array([0]), np.array([now]))[0]


@pytest.fixture(scope="module")
def edges_together(predictor: Predictor) -> dict[str, Reply]:
    return dict(zip(EDGES, onnx_says(predictor, list(EDGES.values())), strict=True))


@pytest.mark.parametrize("edge", EDGES)
def test_edges_get_the_same_answer(parts: Parts, predictor: Predictor, edges_together: dict[str, Reply], edge: str) -> None:
    events, now = EDGES[edge]
    expected = torch_says_of(parts, events, now)
    assert_same(onnx_says(predictor, [EDGES[edge]]), [expected])
    assert_same([edges_together[edge]], [expected])
    assert np.isfinite(expected.scores).all()


def test_what_is_sent_makes_a_difference(parts: Parts) -> None:
    """Else the tests above would compare constants."""
    probabilities = [
        torch_says_of(parts, *EDGES[edge]).probability for edge in ("no history", "one event", "unknown item", "years of silence")
    ]
    assert len({round(probability, 3) for probability in probabilities}) == 4
    first, second = (
        torch_says_of(parts, visits(MIDNIGHT - 8 * DAY, MIDNIGHT - DAY, items=items), MIDNIGHT) for items in (("i01",), ("i02",))
    )
    assert first.items[0] == "i01"
    assert second.items[0] == "i02"
    assert first.items != second.items
