"""A run that was interrupted, wherever that was, goes on as if nothing had happened; one that had stopped stays stopped."""

import multiprocessing
import re
import signal
import time
from itertools import count
from pathlib import Path

import pytest
import torch
from helpers_runs import PowerCutError, assert_same_weights, checkpoint, curve, cut_training, summary
from helpers_training import train_config

from training import refit, results, resume
from training.run import run

WITH_DROPOUT = ("dropout=0.3", "average_weights=0.5", "trainer.max_epochs=4", "patience=9")


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


def began_long_ago(elapsed: resume.Elapsed, *, before: float) -> None:
    elapsed.earlier, elapsed.before, elapsed.began = LONG, before, time.perf_counter()


@pytest.mark.parametrize("where", ["in the first epoch", "by the user in a later epoch", "while results are written"])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    small_store: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    config = train_config(small_store, tmp_path / "small", *WITH_DROPOUT)
    with monkeypatch.context() as patch:
        patch.setattr(resume.Elapsed, "__init__", began_long_ago)
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
    assert_same_run(out, uninterrupted)
    assert (summary(out)["seconds"]["train"] > LONG) == (where != "in the first epoch")  # without a checkpoint all begins anew


def test_within_an_epoch_it_goes_on_behind_the_last_batch_that_a_checkpoint_has_seen(
    small_store: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "small"
    for epoch, batch, reason, minutes, seen in [
        (0, 1, PowerCutError, 0, 1),
        (1, 0, signal.SIGTERM, 10, 1),
        (2, 2, PowerCutError, 0, 2),  # all but validated
        (3, 2, KeyboardInterrupt, 10, 3),
    ]:
        with monkeypatch.context() as patch:
            cut_training(patch, epoch=epoch, batch=batch, reason=reason)
            with pytest.raises((PowerCutError, SystemExit)):
                run(train_config(small_store, out, *WITH_DROPOUT, f"checkpoint_minutes={minutes}"))
        torch.rand(7)
        last = checkpoint(out, "last")
        assert (last["epoch"], last["loops"]["fit_loop"]["state_dict"]["combined_loader"]) == (min(epoch, 2), [{"position": seen}])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert_same_run(run(train_config(small_store, out, *WITH_DROPOUT)), uninterrupted)


@pytest.fixture(scope="module")
def refitted(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(train_config(small_store, tmp_path_factory.mktemp("refit") / "small", *WITH_DROPOUT, "refit=true"))


@pytest.mark.parametrize("where", ["in an epoch", "asked to stop", "behind the last", "while results are written"])
def test_an_interrupted_refit_goes_on_and_nothing_before_it_is_trained_again(
    small_store: Path, refitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    config = train_config(small_store, tmp_path / "small", *WITH_DROPOUT, "refit=true", "checkpoint_minutes=0")
    with monkeypatch.context() as patch:
        patch.setattr(resume.Elapsed, "__init__", began_long_ago)
        if where == "while results are written":
            cut_results(patch)
        elif where == "behind the last":
            patch.setattr(refit, "read_checkpoint", raise_power_cut)
        else:
            cut_training(patch, epoch=0, batch=1, reason=signal.SIGTERM if where == "asked to stop" else PowerCutError, of=refit)
        with pytest.raises((PowerCutError, SystemExit)):
            run(config)
    torch.rand(7)
    reached, curve_before = place(tmp_path / "small"), (tmp_path / "small" / "metrics.csv").read_bytes()
    out = run(config)
    assert (0, 0) < reached <= place(out)
    assert (reached == place(out)) == (where in ("behind the last", "while results are written"))
    assert (out / "metrics.csv").read_bytes() == curve_before == (refitted / "metrics.csv").read_bytes()
    assert_same_weights(checkpoint(out, "refit"), checkpoint(refitted, "refit"))
    assert summary(out)["ranking"] == summary(refitted)["ranking"]
    assert summary(out)["seconds"]["train"] > LONG


def place(out: Path) -> tuple[int, int]:
    """How many epochs, and batches of the next, a refit's checkpoint has seen."""
    loops = checkpoint(out, "refit_last")["loops"]["fit_loop"]
    (loader,) = loops["state_dict"]["combined_loader"]
    return loops["epoch_progress"]["current"]["processed"], loader["position"]


def raise_power_cut(*_: object) -> None:
    raise PowerCutError


def test_a_run_that_is_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(
    small_store: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "small"
    process = multiprocessing.get_context("spawn").Process(target=run_and_be_killed, args=(small_store, out))
    process.start()
    process.join(timeout=200)
    assert process.exitcode == -signal.SIGKILL
    assert (out / "checkpoints" / "last.ckpt.partial").read_bytes() == b"half of it"
    assert checkpoint(out, "last")["loops"]["fit_loop"]["state_dict"]["combined_loader"] == [{"position": 1}]
    assert_same_run(run(train_config(small_store, out, *WITH_DROPOUT)), uninterrupted)


def run_and_be_killed(store: Path, out: Path) -> None:
    """In a process of its own, at the sixth checkpoint: behind the second batch of the second epoch."""
    torch.set_num_threads(2)  # as the tests do
    save, num_saved = torch.save, count(1)

    def save_or_die(content: object, path: Path) -> None:
        if next(num_saved) == 6:
            path.write_bytes(b"half of it")
            signal.raise_signal(signal.SIGKILL)
        save(content, path)

    torch.save = save_or_die
    run(train_config(store, out, *WITH_DROPOUT, "checkpoint_minutes=0"))


def assert_same_run(one: Path, other: Path) -> None:
    assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
    assert len(curve(one)) == 4
    for name in ("best", "last"):
        assert_same_weights(checkpoint(one, name), checkpoint(other, name))
    for figures in ("ranking", "intent", "best_epoch"):
        assert summary(one)[figures] == summary(other)[figures]
    assert not list(one.rglob("*.partial"))


def test_training_stops_where_it_gets_no_better_and_stays_stopped(untrained: Path) -> None:
    assert [row["epoch"] for row in curve(untrained)] == [0, 1]
    assert checkpoint(untrained, "last")["epoch"] == 1
    assert summary(untrained)["best_epoch"] == checkpoint(untrained, "best")["epoch"] == 0


def test_a_model_that_loses_says_so_first(untrained: Path) -> None:
    assert summary(untrained)["ranking"]["model"]["ndcg@10"] < summary(untrained)["ranking"]["buy_again"]["ndcg@10"]
    headline = re.search(r"<h1>(.*?)</h1>", (untrained / "report.html").read_text(), re.DOTALL)[1]
    assert headline.startswith("The model loses on NDCG@10 to ")
    assert summary(untrained)["verdict"][0].startswith("The model loses on NDCG@10 to ")


def test_dropout_draws_differently_in_each_epoch_and_from_each_seed(small_store: Path, uninterrupted: Path, tmp_path: Path) -> None:
    config = train_config(small_store, tmp_path / "small", *WITH_DROPOUT, "seed=1", "trainer.max_epochs=1")
    assert curve(run(config))[0]["train/loss"] != curve(uninterrupted)[0]["train/loss"]
