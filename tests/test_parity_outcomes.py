"""A run that recommends nothing is exported and answers through ONNX Runtime what torch answers, for everybody, at any moment."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_training import composed

from serving.contract import read_contract
from serving.golden import prove
from serving.predictor import Predictor
from training.build import Parts
from training.export import export, load_run
from training.golden import edge_cases
from training.sequences.history import take
from training.showcase import raw_events

TOLERANCE = 1e-4
OUTPUTS = [
    "return_probability", "silence_probability", "return_days", "slipping_away",
    "value", "value_low", "value_high", "value_zero_probability", "loyalty",
]  # fmt: skip


@pytest.fixture(scope="module")
def parts(outcomes_run: Path) -> Parts:
    return load_run(outcomes_run)


@pytest.fixture(scope="module")
def predictor(outcomes_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    artifact = export(composed("export", [f"run={outcomes_run}", f"out={tmp_path_factory.mktemp('outcomes') / 'artifact'}"]))
    contract = read_contract(artifact)
    assert [output.served_as for output in contract.outputs] == OUTPUTS
    assert contract.terms.keys() >= {"return_horizon_days", "silence_days", "value_horizon_days", "loyalty_period_days"}
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


def test_the_edge_cases_have_outcomes(parts: Parts, predictor: Predictor) -> None:
    for name, events, now in edge_cases(parts):
        answers = predictor.answer([predictor.encoder.history(events, now)])
        assert all(np.isfinite(values).all() for values in answers.values()), name
        assert answers["value_low"][0] <= answers["value_high"][0]
