"""What a request becomes before the graph sees it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers_serving import DAY, ITEMS, MAX_EVENTS, NOW, VOCABULARIES, expected_answer, random_events, write_contract, write_toy_artifact

from serving.contract import Contract, read_contract
from serving.encode import Encoder
from serving.errors import ArtifactError, RequestError
from serving.predictor import Predictor


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    return read_contract(write_toy_artifact(tmp_path_factory.mktemp("encode") / "artifact"))


@pytest.fixture(scope="module")
def encoder(contract: Contract) -> Encoder:
    return Encoder(contract)


def events_at(*days: int, item: list[Any] | None = None) -> dict[str, list[Any]]:
    """One view for each day relative to NOW; by default the n-th event is of the n-th item."""
    item = item or [ITEMS[place % len(ITEMS)] for place in range(len(days))]
    return {"item": item, "event": ["view"] * len(days), "timestamp": [NOW + day * DAY for day in days]}


def kept_items(encoder: Encoder, events: dict[str, list[Any]]) -> list[str]:
    return [VOCABULARIES["item"][place] for place in encoder.history(events, NOW).columns["item"]]


def test_events_are_put_in_the_order_of_time_and_equal_times_keep_theirs(encoder: Encoder) -> None:
    events = events_at(-1, -3, -1, -2, -3)
    assert kept_items(encoder, events) == ["item 1", "item 4", "item 3", "item 0", "item 2"]


def test_events_after_now_are_dropped_and_events_at_now_are_kept(encoder: Encoder) -> None:
    events = events_at(-1, 0, 1)
    assert kept_items(encoder, events) == ["item 0", "item 1"]
    assert kept_items(encoder, events_at(1, 2)) == []


@pytest.mark.parametrize(
    ("days", "kept"),
    [
        ([*range(-20, -20 + MAX_EVENTS)], MAX_EVENTS),  # as many as fit
        ([*range(-20, -20 + MAX_EVENTS + 1)], MAX_EVENTS),  # one more: the oldest goes
        ([-9] * 3 + [-5] * MAX_EVENTS, MAX_EVENTS),  # the latest step fills the limit
        ([-9] * 3 + [-5] * 4 + [-1] * 3, 7),  # the limit falls into a step: the whole step goes
        ([-9] * 3 + [-5] * 5 + [-1] * 3, MAX_EVENTS),  # the limit falls between two steps
        ([-9] * 3 + [-1] * (MAX_EVENTS + 5), MAX_EVENTS + 5),  # the latest step is too large: it stays, alone
        ([-1] * (MAX_EVENTS + 5), MAX_EVENTS + 5),
        ([-9] * 3 + [-5] * 4 + [-1] * 3 + [1] * 50, 7),  # what comes after now takes no room
    ],
)
def test_the_most_recent_whole_steps_are_kept(encoder: Encoder, days: list[int], kept: int) -> None:
    history = encoder.history(events_at(*days), NOW)
    past = sorted(NOW + day * DAY for day in days if day <= 0)
    assert history.columns["timestamp"].tolist() == past[-kept:]


def test_keys_become_ids_whatever_their_form(encoder: Encoder) -> None:
    keys = ["item 0", b"item 0", np.str_("item 0"), "never seen", b"never seen", "", b"", None]
    column = encoder.history(events_at(*range(-8, 0), item=keys), NOW).columns["item"]
    assert column.tolist() == [2, 2, 2, 1, 1, 0, 0, 0]
    assert column.dtype == np.int64


def test_numbers_that_are_missing_become_nan(encoder: Encoder) -> None:
    column = encoder.history({**events_at(-3, -2, -1), "price": [1.5, None, float("nan")]}, NOW).columns["price"]
    np.testing.assert_array_equal(column, np.array([1.5, np.nan, np.nan], dtype=np.float32))
    assert np.isnan(encoder.history(events_at(-3), NOW).columns["price"]).all()


def test_histories_are_laid_end_to_end(encoder: Encoder) -> None:
    histories = [encoder.history(events, NOW + place) for place, events in enumerate([events_at(-2, -1), {}, events_at(-5)])]
    batch = encoder.batch(histories)
    assert batch["offsets"].tolist() == [0, 2, 2, 3]
    assert batch["now"].tolist() == [NOW, NOW + 1, NOW + 2]
    assert batch["item"].tolist() == [2, 3, 2]
    assert {name: str(array.dtype) for name, array in batch.items()} == {
        "item": "int64", "event": "int64", "timestamp": "int64", "price": "float32", "offsets": "int64", "now": "int64",
    }  # fmt: skip


def test_a_batch_of_empty_histories_has_its_types(encoder: Encoder) -> None:
    batch = encoder.batch([encoder.history({}, NOW)] * 2)
    assert batch["offsets"].tolist() == [0, 0, 0]
    assert [str(batch[name].dtype) for name in ("item", "timestamp", "price")] == ["int64", "int64", "float32"]


def test_one_run_of_the_graph_answers_many_as_it_answers_each(contract: Contract) -> None:
    predictor = Predictor(contract)
    questions = [random_events(num_events, seed=num_events) for num_events in range(0, 64, 3)]
    answers = predictor.answer([predictor.encoder.history(events, NOW) for events in questions])
    for row, events in enumerate(questions):
        expected = expected_answer(events, NOW)
        assert [key.decode() for key in answers["item"][row]] == expected["item"]
        np.testing.assert_allclose(answers["item_score"][row], expected["item_score"], atol=1e-5)
        np.testing.assert_allclose(answers["purchase_probability"][row], expected["purchase_probability"], atol=1e-6)


def test_the_graph_is_never_asked_about_no_event_at_all(contract: Contract) -> None:
    """Who has none is answered as in company, and by themselves."""
    predictor, asked = Predictor(contract), []
    session, nobody, somebody = predictor._session, *(predictor.encoder.history(events, NOW) for events in ({}, random_events(3, seed=1)))

    def run(names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        asked.append(inputs["offsets"].tolist())
        return session.run(names, inputs)

    predictor._session = SimpleNamespace(run=run)  # type: ignore[assignment]
    alone, beside = predictor.answer([nobody, nobody]), predictor.answer([nobody, somebody])
    assert asked == [[0, 0, 0, 1], [0, 0, 3]]
    for name, values in alone.items():
        assert len(values) == 2
        np.testing.assert_array_equal(values[0], beside[name][0], err_msg=name)


@pytest.mark.parametrize(
    ("change", "now", "words"),
    [
        ({"item": ["item 0"]}, NOW, "the same number of events, received item 1, event 2, timestamp 2"),
        ({"timestamp": None}, NOW, "expected timestamp for each of the 2 events"),
        ({"colour": ["red", "blue"]}, NOW, "expected fields item, event, timestamp, price, received 'colour'"),
        ({"item": [7, 8]}, NOW, "expected strings in item, received 7"),
        ({"timestamp": [0.5, 1.5]}, NOW, "expected int64 microseconds .* in timestamp, received 0.5"),
        ({"timestamp": ["2017-01-01", "2017-01-02"]}, NOW, "expected int64 microseconds .* in timestamp, received '2017-01-01'"),
        ({"timestamp": [NOW // 10**6] * 2}, NOW, "received 1512000000, which would be 1970-01-01T00:25:12"),
        ({"timestamp": [NOW * 1000] * 2}, NOW, "not seconds, milliseconds or nanoseconds"),
        ({"timestamp": [NOW, 2**63 - 1]}, NOW, "which would be in no calendar"),
        ({"timestamp": [NOW // 10**6, NOW]}, NOW, "received 1512000000, which would be 1970-01-01T00:25:12"),
        ({"price": ["dear", "cheap"]}, NOW, "expected numbers in price"),
        ({"price": [1.0, float("inf")]}, NOW, "expected price from 0 to 1e\\+15, received inf; send null"),
        ({"price": [1e30, 1.0]}, NOW, "expected price from 0 to 1e\\+15, received 1e\\+30"),
        ({"price": [None, -0.5]}, NOW, "expected price from 0 to 1e\\+15, received -0.5"),
        ({}, None, "expected the moment of the question in 'now', received nothing"),
        ({}, "2017-12-01", "expected int64 microseconds .* in 'now', received '2017-12-01'"),
        ({}, True, "in 'now', received True"),
        ({}, NOW // 1000, "in 'now', received 1512000000000"),
    ],
)
def test_a_request_that_cannot_be_understood_is_refused(encoder: Encoder, change: dict, now: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        encoder.history({**events_at(-2, -1), **change}, now)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "table",
    [{"id": [0, 1, 3], "key": ["", "", "A"]}, {"id": [0, 1], "key": ["", ""]}, {"number": [0]}],
    ids=["a gap in the ids", "too few", "other columns"],
)
def test_a_vocabulary_that_does_not_fit_is_refused(tmp_path: Path, table: dict) -> None:
    artifact = write_toy_artifact(tmp_path / "artifact")
    pq.write_table(pa.table(table), artifact / "vocabulary" / "event.parquet")
    write_contract(artifact)
    with pytest.raises(ArtifactError, match=r"event\.parquet"):
        Encoder(read_contract(artifact))
