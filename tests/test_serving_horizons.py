"""A request brings its own horizons: Triton answers for these, in one batch with requests that bring others, none or bad ones."""

import json
import math
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_serving import NOW, random_events, server_environment_or_skip, statistics, write_toy_artifact
from helpers_serving_outcomes import TERMS, outcomes_of, past, write_outcomes_artifact

from serving.client import Answer, Client
from serving.contract import Contract, read_contract
from serving.errors import RequestError
from serving.horizons import at_horizons, open_horizons, read_horizons
from serving.repository import Batching, write_repository
from serving.server import TritonServer
from serving.silence import silence_within
from serving.spending import spend_within

RETURN, VALUE = HORIZONS = ["return_horizon_days", "value_horizon_days"]
CONCERNED = ["return_probability", "value", "value_low", "value_high", "value_zero_probability", "value_purchases"]
BAD_DAYS = [0, -1, 0.0, math.nan, math.inf, 1e7, True, "soon", "90", ""]


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    return read_contract(write_outcomes_artifact(tmp_path_factory.mktemp("horizons") / "artifact"))


@pytest.fixture(scope="module")
def server(contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Serves `outcomes` and `toy`, which knows no horizon but its own."""
    server_environment_or_skip()
    folder = tmp_path_factory.mktemp("serving")
    for artifact in (contract.path, write_toy_artifact(folder / "toy")):
        write_repository(artifact, folder / "repository", batching=Batching(max_queue_delay_us=20_000))
    with TritonServer(folder / "repository", http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.fixture(params=["http", "grpc"])
def client(server: TritonServer, request: pytest.FixtureRequest) -> Iterator[Client]:
    with client_of(server, request.param) as client:
        yield client


def client_of(server: TritonServer, protocol: str, model: str = "outcomes") -> Client:
    return Client(server.http_url if protocol == "http" else server.grpc_url, protocol=protocol, model=model)


def history(num_events: int) -> dict[str, list[Any]]:
    return past(random_events(num_events, seed=num_events))


def expected(num_events: int, **horizons: float) -> dict[str, float]:
    """What is said of so many events at these horizons, the model's own where there is none."""
    told, days = outcomes_of(num_events), {**TERMS, **horizons}
    spend = spend_within(days[VALUE], told, TERMS)
    back = 1 - silence_within(days[RETURN], np.array(told["silence_probability"]), TERMS["silence_days"])
    changed = zip(CONCERNED, [back, spend.expected, spend.low, spend.high, spend.zero_probability, spend.purchases], strict=True)
    return told | dict(changed)


def assert_told(answer: Answer, expected: dict[str, Any]) -> None:
    assert answer.values.keys() == expected.keys()
    assert answer["by_event"] == expected["by_event"]
    for name in expected.keys() - {"by_event"}:
        assert answer[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name


def test_at_the_models_own_horizons_nothing_changes(contract: Contract) -> None:
    answer = {name: np.atleast_1d(np.float32(value)) for name, value in outcomes_of(3).items() if name != "by_event"}
    own = at_horizons({RETURN: 28, VALUE: 28.0}, answer, contract.terms)
    assert list(own) == list(answer)
    for name, values in answer.items():
        np.testing.assert_allclose(own[name], values, rtol=1e-6)
        assert own[name].dtype == values.dtype
    assert all(now is before for now, before in zip(at_horizons({}, answer, contract.terms).values(), answer.values(), strict=True))


@pytest.mark.parametrize("days", BAD_DAYS, ids=repr)
def test_what_is_no_horizon_is_refused(contract: Contract, days: Any) -> None:
    message = f"expected in {VALUE} a number of days above 0, at most 1e+06, received {days!r}; ask about so many"
    with pytest.raises(RequestError, match=re.escape(message)):
        read_horizons({VALUE: days}, contract)


def test_silence_is_known_as_far_as_the_model_tells_it(contract: Contract) -> None:
    assert read_horizons({RETURN: 28, "priority": 3}, contract) == {RETURN: 28}
    with pytest.raises(RequestError, match=f"expected in {RETURN} a number of days above 0, at most 28, received 29; ask"):
        read_horizons({RETURN: 29}, contract)


@pytest.mark.parametrize("name", ["purchase_horizon_days", "horizon_days", "value_horizon"])
def test_a_horizon_that_stays_as_it_is_is_refused(contract: Contract, name: str) -> None:
    with pytest.raises(RequestError, match=f"expected return_horizon_days, value_horizon_days among .*, received {name}; leave it out"):
        read_horizons({name: 90}, contract)


def test_a_model_says_which_horizons_are_open(contract: Contract, tmp_path: Path) -> None:
    assert open_horizons(contract) == HORIZONS
    toy = read_contract(write_toy_artifact(tmp_path / "toy"))
    assert open_horizons(toy) == []
    with pytest.raises(RequestError, match=f"expected no horizon at all among the request's parameters, received {VALUE}; leave it out"):
        read_horizons({VALUE: 90}, toy)


@pytest.mark.parametrize("horizons", [{VALUE: 90}, {VALUE: 0.5, RETURN: 10.5}, {RETURN: 28}, {VALUE: 3650}, {}], ids=str)
def test_triton_answers_for_the_horizons_asked_for(client: Client, horizons: dict[str, float]) -> None:
    answer = client.ask(history(5), NOW, **horizons)
    assert_told(answer, expected(5, **horizons))
    assert answer.terms == {**TERMS, **horizons}
    assert answer.value(365).expected == pytest.approx(expected(5, value_horizon_days=365)["value"], rel=1e-5)
    assert client.ask_many([(history(5), NOW)], **horizons)[0].values.keys() == answer.values.keys()


def test_one_batch_has_many_horizons_and_no_neighbour_of_a_bad_one_notices(server: TritonServer) -> None:
    numbers = [number % 9 for number in range(24)]
    asked: list[dict[str, Any]] = [{VALUE: 1.0 + place} if place % 3 else {} for place in range(24)]
    bad = [{VALUE: -1.0}, {RETURN: 29.0}, {VALUE: math.nan}]

    def ask(question: tuple[int, dict[str, Any]]) -> Answer | str:
        try:
            return grpc.ask(history(question[0]), NOW, **question[1])
        except RequestError as error:
            return str(error)

    before = statistics(server, "outcomes")
    # One gRPC connection carries all threads' requests, so that they reach the batcher together.
    with client_of(server, "grpc") as grpc, ThreadPoolExecutor(32) as threads:
        pairs = zip(zip(numbers, asked, strict=True), ((number, bad[place % 3]) for place, number in enumerate(numbers)), strict=True)
        answers = list(threads.map(ask, [question for pair in pairs for question in pair]))
    assert statistics(server, "outcomes")["executions"] - before["executions"] < len(numbers)
    for answer, number, horizons in zip(answers[::2], numbers, asked, strict=True):
        assert isinstance(answer, Answer)
        assert_told(answer, expected(number, **horizons))
    assert set(answers[1::2]) == {
        f"expected in {VALUE} a number of days above 0, at most 1e+06, received -1.0; ask about so many",
        f"expected in {RETURN} a number of days above 0, at most 28, received 29.0; ask about so many",
        f"expected in {VALUE} a number of days above 0, at most 1e+06, received nan; ask about so many",
    }


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_model_without_them_is_named_before_it_is_asked(server: TritonServer, protocol: str) -> None:
    with (
        client_of(server, protocol, "toy") as client,
        pytest.raises(RequestError, match=f"expected a model that is asked for horizons, received {VALUE} for toy"),
    ):
        client.ask([], NOW, value_horizon_days=90)


def test_callers_in_any_language_are_answered_the_same(server: TritonServer, tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "serving.md").read_text()
    _, request, longer = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (tmp_path / "longer.json").write_text(longer)
    (command,) = re.findall(r"curl .*@longer\.json .*", page)
    command = command.replace("127.0.0.1:8000", server.http_url).replace("complete_journey_outcomes", "outcomes")
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True, check=True)
    told, said = numbers_in(done.stdout.encode()), expected(1, value_horizon_days=365, return_horizon_days=10)
    assert all(told[name] == pytest.approx(said[name], rel=1e-5) for name in CONCERNED)
    without = posted(server, request.encode())
    assert posted(server, {**json.loads(request), "parameters": {"colour": "red"}}) == without
    assert numbers_in(without).keys() == told.keys()
    assert numbers_in(without)["value"] == pytest.approx(expected(1)["value"])


@pytest.mark.parametrize(
    ("model", "parameters", "words"),
    [
        ("outcomes", b'{"value_horizon_days": 0}', "above 0, at most 1e+06, received 0; ask about so many"),
        ("outcomes", b'{"value_horizon_days": "soon"}', "above 0, at most 1e+06, received 'soon'; ask about so many"),
        ("outcomes", b'{"value_horizon_days": NaN}', "above 0, at most 1e+06, received nan; ask about so many"),
        ("outcomes", b'{"value_horizon_days": [30, 90]}', "'value_horizon_days' has invalid type"),  # Triton's own words
        ("outcomes", b'{"horizon_days": 90}', "expected return_horizon_days, value_horizon_days among the request's parameters, received"),
        ("outcomes", b'{"value_horizon_days": "\xff"}', "expected the request's parameters as UTF-8"),
        ("toy", b'{"value_horizon_days": 90}', "expected no horizon at all among the request's parameters, received value_horizon_days"),
    ],
)
def test_a_bad_horizon_is_an_error_in_one_line(server: TritonServer, model: str, parameters: bytes, words: str) -> None:
    inputs = [{"name": name, "shape": [1, 0], "datatype": kind, "data": []} for name, kind in (("item", "BYTES"), ("event", "BYTES"))]
    inputs += [{"name": "timestamp", "shape": [1, 0], "datatype": "INT64", "data": []}]
    inputs += [{"name": "now", "shape": [1, 1], "datatype": "INT64", "data": [NOW]}]
    body = b'{"parameters": %s, "inputs": %s}' % (parameters, json.dumps(inputs).encode())
    with pytest.raises(urllib.error.HTTPError) as caught:
        posted(server, body, model)
    error = json.loads(caught.value.read())["error"]
    assert (caught.value.code, words in error, "\n" in error) == (400, True, False), error


def posted(server: TritonServer, body: bytes | dict[str, Any], model: str = "outcomes") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with urllib.request.urlopen(f"http://{server.http_url}/v2/models/{model}/infer", data=data) as answer:
        return answer.read()


def numbers_in(answer: bytes) -> dict[str, Any]:
    return {output["name"]: output["data"][0] for output in json.loads(answer)["outputs"]}
