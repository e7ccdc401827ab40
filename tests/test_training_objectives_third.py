"""A new objective is one class and one config: it is trained, judged, reported, exported and answered without a word about it elsewhere."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from helpers_training import composed, make_run
from torch import Tensor, nn
from torch.nn import functional as F

from serving.contract import read_contract
from serving.golden import prove
from serving.predictor import Predictor
from training.errors import ConfigError
from training.export import export
from training.models.facts import Facts
from training.objectives.objective import Context, Objective, Output
from training.sequences.future import Future
from training.sequences.history import History
from training.sequences.split import DAY
from training.settings import Count, NotNegative


class DaysAway(Objective):
    """In how many days will the customer do anything at all; and by what kind of event, of which it always says the first."""

    headline = "closeness"

    def __init__(self, *, dim: Count, weight: NotNegative, facts: Facts) -> None:
        super().__init__()
        self.weight = weight
        self.kinds = np.array(sorted(facts.events.values()))
        self.head = nn.Linear(dim, 1)

    @property
    def outputs(self) -> list[Output]:
        return [Output("days_away", "float32", "days"), Output("by_event_id", "int64", "id", (1,), vocabulary="event")]

    def labels(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> dict[str, np.ndarray]:
        future = Future.after(known, kinds=self.kinds, now=now, owner=owner, until=until)
        return {"days": np.where(future.found, (future.time_of_first() - now) / DAY, np.nan).astype(np.float32)}

    def loss(self, context: Context, labels: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        came = ~labels["days"].isnan()
        return (self._days(context) - labels["days"])[came].abs().sum(), came.sum()

    def judge(self, context: Context, labels: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        return {"error": (self._days(context) - labels["days"]).abs().cpu().numpy()}

    def summarise(self, evidence: dict[str, np.ndarray]) -> dict[str, float]:
        return {"closeness": float(1 / (1 + np.nanmean(evidence["error"])))}

    def predict(self, context: Context) -> dict[str, Tensor]:
        days = self._days(context)
        return {"days_away": days, "by_event_id": torch.full_like(days[:, None], 2, dtype=torch.int64)}

    def _days(self, context: Context) -> Tensor:
        return F.softplus(self.head(context.representation)[:, 0])


THIRD = [f"+objectives.days_away._target_={__name__}.DaysAway", "+objectives.days_away.dim=${dim}", "+objectives.days_away.weight=0.1"]


@pytest.fixture(scope="module")
def run(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(small_store, tmp_path_factory.mktemp("third") / "run", *THIRD, "dim=8", "trainer.max_epochs=1")


@pytest.fixture(scope="module")
def artifact(run: Path) -> Path:
    return export(composed("export", [f"run={run}", "golden_customers=4"]))


def test_it_is_trained_judged_and_reported(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert list(summary["test"]["days_away"]) == ["model"]
    assert 0 < summary["test"]["days_away"]["model"]["closeness"] < 1
    assert 0 < summary["customers"]["days_away"] <= 48
    assert list(summary["ranking"]) == ["model", "popularity", "buy_again", "item_to_item"]
    assert "train/days_away_loss" in (run / "metrics.csv").read_text().splitlines()[0]
    page = (run / "report.html").read_text()
    assert "<h2>DaysAway</h2>" in page
    assert f"{summary['test']['days_away']['model']['closeness']:.4f}" in page


def test_the_contract_tells_what_it_answers(artifact: Path) -> None:
    outputs = json.loads((artifact / "contract.json").read_text())["outputs"]
    assert [output["name"] for output in outputs] == ["item_id", "item_score", "purchase_probability", "days_away", "by_event_id"]
    assert outputs[3:] == [
        {"name": "days_away", "dtype": "float32", "shape": ["batch"], "unit": "days"},
        {"name": "by_event_id", "dtype": "int64", "shape": ["batch", 1], "unit": "id", "vocabulary": "event"},
    ]


def test_the_graph_answers_as_was_recorded(artifact: Path) -> None:
    contract, cases = read_contract(artifact), json.loads((artifact / "golden.json").read_text())
    predictor = Predictor(contract)
    assert prove(predictor, contract).cases == len(cases)
    session = onnxruntime.InferenceSession(artifact / contract.model)
    histories = [predictor.encoder.history(case["events"], case["now"]) for case in cases]
    days, events = session.run(["days_away", "by_event_id"], predictor.encoder.batch(histories))
    np.testing.assert_allclose(days, [case["answer"]["days_away"] for case in cases], rtol=0, atol=contract.tolerance)
    assert days.std() > 0
    assert events.tolist() == [[2]] * len(cases)
    assert {tuple(case["answer"]["by_event"]) for case in cases} == {("purchase",)}


def test_two_objectives_with_the_same_answer_are_refused(small_store: Path, tmp_path: Path) -> None:
    second = [entry.replace("days_away", "second") for entry in THIRD]
    with pytest.raises(ConfigError, match=r"expected each answer from one objective, received by_event_id, days_away from several"):
        make_run(small_store, tmp_path / "run", *THIRD, *second)
    assert not (tmp_path / "run").exists()
