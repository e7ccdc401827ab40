"""A run that recommends nothing is exported and answers through ONNX Runtime what torch answers, for everybody, at any moment."""

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_training import composed, make_run

from serving.client import Answer
from serving.contract import Contract, read_contract
from serving.golden import prove
from serving.horizons import at_horizons, read_horizons
from serving.predictor import Predictor
from training.build import Parts
from training.export import export, load_run
from training.golden import edge_cases
from training.objectives.dormancy import Dormancy
from training.objectives.hazard import survival
from training.objectives.presence import Presence
from training.objectives.value import Value
from training.sequences.history import take
from training.showcase import raw_events

TOLERANCE = 1e-4
OUTPUTS = [
    "return_probability", "silence_probability", "return_days", "slipping_away", "visit_probability", "absence_probability",
    "value", "value_low", "value_high", "value_zero_probability",
    "value_purchases", "value_evenness", "value_amount_shape", "value_rate_days", "loyalty",
]  # fmt: skip


@pytest.fixture(scope="module")
def parts(outcomes_run: Path) -> Parts:
    return load_run(outcomes_run)


@pytest.fixture(scope="module")
def contract(outcomes_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Contract:
    return read_contract(export(composed("export", [f"run={outcomes_run}", f"out={tmp_path_factory.mktemp('outcomes') / 'artifact'}"])))


@pytest.fixture(scope="module")
def predictor(contract: Contract) -> Predictor:
    assert [output.served_as for output in contract.outputs] == OUTPUTS
    assert contract.terms.keys() >= {
        "return_horizon_days", "silence_days", "visit_horizon_days", "absence_days", "value_horizon_days", "loyalty_period_days",
    }  # fmt: skip
    predictor = Predictor(contract)
    assert prove(predictor, contract).max_abs_score_difference < TOLERANCE
    return predictor


@pytest.mark.parametrize("share", [0.3, 0.7, 1.1])
def test_every_customer_gets_the_same_outcomes(parts: Parts, predictor: Predictor, share: float) -> None:
    everybody, times = np.arange(parts.store.num_customers), parts.store.columns["timestamp"]
    now = np.full(len(everybody), int(times.min() + share * (times.max() - times.min())))
    with torch.inference_mode():
        expected = parts.model(parts.questions.ask(everybody, now, np.ones(len(everybody), dtype=np.int64)))
    requests = [raw_events(parts, take(parts.store, np.array([position]))) for position in everybody]
    received = predictor.answer([predictor.encoder.history(events, int(now[0])) for events in requests])
    assert list(received) == list(expected) == OUTPUTS
    for name, values in expected.items():
        np.testing.assert_allclose(received[name], values.numpy(), rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)
        assert values.numpy().std() > 0 or name == "value_low"  # 0 for all who may well buy nothing


def test_a_value_that_hears_the_hazard_is_exported_with_it(small_store: Path, tmp_path: Path) -> None:
    parts = load_run(make_run(small_store, tmp_path / "run", "objective=[value,dormancy]", "objectives.value.rate_of=dormancy"))
    artifact = read_contract(export(composed("export", [f"run={tmp_path / 'run'}", f"out={tmp_path / 'artifact'}"])))
    assert prove(Predictor(artifact), artifact).max_abs_score_difference < TOLERANCE
    value = parts.model.objectives["value"]
    assert isinstance(value, Value)
    assert value.heard is not None
    assert value.heard.shared.ne(0).all()  # it was trained, and loaded again


def test_spend_within_any_number_of_days_is_what_torch_says_of_them(parts: Parts, contract: Contract, predictor: Predictor) -> None:
    everybody, now = np.arange(parts.store.num_customers), np.full(parts.store.num_customers, parts.store.columns["timestamp"].max())
    requests = [raw_events(parts, take(parts.store, np.array([position]))) for position in everybody]
    received = predictor.answer([predictor.encoder.history(events, int(now[0])) for events in requests])
    answers = [Answer({name: values[row] for name, values in received.items()}, contract.terms) for row in everybody]
    own = [astuple(answer.value(contract.terms["value_horizon_days"])) for answer in answers]
    outputs = [
        [answer[name] for name in ("value", "value_low", "value_high", "value_zero_probability", "value_purchases")] for answer in answers
    ]
    np.testing.assert_allclose(own, outputs, rtol=TOLERANCE)
    value = parts.model.objectives["value"]
    assert isinstance(value, Value)
    for days in (1.0, 90.0, 3650.0):
        with torch.inference_mode():
            context = parts.model.represent(parts.questions.ask(everybody, now, np.ones_like(everybody)))
            spending = value._over(context, torch.full_like(context.representation[:, :1], days))
            expected = torch.stack([spending.mean, *spending.interval(value.interval), spending.zero, spending.number], 1).numpy()
        np.testing.assert_allclose([astuple(answer.value(days)) for answer in answers], expected, rtol=1e-3, atol=TOLERANCE)


def test_a_requests_own_horizons_are_answered_as_torch_would(parts: Parts, contract: Contract, predictor: Predictor) -> None:
    everybody, now = np.arange(parts.store.num_customers), np.full(parts.store.num_customers, parts.store.columns["timestamp"].max())
    requests = [raw_events(parts, take(parts.store, np.array([position]))) for position in everybody]
    answers = predictor.answer([predictor.encoder.history(events, int(now[0])) for events in requests])
    shorter = {name: share * contract.terms[name] for name, share in (("return_horizon_days", 0.4), ("visit_horizon_days", 0.3))}
    horizons = read_horizons({**shorter, "value_horizon_days": 90}, contract)
    received = [at_horizons(horizons, {name: np.atleast_1d(of[row]) for name, of in answers.items()}, contract.terms) for row in everybody]
    dormancy, presence, value = (parts.model.objectives[name] for name in ("dormancy", "presence", "value"))
    assert isinstance(dormancy, Dormancy)
    assert isinstance(presence, Presence)
    assert isinstance(value, Value)
    with torch.inference_mode():
        context = parts.model.represent(parts.questions.ask(everybody, now, np.ones_like(everybody)))
        days = torch.ones_like(context.representation[:, 0])
        silence = survival(dormancy.log_hazard(context), horizons["return_horizon_days"] * days, dormancy.edges)
        absence = survival(presence.log_hazard(context), horizons["visit_horizon_days"] * days, presence.edges)
        spending = value._over(context, 90 * days[:, None])
    said = [
        Answer({name: of[row] for name, of in answers.items()}, contract.terms).absence(horizons["visit_horizon_days"]) for row in everybody
    ]
    np.testing.assert_allclose(said, absence, rtol=1e-3, atol=TOLERANCE)
    expected = {
        "return_probability": 1 - silence,
        "visit_probability": 1 - absence,
        "value": spending.mean,
        "value_zero_probability": spending.zero,
    }
    for name, values in expected.items():
        np.testing.assert_allclose([answer[name].item() for answer in received], values, rtol=1e-3, atol=TOLERANCE, err_msg=name)
        assert values.std() > 0
        assert np.abs(answers[name] - values.numpy()).max() > 0.01  # nobody mistakes it for the model's own horizon


def test_the_edge_cases_have_outcomes(parts: Parts, predictor: Predictor) -> None:
    for name, events, now in edge_cases(parts):
        answers = predictor.answer([predictor.encoder.history(events, now)])
        assert all(np.isfinite(values).all() for values in answers.values()), name
        assert answers["value_low"][0] <= answers["value_high"][0]
