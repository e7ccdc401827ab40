"""A run from beginning to end: what it leaves, and that it leaves the same after an interruption or from several processes."""

import csv
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import polars as pl
import pytest
import pytorch_lightning as lightning
import torch
from helpers_training import SMALL, composed, make_run, make_store, shop_rows, train_config
from hydra.errors import HydraException
from omegaconf import OmegaConf

from training import export, results
from training import run as running
from training.cli import one_line
from training.errors import ConfigError, DeviceError, RevisitError, StoreError
from training.files import sha256, write_json
from training.objectives.next_item import NextItem
from training.run import run
from training.sequences.split import DAY
from training.sequences.store import SequenceStore

WITH_DROPOUT = ("dropout=0.3", "average_weights=0.5", "trainer.max_epochs=4", "patience=9")
RESULTS = ["predictions.parquet", "report.html", "showcase.json", "summary.json"]


def curve(out: Path) -> list[dict[str, float]]:
    with (out / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def summary(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


def checkpoint(out: Path, name: str) -> dict:
    return torch.load(out / "checkpoints" / f"{name}.ckpt", weights_only=True)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same_weights(one: dict, other: dict, **tolerance: float) -> None:
    assert one["state_dict"].keys() == other["state_dict"].keys()
    for name, weight in one["state_dict"].items():
        torch.testing.assert_close(weight, other["state_dict"][name], **(tolerance or {"rtol": 0, "atol": 0}), msg=name)


# What a run leaves


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
    assert {"train/loss", "train/next_item_loss", "train/intent_loss", "validation/quality"} < rows[0].keys()
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
    assert found["seconds"]["preprocess"] is not None
    assert found["seconds"]["train"] > 0
    assert found["customers"]["intent"] == 48


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


def test_a_model_that_loses_says_so_first(untrained: Path) -> None:
    assert summary(untrained)["ranking"]["model"]["ndcg@10"] < summary(untrained)["ranking"]["buy_again"]["ndcg@10"]
    headline = re.search(r"<h1>(.*?)</h1>", (untrained / "report.html").read_text(), re.DOTALL)[1]
    assert headline.startswith("The model loses on NDCG@10 to ")
    assert summary(untrained)["verdict"][0].startswith("The model loses on NDCG@10 to ")


# Stopping and going on


class PowerCutError(Exception):
    """What ends a run without a word of warning."""


class Cut(lightning.Callback):
    """Raises an exception in a batch of an epoch."""

    def __init__(self, epoch: int, batch: int, reason: type[BaseException]) -> None:
        self.place, self.reason = (epoch, batch), reason

    def on_train_batch_end(self, trainer: lightning.Trainer, _module: object, _outputs: object, _batch: object, index: int) -> None:
        if (trainer.current_epoch, index) == self.place:
            raise self.reason


def cut_training(monkeypatch: pytest.MonkeyPatch, *, epoch: int, batch: int, reason: type[BaseException] = PowerCutError) -> None:
    make_trainer = running.make_trainer
    cut = Cut(epoch, batch, reason)
    monkeypatch.setattr(
        running, "make_trainer", lambda config, callbacks, **rest: make_trainer(config, callbacks=[*callbacks, cut], **rest)
    )


def cut_results(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object, **__: object) -> None:
        raise PowerCutError

    monkeypatch.setattr(results, "write_run_report", cut)


@pytest.fixture(scope="module")
def uninterrupted(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(train_config(small_store, tmp_path_factory.mktemp("whole") / "small", *WITH_DROPOUT))


@pytest.fixture(scope="module")
def untrained(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that can't get better, since it learns and copies nothing; interrupted after it had stopped early, then gone on with."""
    still = ("optimiser.learning_rate=0", "objectives.next_item.repeat=false", "patience=1", "trainer.max_epochs=9")
    config = train_config(small_store, tmp_path_factory.mktemp("still") / "small", *still)
    with pytest.MonkeyPatch.context() as patch:
        cut_results(patch)
        with pytest.raises(PowerCutError):
            run(config)
    return run(config)


LONG = 100_000.0


def began_long_ago(elapsed: running.Elapsed) -> None:
    elapsed.earlier, elapsed.began = LONG, time.perf_counter()


@pytest.mark.parametrize("where", ["in the first epoch", "by the user in a later epoch", "while results are written"])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    small_store: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    config = train_config(small_store, tmp_path / "small", *WITH_DROPOUT)
    with monkeypatch.context() as patch:
        patch.setattr(running.Elapsed, "__init__", began_long_ago)
        if where == "while results are written":
            cut_results(patch)
        elif where == "in the first epoch":
            cut_training(patch, epoch=0, batch=1)
        else:
            cut_training(patch, epoch=2, batch=1, reason=KeyboardInterrupt)
        with pytest.raises((PowerCutError, SystemExit)):
            run(config)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning ignores a second Ctrl-C from then on
    assert not (tmp_path / "small" / "summary.json").exists()
    torch.rand(7)  # whatever the process drew in between must not matter
    out = run(config)
    assert (out / "metrics.csv").read_text() == (uninterrupted / "metrics.csv").read_text()
    assert len(curve(out)) == 4
    for name in ("best", "last"):
        assert_same_weights(checkpoint(out, name), checkpoint(uninterrupted, name))
    for figures in ("ranking", "intent", "best_epoch"):
        assert summary(out)[figures] == summary(uninterrupted)[figures]
    assert (summary(out)["seconds"]["train"] > LONG) == (where != "in the first epoch")  # without a checkpoint all begins anew
    assert not list(out.rglob("*.partial"))


def test_dropout_draws_differently_in_each_epoch_and_from_each_seed(small_store: Path, uninterrupted: Path, tmp_path: Path) -> None:
    config = train_config(small_store, tmp_path / "small", *WITH_DROPOUT, "seed=1", "trainer.max_epochs=1")
    assert curve(run(config))[0]["train/loss"] != curve(uninterrupted)[0]["train/loss"]


def test_training_stops_where_it_gets_no_better_and_stays_stopped(untrained: Path) -> None:
    assert [row["epoch"] for row in curve(untrained)] == [0, 1]
    assert checkpoint(untrained, "last")["epoch"] == 1
    assert summary(untrained)["best_epoch"] == checkpoint(untrained, "best")["epoch"] == 0


def test_a_finished_run_is_left_alone(small_store: Path, small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(small_run)
    make_run(small_store, small_run, "max_events=60")
    assert files(small_run) == before
    assert "is finished" in capsys.readouterr().out


def test_a_run_of_other_settings_is_never_overwritten(small_store: Path, small_run: Path) -> None:
    before = files(small_run)
    with pytest.raises(ConfigError, match="found dim=16 there and not 32; choose name=") as caught:
        make_run(small_store, small_run, "max_events=60", "dim=32")
    assert "\n" not in str(caught.value)
    assert files(small_run) == before


def test_force_trains_anew(small_store: Path, small_run: Path, tmp_path: Path) -> None:
    out = shutil.copytree(small_run, tmp_path / "small")
    (out / "report.html").write_text("old")
    make_run(small_store, out, "dropout=0.3", "trainer.max_epochs=1", "force=true")
    assert len(curve(out)) == 1
    assert checkpoint(out, "best")["config"]["dropout"] == 0.3
    assert (out / "report.html").read_text() != "old"
    assert len(list((out / "tensorboard").glob("events*"))) == 1


@pytest.mark.parametrize(("mistake", "error"), [("trainer=gpu", DeviceError), ("store=nowhere", StoreError), ("top_k", ConfigError)])
def test_force_with_a_mistake_leaves_the_old_run(
    small_store: Path, small_run: Path, monkeypatch: pytest.MonkeyPatch, mistake: str, error: type[RevisitError]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = files(small_run)
    with pytest.raises(error):
        make_run(small_store, small_run, "force=true", "objectives.next_item.top_k=31" if mistake == "top_k" else mistake)
    assert files(small_run) == before


@pytest.mark.parametrize("finished", [False, True], ids=["interrupted", "finished"])
def test_a_run_is_never_taken_for_one_of_another_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool) -> None:
    store, out = make_store(tmp_path, shop_rows(num_customers=24, seed=1)), tmp_path / "run"
    with monkeypatch.context() as patch:
        if not finished:
            cut_training(patch, epoch=1, batch=0)
        with nullcontext() if finished else pytest.raises(PowerCutError):
            make_run(store, out)
    make_store(tmp_path, shop_rows(num_customers=24, seed=2))
    write_json(out / "artifact" / "contract.json", {"checkpoint": {"sha256": sha256(out / "checkpoints" / "best.ckpt")}})
    before = files(out)
    again = [partial(make_run, store, out)]
    again += [partial(export.export, composed("export", [f"run={out}"]))] if finished else []
    for command in again:
        with pytest.raises(StoreError, match=r"as it was when .*run was trained, found another log in it; choose another name=\.\.\. or f"):
            command()
    assert files(out) == before


CHANGES_NOTHING = ["trainer.enable_progress_bar=true", "data.path=moved.csv", "+data.caveat=new", "+data.install=pip", "data.sources={}"]


@pytest.mark.parametrize("override", [*CHANGES_NOTHING, "store"])
def test_what_changes_nothing_may_differ_when_a_run_is_called_again(
    small_store: Path, small_run: Path, tmp_path: Path, override: str
) -> None:
    out, before = shutil.copytree(small_run, tmp_path / "moved"), files(small_run)
    store = shutil.copytree(small_store, tmp_path / "store") if override == "store" else small_store
    make_run(store, out, "max_events=60", *([] if override == "store" else [override]))
    assert files(out) == before


def test_what_a_failure_left_before_the_first_checkpoint_binds_nobody(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        cut_training(patch, epoch=0, batch=1)
        with pytest.raises(PowerCutError):
            make_run(small_store, tmp_path / "run", "dim=8")
    assert (tmp_path / "run" / "config.yaml").exists()
    out = make_run(small_store, tmp_path / "run", "dim=4", "trainer.max_epochs=1")
    assert checkpoint(out, "best")["config"]["dim"] == 4
    assert len(list((out / "tensorboard").glob("events*"))) == 1


@pytest.mark.parametrize("method", ["loss", "judge", "predict"])
def test_what_fails_on_any_batch_fails_before_anything_is_written(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*_: object) -> None:
        raise PowerCutError

    monkeypatch.setattr(NextItem, method, fail)
    with pytest.raises(PowerCutError):
        make_run(small_store, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_what_the_log_lacks_is_said(small_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        make_run(small_store, tmp_path / "run", "trainer.max_epochs=1", "categories=[item,event,channel]")
    assert "has no channel, dwell_seconds: the model does without" in caplog.text


# Several processes


def test_two_processes_agree_with_one(small_store: Path, tmp_path: Path) -> None:
    settings = [f"store={small_store}", "data=events", *SMALL, "trainer.max_epochs=3", "customers_per_batch=15"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "CUDA_VISIBLE_DEVICES": ""}
    words = [sys.executable, "-m", "training.run", *settings, "name=two", "trainer=ddp", "trainer.devices=2"]
    outcome = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert outcome.returncode == 0, outcome.stderr
    one, two = run(composed("train", [*settings, f"out={tmp_path / 'one'}", "name=one"])), tmp_path / "runs" / "two"
    assert [path.name for path in two.parent.iterdir()] == ["two"]
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    assert outcome.stdout.count("Report:") == 1
    assert len(list((two / "tensorboard").glob("events*"))) == 1
    assert len(curve(two)) == 3
    for row, other in zip(curve(two), curve(one), strict=True):
        losses = {name: value for name, value in other.items() if name.endswith("loss")}
        assert {name: row[name] for name in losses} == pytest.approx(losses, rel=1e-4)
    assert_same_weights(checkpoint(two, "last"), checkpoint(one, "last"), rtol=1e-3, atol=1e-4)


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


def test_a_run_by_leave_one_out_can_be_exported(
    left_out: Path, small_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def instead_of_a_graph(parts: object, path: Path) -> None:
        """The graph does not depend on the split; what it is made from does."""
        assert export._example(parts).offsets[-1] > 0
        shutil.copy(small_artifact / "model.onnx", path)

    monkeypatch.setattr(export, "write_graph", instead_of_a_graph)
    out = export.export(composed("export", [f"run={left_out}", f"out={tmp_path / 'artifact'}"]))
    cases = json.loads((out / "golden.json").read_text())
    assert all(len(case["answer"]["item"]) == 20 for case in cases)


@pytest.mark.parametrize("objective", ["next_item", "intent"])
def test_one_objective_is_enough(small_store: Path, tmp_path: Path, objective: str) -> None:
    out = make_run(small_store, tmp_path / "run", f"objective=[{objective}]", "trainer.max_epochs=1")
    assert bool(summary(out)["ranking"]) == (objective == "next_item")
    assert bool(summary(out)["intent"]) == (objective == "intent")
    assert len(summary(out)["verdict"]) == 1
    contract = json.loads((export.export(composed("export", [f"run={out}"])) / "contract.json").read_text())
    answers = {"next_item": ["item_id", "item_score"], "intent": ["purchase_probability"]}
    assert [output["name"] for output in contract["outputs"]] == answers[objective]


# What can't be judged is said before anything is trained

SHORT = {
    "more heads than fit": (["encoder.num_heads=3"], "expected dim to be a multiple of encoder.num_heads, received 16 and 3"),
    "a word as a number": (
        ["optimiser.learning_rate=fast"],
        "expected optimiser.learning_rate to be a number from 0.0 on, rec.* 'fast'",
    ),
    "a number out of range": (["customers_per_batch=0"], "expected customers_per_batch to be a whole number from 1 on, received 0"),
    "a misspelt setting of the split": (
        ["+data.split.horizn_days=3"],
        r"expected a setting of data.split \(horizon_days, .*\), received data.split.horizn_days; did you mean horizon_days\?",
    ),
    "horizon of intent over the window": (["data.split.horizon_days=5"], "expected a validation window that holds the 7 days"),
    "a horizon over the end of the log": (["data.split.test_cutoff=2024-05-27"], "expected a test window that holds the 7 days"),
    "everybody comes back": (["data.split.horizon_days=45", "data.intent_horizon_days=45"], r"found \d+ of \d+; set the cutoffs or data"),
    "intent by leave-one-out": (
        ["objective=[intent]", "data.split.kind=leave_one_out"],
        "expected an objective that a split by leave_one_out can judge, received intent; use data.split.kind=time",
    ),
    "a small catalogue": (["objectives.next_item.top_k=31"], "expected at least top_k=31 items to recommend, found 30; set"),
    "horizon over the log": (["data.split.horizon_days=400"], "expected first event < validation cutoff < test cutoff <= last event"),
    "no such event": (["data.next_item_events=[purchse]"], r"expected event names of this log \(purchase, view\), received purchse"),
    "no such split": (["data.split.kind=randomly"], "expected data.split.kind to be time or leave_one_out, received 'randomly'"),
    "a number as a category": (["categories=[item,event,price]"], "expected categories to .* kind category .*, received price, a number"),
    "no GPU": (["trainer=gpu"], "expected a CUDA GPU for trainer=gpu, found none; use trainer=cpu"),
}


@pytest.mark.parametrize("case", SHORT)
def test_what_cannot_be_judged_is_said_before_training(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    overrides, message = SHORT[case]
    with pytest.raises((RevisitError, HydraException)) as caught:
        make_run(small_store, tmp_path / "run", *overrides)
    assert re.search(message, one_line(caught.value))
    assert "\n" not in one_line(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_store_without_a_purchase_in_the_test_window_is_refused(tmp_path: Path) -> None:
    rows = [row for row in shop_rows() if row["event"] == "view" or str(row["timestamp"]) < "2024-05-10"]
    store = make_store(tmp_path, rows)
    assert SequenceStore.open(store).meta["span"][1] > 19_858 * DAY
    with pytest.raises(ConfigError, match="something to recommend follows in the test window, found none"):
        make_run(store, tmp_path / "run")
    assert not (tmp_path / "run").exists()
