"""A run from beginning to end: what it leaves, by any split, for any objectives, from one process or several."""

import json
import math
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers_commands import Commands
from helpers_runs import assert_same_weights, checkpoint, curve, summary
from helpers_training import SMALL, composed, make_run
from omegaconf import OmegaConf

from training import export
from training.build import Parts
from training.evaluation.judging import judge
from training.evaluation.ranking import metric_names
from training.export import load_run
from training.run import run
from training.sequences.store import SequenceStore

RESULTS = ["predictions.parquet", "report.html", "showcase.json", "summary.json"]


def test_a_run_leaves_what_the_design_says(small_run: Path) -> None:
    assert {path.name for path in small_run.iterdir()} == {"config.yaml", "metrics.csv", "checkpoints", "tensorboard", *RESULTS}
    assert {path.name for path in (small_run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert [path.stat().st_size > 0 for path in (small_run / "tensorboard").glob("events.out.tfevents.*")] == [True]


def test_a_checkpoint_tells_how_it_came_about(small_run: Path, small_store: Path) -> None:
    config = OmegaConf.to_container(OmegaConf.load(small_run / "config.yaml"))
    for name in ("best", "last"):
        assert checkpoint(small_run, name)["config"] == config
        assert checkpoint(small_run, name)["store"] == SequenceStore.open(small_store).digest
    assert config["dim"] == 16
    assert config["name"] == "small"


def test_the_curve_has_a_row_an_epoch_and_the_best_checkpoint_is_of_the_best(small_run: Path) -> None:
    rows = curve(small_run)
    assert [row["epoch"] for row in rows] == [0, 1]
    assert {"train/loss", "train/next_item_loss", "train/intent_loss", "train/padding", "validation/quality"} < rows[0].keys()
    assert all(0 <= row["train/padding"] < 1 for row in rows)
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert rows[0]["train/loss"] == pytest.approx(
        rows[0]["train/next_item_loss"] * weight(small_run, "next_item") + rows[0]["train/intent_loss"] * weight(small_run, "intent"),
        rel=1e-5,
    )
    best = max(range(len(rows)), key=lambda epoch: rows[epoch]["validation/quality"])
    assert checkpoint(small_run, "best")["epoch"] == summary(small_run)["best_epoch"] == best
    assert checkpoint(small_run, "last")["epoch"] == 1


def weight(out: Path, objective: str) -> float:
    return OmegaConf.load(out / "config.yaml").objectives[objective].weight


def test_the_summary_holds_the_model_beside_every_baseline(small_run: Path) -> None:
    found = summary(small_run)
    assert list(found["ranking"]) == ["model", "popularity", "buy_again", "item_to_item"]
    assert list(found["intent"]) == ["model", "rfm", "boosted_trees"]
    figures = [of["ndcg@10"] for of in found["ranking"].values()] + [of["hr@10"] for of in found["ranking"].values()]
    figures += [of["auroc"] for of in found["intent"].values()]
    assert all(0 < figure <= 1 for figure in figures)
    assert_intervals_hold_the_figures(found)
    assert found["seconds"]["preprocess"] is not None
    assert 0 < found["seconds"]["train"] < found["seconds"]["total"]
    assert found["customers"]["intent"] == 48
    assert found["decided"] == {"ranking": {"repeat": True, "leave_out_seen": False}}


def assert_intervals_hold_the_figures(found: dict) -> None:
    with_intervals = {"ranking": metric_names(), "intent": ["auroc"]}
    assert found["intervals"].keys() == with_intervals.keys()
    for section, metrics in with_intervals.items():
        for name, figures in found[section].items():
            intervals = found["intervals"][section][name]
            assert intervals.keys() == set(metrics)
            for metric, interval in intervals.items():
                assert interval["value"] == pytest.approx(figures[metric])
                assert interval["low"] <= interval["value"] <= interval["high"]
                assert interval["low"] < interval["high"] or figures[metric] == 1


def test_the_predictions_have_a_row_a_customer_that_agrees_with_the_summary(small_run: Path, small_store: Path) -> None:
    table = pl.read_parquet(small_run / "predictions.parquet")
    assert table["customer"].to_list() == SequenceStore.open(small_store).customers
    for name, metrics in summary(small_run)["ranking"].items():
        assert table[f"ndcg@10_{name}"].drop_nulls().mean() == pytest.approx(metrics["ndcg@10"])
    for name, metrics in summary(small_run)["intent"].items():
        said = table.select(said=f"purchase_probability_{name}", bought=pl.col("bought").cast(pl.Float64)).drop_nulls()
        assert ((said["said"] - said["bought"]) ** 2).mean() == pytest.approx(metrics["brier"])


def test_the_report_opens_from_disk(small_run: Path) -> None:
    page = (small_run / "report.html").read_text()
    referred = re.findall(r"""(?:src|href|url|@import|action)\s*[=(]\s*["']?([^"')\s>]+)""", page)
    assert [target for target in referred if not target.startswith(("#", "data:"))] == []
    assert "<script" not in page
    assert summary(small_run)["verdict"][0].split(" (")[0] in re.search(r"<h1>(.*?)</h1>", page, re.DOTALL)[1]


def test_what_the_log_lacks_is_said(small_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        make_run(small_store, tmp_path / "run", "trainer.max_epochs=1", "categories=[item,event,channel]")
    assert "has no channel, dwell_seconds: the model does without" in caplog.text


# Several processes


TWO = ("trainer=ddp", "trainer.devices=2", "name=two")


def test_two_processes_agree_with_one(commands: Commands, small_store: Path, tmp_path: Path) -> None:
    """The second is a Python of its own, which Lightning starts by the first one's command line."""
    settings = [f"store={small_store}", "data=events", *SMALL, "trainer.max_epochs=3", "customers_per_batch=15"]
    outcome = commands.run("training.run", *settings, *TWO, folder=tmp_path)
    assert outcome.code == 0, outcome.err
    one, two = run(composed("train", [*settings, f"out={tmp_path / 'one'}", "name=one"])), tmp_path / "runs" / "two"
    assert [path.name for path in two.parent.iterdir()] == ["two"]
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    assert outcome.out.count("Report:") == 1
    assert len(list((two / "tensorboard").glob("events*"))) == 1
    assert len(curve(two)) == 3
    for row, other in zip(curve(two), curve(one), strict=True):
        figures = {name: value for name, value in other.items() if name != "train/padding"}  # which is that of each one's own rows
        assert {name: row[name] for name in figures} == pytest.approx(figures, rel=1e-4, abs=1e-5)
    assert_same_weights(checkpoint(two, "last"), checkpoint(one, "last"), rtol=1e-3, atol=1e-4)
    for section in ("ranking", "intent"):
        assert summary(two)[section]["model"] == pytest.approx(summary(one)[section]["model"], rel=1e-4, abs=1e-5)
    ranking = ranking_of_one_process(two)
    assert {metric: summary(two)["ranking"]["model"][metric] for metric in ranking} == pytest.approx(ranking, rel=1e-12)


def ranking_of_one_process(run: Path) -> dict[str, float]:
    """What a run's weights are worth, asked by one process, and in other batches than the run's."""
    parts = load_run(run)
    _, evidence = judge(parts.model, parts.questions, parts.split.test, customers_per_batch=48)
    return parts.model.objectives["next_item"].summarise(evidence["next_item"])


def test_two_processes_learn_from_samples(commands: Commands, small_store: Path, tmp_path: Path) -> None:
    """Gradients that hold some items alone, which not every way of adding them up takes."""
    settings = [f"store={small_store}", "data=events", *SMALL, "objectives.next_item.loss=sampled", "customers_per_batch=15"]
    outcomes = commands.run_by_ranks("training.run", *settings, "trainer.max_epochs=1", *TWO, folder=tmp_path, num_ranks=2)
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes[0].err + outcomes[1].err
    assert [outcome.err.count("MEMBER: 1/2") + outcome.err.count("MEMBER: 2/2") for outcome in outcomes] == [1, 1]
    (row,) = curve(tmp_path / "runs" / "two")
    assert np.isfinite(row["train/next_item_loss"])


# Other splits, fewer objectives


@pytest.fixture(scope="module")
def left_out(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(
        small_store, tmp_path_factory.mktemp("left_out") / "small", "data.split.kind=leave_one_out", "data.next_item_events=[view,purchase]"
    )


def test_leave_one_out_ranks_and_says_why_intent_is_not_judged(left_out: Path) -> None:
    found = summary(left_out)
    assert list(found["ranking"]) == ["model", "popularity", "buy_again", "item_to_item"]
    assert found["customers"] == {"ranking": 48, "intent": 0}
    assert found["intent"] == {}
    assert "right after the last step but one" in (left_out / "report.html").read_text()
    assert found["verdict"][-1].startswith("Whether they come back is not judged: ")
    assert not any("AUROC" in line for line in found["verdict"])


@pytest.fixture
def without_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph doesn't depend on the split; what it is made from does. Those of one objective answer in other tests: next_item's in
    test_experiment_leave_one_out, intent's in test_training_objectives_categories."""

    def write_nothing(parts: Parts, path: Path) -> None:
        assert export._example(parts).offsets[-1] > 0
        path.write_bytes(b"")

    monkeypatch.setattr(export, "write_graph", write_nothing)


@pytest.mark.usefixtures("without_a_graph")
def test_a_run_by_leave_one_out_can_be_exported(left_out: Path, tmp_path: Path) -> None:
    out = export.export(composed("export", [f"run={left_out}", f"out={tmp_path / 'artifact'}"]))
    cases = json.loads((out / "golden.json").read_text())
    assert all(len(case["answer"]["item"]) == 20 for case in cases)


@pytest.mark.usefixtures("without_a_graph")
@pytest.mark.parametrize("objective", ["next_item", "intent"])
def test_one_objective_is_enough(small_store: Path, tmp_path: Path, objective: str) -> None:
    out = make_run(small_store, tmp_path / "run", f"objective=[{objective}]", "trainer.max_epochs=1")
    assert bool(summary(out)["ranking"]) == (objective == "next_item")
    assert bool(summary(out)["intent"]) == (objective == "intent")
    assert len(summary(out)["verdict"]) == 1
    contract = json.loads((export.export(composed("export", [f"run={out}"])) / "contract.json").read_text())
    answers = {"next_item": ["item_id", "item_score"], "intent": ["purchase_probability"]}
    assert [output["name"] for output in contract["outputs"]] == answers[objective]
