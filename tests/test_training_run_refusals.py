"""What a run leaves alone, and what it refuses before anything is written."""

import re
import shutil
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers_runs import PowerCutError, checkpoint, curve, cut_training, files
from helpers_training import composed, make_run, make_store, shop_rows
from hydra.errors import HydraException

from training import export
from training.cli import one_line
from training.errors import ConfigError, DeviceError, RevisitError, StoreError
from training.files import sha256, write_json
from training.objectives.next_item import NextItem
from training.sequences.split import DAY
from training.sequences.store import SequenceStore

# What lies there already


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


def test_who_knows_no_items_recommends_none(small_store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected objectives of outcomes alone where knows_items=false, received next_item"):
        make_run(small_store, tmp_path / "run", "knows_items=false")
    assert not (tmp_path / "run").exists()


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

# What can't be trained or judged is said before anything is trained


def test_what_fails_on_any_batch_fails_before_anything_is_written(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*_: object) -> None:
        raise PowerCutError

    monkeypatch.setattr(NextItem, method, fail)
    with pytest.raises(PowerCutError):
        make_run(small_store, tmp_path / "run")
    assert not list(tmp_path.iterdir())


SHORT = {
    "more heads than fit": (["encoder.num_heads=3"], "expected dim to be a multiple of encoder.num_heads, received 16 and 3"),
    "a word as a number": (
        ["optimiser.learning_rate=fast"],
        "expected optimiser.learning_rate to be a number from 0.0 on, rec.* 'fast'",
    ),
    "a number out of range": (["customers_per_batch=0"], "expected customers_per_batch to be a whole number from 1 on, received 0"),
    "two sizes of a batch": (["tokens_per_batch=99", "batches_per_epoch=9"], "received both, 99 and 9; set one of them to null"),
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
    "an objective that hears another": (
        ["objective=[intent,value]", "objectives.value.rate_of=dormancy"],
        "expected dormancy, which objectives.value hears, among the objectives, received intent, value; add it",
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
