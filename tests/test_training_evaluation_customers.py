"""A run with every outcome: the model beside what a team has, in the summary, the predictions and the report; calibrated, refitted."""

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch
from helpers_training import composed, make_run

from serving.contract import read_contract
from serving.predictor import Predictor
from training.evaluation.bootstrap import concordance, rank_correlation
from training.evaluation.figures import time_figures, value_figures
from training.evaluation.outcome_plots import kaplan_meier, lifts
from training.evaluation.outcomes import outcome_metrics
from training.export import export

BASELINES = {"rfm", "member_value", "bg_nbd", "pareto_nbd", "cox", "boosted_trees"}
ALL = [
    "objective=[next_item,intent,dormancy,presence,value,loyalty]",
    "visit_events=[view,purchase]",
    "objectives.presence.horizon_days=20",
]


@pytest.fixture(scope="module")
def run(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(small_store, tmp_path_factory.mktemp("outcomes") / "run", *ALL, "refit=true", "objectives.loyalty.periods=2")


@pytest.fixture(scope="module")
def test(run: Path) -> dict:
    """Section by section; the model's ranking figures stand beside the sections once more."""
    return {section: of for section, of in json.loads((run / "summary.json").read_text())["test"].items() if isinstance(of, dict)}


def test_every_outcome_stands_beside_its_baselines(test: dict) -> None:
    assert list(test) == ["ranking", "intent", "returns", "time", "presence", "value", "loyalty"]
    for section in ("returns", "presence"):
        assert set(test[section]) == {"model", *BASELINES}
        assert set(test[section]["model"]) == {"auroc", "average_precision", "calibration_error"}
    assert set(test["value"]["model"]) == {"mae", "aggregate_error", "r", "spearman", "normalised_gini", "decile_mape"}
    assert set(test["time"]["model"]) == {"concordance"}
    assert "cox" not in test["value"]


def test_the_figures_are_those_of_the_predictions(run: Path, test: dict) -> None:
    table = pl.read_parquet(run / "predictions.parquet")
    spend = table["spend"].to_numpy()
    for name, figures in test["value"].items():
        assert value_figures(spend, table[f"value_{name}"].to_numpy())["mae"] == pytest.approx(figures["mae"])
    seen = table["seen_again"].to_numpy() > 0
    assert (seen >= (table["came_back"].to_numpy() > 0)).all(), "who buys is seen"
    assert (table["visit_probability_model_20_days"] > table["visit_probability_model"]).all()
    assert not np.allclose(table["visit_probability_rfm"], table["return_probability_rfm"]), "asked of visits"
    for name, figures in test["presence"].items():
        assert outcome_metrics(seen, table[f"visit_probability_{name}"].to_numpy())["auroc"] == pytest.approx(figures["auroc"])
    came, days = table["came_back"].to_numpy(), table["days"].to_numpy()
    for name, figures in test["time"].items():
        assert time_figures(days, came, table[f"expected_days_{name}"].to_numpy()) == pytest.approx(figures)


def test_the_report_shows_them(run: Path) -> None:
    page = (run / "report.html").read_text()
    for title in (
        "Whether and when they buy again",
        "Who comes first",
        "Whether they are seen again",
        "What they will spend",
        "Who stays",
        "How long they stay away",
    ):
        assert title in page
    assert "trained anew on all time before the test" in page
    summary = json.loads((run / "summary.json").read_text())
    assert summary["verdict"][0].split(" (")[0] in re.search(r"<h1>(.*?)</h1>", page, re.DOTALL)[1]
    for metric in ("AUROC", "Spearman", "Concordance"):
        assert any(metric in sentence for sentence in summary["verdict"])


def test_a_refit_answers_and_the_chosen_checkpoint_is_kept(run: Path) -> None:
    best, refit = (torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "refit"))
    assert best["epoch"] == refit["epoch"]
    assert best["state_dict"].keys() == refit["state_dict"].keys()
    scale, weight = (f"model.objectives.dormancy.{name}" for name in ("calibration.scale", "head.from_rhythm.1.weight"))
    assert best["state_dict"][scale] == refit["state_dict"][scale] == 1  # neither: one is judged by nobody, one has seen all windows
    assert not torch.equal(best["state_dict"][weight], refit["state_dict"][weight])


def test_the_artifact_answers_every_outcome(run: Path) -> None:
    contract = read_contract(export(composed("export", [f"run={run}", "golden_customers=4"])))
    cases, predictor = json.loads((contract.path / "golden.json").read_text()), Predictor(contract)
    session = onnxruntime.InferenceSession(contract.path / contract.model)
    histories = [predictor.encoder.history(case["events"], case["now"]) for case in cases]
    names = ["return_probability", "silence_probability", "slipping_away", "visit_probability", "absence_probability"]
    names += ["value", "value_low", "value_high", "loyalty"]
    for name, answers in zip(names, session.run(names, predictor.encoder.batch(histories)), strict=True):
        np.testing.assert_allclose(answers, [case["answer"][name] for case in cases], rtol=1e-4, atol=1e-4, err_msg=name)
    terms = json.loads((contract.path / "contract.json").read_text())
    assert terms["return_horizon_days"] == terms["silence_days"][-1] == 14
    assert terms["visit_horizon_days"] == terms["absence_days"][-1] == 20


def test_statistics_of_a_contest_are_the_figures() -> None:
    random = np.random.default_rng(0)
    days, came = random.integers(0, 30, 300).astype(float), random.random(300) < 0.6
    expected, spend = days + random.normal(0, 20, 300).round(), random.exponential(9, 300) * came
    assert concordance(days, came, expected).value == pytest.approx(time_figures(days, came, expected)["concordance"])
    assert rank_correlation(spend, expected).value == pytest.approx(value_figures(spend, expected)["spearman"])


def test_concordance_of_resamples_is_that_of_the_resample() -> None:
    """To the first order: over many customers the difference is small beside its spread."""
    random = np.random.default_rng(1)
    days, came = random.exponential(20, 800), random.random(800) < 0.5
    expected = days + random.normal(0, 15, 800)
    statistic = concordance(days, came, expected)
    for _ in range(3):
        drawn = random.integers(0, 800, 800)
        exact = time_figures(days[drawn], came[drawn], expected[drawn])["concordance"]
        ours = statistic.of_draw(np.bincount(drawn, minlength=800)[None].astype(float))[0]
        assert ours == pytest.approx(exact, abs=0.004)


def test_kaplan_meier_of_a_textbook() -> None:
    times, share = kaplan_meier(np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([True, True, False, True, False]))
    assert times.tolist() == [0, 1, 2, 3, 4]
    assert share.tolist() == pytest.approx([1, 0.8, 0.6, 0.3, 0.3])


def test_lift_is_how_much_oftener_a_tenth_came_than_all() -> None:
    expected, came = np.arange(100.0), np.arange(100) >= 85  # the last fifteen come
    np.testing.assert_allclose(lifts(came, expected), [10 / 1.5, 5 / 1.5, *[0] * 8])
    np.testing.assert_allclose(lifts(came, np.ones(100)).sum(), 1)  # equal expectations share a tenth
