"""A model that recommends nothing is served all the same: what its contract declares goes through the graph, Triton and the client."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_serving import MAX_EVENTS, NOW, random_events, server_environment_or_skip, write_toy_artifact
from helpers_serving_outcomes import (
    BOUNDS,
    OUTPUTS,
    SILENCE_DAYS,
    SPENDING,
    TERMS,
    outcome_cases,
    outcomes_of,
    past,
    write_outcomes_artifact,
)

from serving.client import Answer, Client, as_document
from serving.contract import read_contract
from serving.errors import ArtifactError, ParityError, RequestError
from serving.golden import prove
from serving.predictor import Predictor
from serving.repository import write_repository
from serving.server import TritonServer


def test_every_output_is_answered_by_its_name(tmp_path: Path) -> None:
    predictor = Predictor(read_contract(write_outcomes_artifact(tmp_path / "artifact")))
    answers = predictor.answer([predictor.encoder.history(past(random_events(number, seed=number)), NOW) for number in (0, 3, 20)])
    assert list(answers) == [output["name"].removesuffix("_id") for output in OUTPUTS]
    assert answers["num_events"].tolist() == [0, 3, MAX_EVENTS]
    assert answers["by_event"].tolist() == [b"purchase"] * 3
    np.testing.assert_allclose(
        answers["silence_probability"], [outcomes_of(n)["silence_probability"] for n in (0, 3, MAX_EVENTS)], rtol=1e-6
    )


def test_a_repository_declares_every_output_and_what_it_means(tmp_path: Path) -> None:
    model = write_repository(write_outcomes_artifact(tmp_path / "artifact"), tmp_path / "repository")
    config = (model / "config.pbtxt").read_text()
    declared = re.findall(r'name: "(\w+)" data_type: (\w+) dims: \[ (\d+) \]', config.partition("output [")[2])
    assert declared == [
        ("return_probability", "TYPE_FP32", "1"),
        ("silence_probability", "TYPE_FP32", "2"),
        *((name, "TYPE_FP32", "1") for name in ("value", *BOUNDS, "value_purchases", *SPENDING)),
        ("num_events", "TYPE_INT64", "1"),
        ("by_event", "TYPE_STRING", "1"),
    ]
    assert 'key: "silence_days" value: { string_value: "[7.0, 28.0]" }' in config


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({"value": 0.5}, True),  # of 26,667: float32 can't hold them closer together than 0.002
        ({"value": 5.0}, False),
        ({"num_events": 1}, False),
        ({"silence_probability": np.array([0.0, 2e-4])}, False),
        ({"silence_probability": np.array([0.0, 5e-5])}, True),
    ],
)
def test_amounts_are_compared_in_proportion_and_probabilities_as_they_are(tmp_path: Path, change: dict[str, Any], accepted: bool) -> None:
    cases = outcome_cases()
    for name, difference in change.items():
        cases[1]["answer"][name] = (np.array(cases[1]["answer"][name]) + difference).tolist()
    contract = read_contract(write_outcomes_artifact(tmp_path / "artifact", cases=cases))
    if accepted:
        assert 0 < prove(Predictor(contract), contract).max_abs_score_difference < 1e-4
    else:
        with pytest.raises(ParityError, match=f"expected the recorded {next(iter(change))} of golden case 'long' within 0.0001"):
            prove(Predictor(contract), contract)


def test_another_key_is_refused(tmp_path: Path) -> None:
    cases = outcome_cases()
    cases[0]["answer"]["by_event"] = "view"
    contract = read_contract(write_outcomes_artifact(tmp_path / "artifact", cases=cases))
    with pytest.raises(ParityError, match="expected the recorded by_event of golden case 'no history', received others"):
        prove(Predictor(contract), contract)


def test_a_graph_without_a_declared_output_is_refused(tmp_path: Path) -> None:
    artifact = write_toy_artifact(tmp_path / "artifact")
    document = json.loads((artifact / "contract.json").read_text())
    document["outputs"].append({"name": "value", "dtype": "float32", "shape": ["batch"], "unit": ""})
    (artifact / "contract.json").write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="expected a graph that answers value, received"):
        Predictor(read_contract(artifact))


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_caller_receives_everything_by_name(tmp_path: Path, protocol: str, capsys: pytest.CaptureFixture[str]) -> None:
    server_environment_or_skip()
    write_repository(write_outcomes_artifact(tmp_path / "artifact"), tmp_path / "repository")
    with TritonServer(tmp_path / "repository", http_port=0, grpc_port=0, metrics_port=0) as server:
        url = server.http_url if protocol == "http" else server.grpc_url
        with Client(url, protocol=protocol) as client:
            answer = client.ask(past(random_events(3, seed=3)), NOW)
        page = (Path(__file__).parents[1] / "docs" / "serving.md").read_text()
        (example,) = (snippet for snippet in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "silence" in snippet)
        exec(example.replace('Client("127.0.0.1:8000")', f"Client({url!r}, protocol={protocol!r})"), {})
    printed, expected = capsys.readouterr().out, outcomes_of(3)
    assert f"will spend {outcomes_of(1)['value']:.2f} within 28 days" in printed
    assert f"within a year {Answer(outcomes_of(1), TERMS).value(365).expected:.2f} (0.00 to " in printed
    assert list(answer.values) == list(expected)
    assert answer["value"] == pytest.approx(expected["value"]) == answer.value(28).expected
    assert (answer["num_events"], answer["by_event"]) == (3, "purchase")
    assert answer["silence_probability"].tolist() == pytest.approx(expected["silence_probability"])
    assert answer.terms == TERMS
    assert json.loads(json.dumps(as_document(answer))).keys() == expected.keys()
    with pytest.raises(
        RequestError, match="expected a model that answers item, received one that answers return_probability, silence_prob"
    ):
        _ = answer.items


def test_silence_has_a_probability_for_any_number_of_days() -> None:
    """Hazards of 0.1 a day for a week, then of 0.02."""
    told = np.array([math.exp(-0.7), math.exp(-0.7 - 0.42)], dtype=np.float32)
    answer = Answer(
        {"silence_probability": told, "absence_probability": told**2}, {"silence_days": SILENCE_DAYS, "absence_days": SILENCE_DAYS}
    )
    for days, expected in ((0, 1.0), (3, math.exp(-0.3)), (7, math.exp(-0.7)), (10, math.exp(-0.76)), (28, told[1])):
        assert answer.silence(days) == pytest.approx(expected, rel=1e-5)
        assert answer.absence(days) == pytest.approx(expected**2, rel=1e-5)
    with pytest.raises(RequestError, match="expected from 0 to 28 days, received 29"):
        answer.silence(29)
