"""A real Triton serves the toy artifact: values, batching, neighbours of a bad request, and nothing left behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
from helpers_serving import (
    DAY,
    NOW,
    TOP_K,
    expected_answer,
    processes_about,
    random_events,
    server_environment_or_skip,
    statistics,
    write_toy_artifact,
)
from tritonclient.utils import InferenceServerException

from serving import client as client_command
from serving.client import Answer, Client
from serving.errors import RequestError, ServerError
from serving.repository import Batching, write_repository
from serving.server import TritonServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    server_environment_or_skip()
    folder = tmp_path_factory.mktemp("serving")
    artifact = write_toy_artifact(folder / "artifact")
    write_repository(artifact, folder / "repository", batching=Batching(max_queue_delay_us=20_000))
    with TritonServer(folder / "repository", http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.fixture(params=["http", "grpc"])
def client(server: TritonServer, request: pytest.FixtureRequest) -> Iterator[Client]:
    with Client(server.http_url if request.param == "http" else server.grpc_url, protocol=request.param) as client:
        yield client


def assert_equal(answer: Answer, expected: dict) -> None:
    assert list(answer.items) == expected["item"]
    np.testing.assert_allclose(answer.scores, expected["item_score"], atol=1e-5)
    np.testing.assert_allclose(answer.purchase_probability, expected["purchase_probability"], atol=1e-6)


@pytest.mark.parametrize("num_events", [0, 1, 7, 8, 9, 60])
def test_triton_gives_the_answers_of_plain_python(client: Client, num_events: int) -> None:
    events = random_events(num_events, seed=num_events)
    assert_equal(client.ask(events, NOW), expected_answer(events, NOW))


def test_no_events_in_any_form_are_an_empty_history(client: Client) -> None:
    for nothing in ({}, [], {"item": [], "event": [], "timestamp": []}):
        assert_equal(client.ask(nothing, NOW), expected_answer(random_events(0, seed=0), NOW))


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_requests_of_different_lengths_run_as_one_batch(server: TritonServer, protocol: str) -> None:
    questions = [random_events(num_events, seed=num_events) for num_events in range(60)]
    before = statistics(server)
    with Client(url(server, protocol), protocol=protocol) as client:
        answers = client.ask_many([(events, NOW) for events in questions])
    for answer, events in zip(answers, questions, strict=True):
        assert_equal(answer, expected_answer(events, NOW))
    after = statistics(server)
    assert after["inferences"] - before["inferences"] == len(questions)
    assert after["executions"] - before["executions"] < len(questions)


def test_http_and_grpc_give_the_same_bits(server: TritonServer) -> None:
    events = random_events(30, seed=30)
    with Client(server.http_url) as http, Client(server.grpc_url, protocol="grpc") as grpc:
        over_http, over_grpc = http.ask(events, NOW), grpc.ask(events, NOW)
    assert over_http.items == over_grpc.items
    assert over_http.scores.tobytes() == over_grpc.scores.tobytes()
    assert over_http.purchase_probability == over_grpc.purchase_probability


def test_events_are_taken_by_column_or_one_by_one_and_times_in_every_form(client: Client) -> None:
    by_column = {"item": ["item 1", "item 2"], "event": ["view", "purchase"], "timestamp": [NOW - DAY, NOW], "price": [None, 1.5]}
    one_by_one = [
        {"item": "item 1", "event": "view", "timestamp": np.datetime64(NOW - DAY, "us")},
        {"item": "item 2", "event": "purchase", "timestamp": "2017-11-30T01:00:00+01:00", "price": 1.5},
    ]
    for events, now in ((by_column, NOW), (one_by_one, "2017-11-30")):
        assert_equal(client.ask(events, now), expected_answer(by_column, NOW))


def test_top_k_keeps_the_best(client: Client) -> None:
    events = random_events(5, seed=5)
    assert client.ask(events, NOW, top_k=2).items == tuple(expected_answer(events, NOW)["item"][:2])


def test_a_bad_request_is_refused_alone(server: TritonServer) -> None:
    good = [random_events(num_events, seed=num_events) for num_events in range(1, 17)]
    bad = {**good[8], "price": [1.0]}
    before = statistics(server)

    def ask(events: dict) -> Answer | str:
        try:
            return grpc.ask(events, NOW)
        except RequestError as error:
            return str(error)

    # One gRPC connection carries all threads' requests, so that they reach the batcher together.
    with Client(server.grpc_url, protocol="grpc") as grpc, ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(ask, [events for events in good for events in (events, bad)]))
    assert statistics(server)["executions"] - before["executions"] < len(good)
    assert set(answers[1::2]) == {
        "expected every field to hold the same number of events, received item 9, event 9, timestamp 9, price 1; send one value an event"
    }
    for answer, events in zip(answers[::2], good, strict=True):
        assert isinstance(answer, Answer)
        assert_equal(answer, expected_answer(events, NOW))


@pytest.mark.parametrize(
    ("events", "now", "words"),
    [
        ({"colour": ["red"]}, NOW, "expected fields item, event, timestamp, price, received colour"),
        ({"item": ["item 1"], "event": ["view"]}, NOW, "expected timestamp for each of the 1 events"),
        ({"item": ["item 1"], "event": ["view"], "timestamp": ["yesterday"]}, NOW, "expected a time such as 2017-12-01"),
        ({"item": ["item 1"], "event": ["view"], "timestamp": [NOW], "price": ["dear"]}, NOW, "expected numbers in price"),
        ({"item": ["item 1"], "event": ["view"], "timestamp": [NOW // 10**6]}, NOW, "send microseconds, not seconds"),
        ({}, NOW // 1000, "send microseconds, not seconds"),
        ({}, None, "expected a datetime"),
    ],
)
def test_a_request_that_cannot_be_understood_is_an_error_in_one_line(client: Client, events: dict, now: int, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        client.ask(events, now)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_customers_in_one_request_are_refused(server: TritonServer) -> None:
    inputs = []
    for name, wire_type, values in (
        ("item", "BYTES", ["a", "b"]),
        ("event", "BYTES", ["view"] * 2),
        ("timestamp", "INT64", [NOW] * 2),
        ("now", "INT64", [NOW] * 2),
    ):
        array = np.array(values, dtype=object if wire_type == "BYTES" else np.int64).reshape(2, 1)
        tensor = tritonclient.grpc.InferInput(name, array.shape, wire_type)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    connection = tritonclient.grpc.InferenceServerClient(server.grpc_url)
    with pytest.raises(InferenceServerException, match=r"expected shape \[1, N\] in item, received \[2, 1\]"):
        connection.infer("toy", inputs)
    connection.close()


def test_a_model_that_is_not_served_is_named(server: TritonServer) -> None:
    for protocol in ("http", "grpc"):
        with pytest.raises(RequestError, match="other"):
            Client(url(server, protocol), protocol=protocol, model="other")


def test_nobody_answers(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for protocol in ("http", "grpc"):
            with pytest.raises(ServerError, match=address):
                Client(address, protocol=protocol, timeout_s=5)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", ":8000", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match=r"expected host:port, received .*; for example 127\.0\.0\.1:8000"):
        Client(address)


def test_the_command_prints_the_answer_as_json(server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = random_events(6, seed=6)
    (tmp_path / "events.json").write_text(json.dumps(events))
    client_command.main(["--url", server.http_url, "--events", str(tmp_path / "events.json"), "--now", str(NOW), "--top-k", "3"])
    printed, expected = json.loads(capsys.readouterr().out), expected_answer(events, NOW)
    assert [entry["item"] for entry in printed["items"]] == expected["item"][:3]
    assert printed["purchase_probability"] == pytest.approx(expected["purchase_probability"], abs=1e-6)


def test_the_pages_examples_run(server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "serving.md").read_text()
    page = page.replace("127.0.0.1:8000", server.http_url).replace("127.0.0.1:8001", server.grpc_url).replace(', "quantity": 2', "")
    page = page.replace(', "quantity": 1', "").replace("top_k=5", "top_k=2")
    for snippet in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        if "silence" not in snippet:  # that is asked of another model, in test_serving_outcomes.py
            exec(snippet, {})
    assert "buys again within the horizon: " in capsys.readouterr().out
    events, request, _ = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (tmp_path / "history.json").write_text(events)
    client_command.main(["--url", server.http_url, "--events", str(tmp_path / "history.json"), "--now", "2017-12-01"])
    assert len(json.loads(capsys.readouterr().out)["items"]) == TOP_K
    with urllib.request.urlopen(f"http://{server.http_url}/v2/models/toy/infer", data=request.encode()) as answer:
        outputs = {output["name"]: output["data"] for output in json.load(answer)["outputs"]}
    expected = expected_answer({"item": ["1082185"], "event": ["purchase"], "timestamp": [1511197500000000]}, 1512086400000000)
    assert outputs["item"] == expected["item"]
    np.testing.assert_allclose(outputs["purchase_probability"], expected["purchase_probability"], atol=1e-6)


def test_the_metrics_count_requests_and_batches(server: TritonServer) -> None:
    with urllib.request.urlopen(server.metrics_url) as page:
        metrics = page.read().decode()
    for name in ("nv_inference_request_success", "nv_inference_exec_count", "nv_inference_queue_duration_us"):
        assert f'{name}{{model="toy"' in metrics


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_command_stops_and_leaves_nothing_behind(tmp_path: Path, stop: signal.Signals) -> None:
    server_environment_or_skip()
    repository = write_repository(write_toy_artifact(tmp_path / "artifact"), tmp_path / "repository").parent
    files_before = sorted(repository.rglob("*"))
    (tmp_path / "temporary").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "serving.server", "--repository", repository, "--http-port=0", "--grpc-port=0", "--metrics-port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests run in the background ignore Ctrl-C, and hand that on
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Triton 2.")
    assert len(processes_about(repository)) == 3  # the command, the server and its one stub
    assert regions_of(process.pid)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert processes_about(repository) == []
    assert regions_of(process.pid) == []
    assert list((tmp_path / "temporary").iterdir()) == []
    assert sorted(repository.rglob("*")) == files_before


def test_a_model_that_does_not_load_ends_with_its_reason_and_nothing_left(tmp_path: Path) -> None:
    server_environment_or_skip()
    model = write_repository(write_toy_artifact(tmp_path / "artifact"), tmp_path / "repository")
    (model / "1" / "artifact" / "golden.json").write_text("[]")
    regions_before = regions_of(os.getpid())
    with (
        pytest.raises(ServerError, match="received a changed file") as caught,
        TritonServer(model.parent, http_port=0, grpc_port=0, metrics_port=0),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert processes_about(model.parent) == []
    assert regions_of(os.getpid()) == regions_before


def url(server: TritonServer, protocol: str) -> str:
    return server.http_url if protocol == "http" else server.grpc_url


def regions_of(process_id: int) -> list[Path]:
    """Shared memory of the servers that a process started."""
    return list(Path("/dev/shm").glob(f"revisit-{process_id}-*"))
