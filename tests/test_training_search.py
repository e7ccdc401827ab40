"""A search knows validation alone, stops what is worse than most, and is the same search when it is interrupted."""

import json
from pathlib import Path

import pytest
from helpers_commands import Commands
from helpers_training import make_store, train_config

from training import run as running
from training.run import run, try_settings
from training.search import is_hopeless, qualities_of, read_trial, told, write_trial

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper.optuna_sweeper", reason="the extra revisit[search] is not installed")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("shop"))


def curve(folder: Path, qualities: list[float]) -> Path:
    folder.mkdir(parents=True)
    rows = [f"{epoch},{quality}" for epoch, quality in enumerate(qualities)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,validation/quality", *rows]) + "\n")
    return folder


def test_the_median_rule() -> None:
    finished = [[0.1, 0.2, 0.3], [0.2, 0.3], [0.3, 0.1, 0.5], [0.4, 0.4, 0.6]]
    assert not is_hopeless([0.0], finished)  # too early
    assert is_hopeless([0.0, 0.29], finished)  # of 0.2, 0.3, 0.3, 0.4
    assert not is_hopeless([0.0, 0.3], finished)  # as good as the median
    assert not is_hopeless([0.31, 0.0], finished)  # its best counts
    assert not is_hopeless([0.0, 0.0], finished[:3])  # too few to say
    assert not is_hopeless([0.0, 0.0, 0.0], finished)  # of which only three had a third epoch


def test_a_trial_says_what_it_came_to(tmp_path: Path) -> None:
    first, second = curve(tmp_path / "0", [0.1, 0.3, 0.2]), curve(tmp_path / "1", [0.2])
    write_trial(first, ["dropout=0.1"])
    write_trial(second, ["dropout=0.2"])
    assert read_trial(first) == {"quality": 0.3, "best_epoch": 1, "epochs": 3, "settings": ["dropout=0.1"]}
    assert told(second).endswith("best of 2: 0.3000 in trial 0, dropout=0.1")


def test_a_trial_reads_no_test(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "finish", lambda *_: pytest.fail("a trial went on to what reads the test"))
    config = train_config(store, tmp_path / "nowhere", f"trials={tmp_path / 'trials'}", "trainer.max_epochs=2")
    quality = try_settings(config, ["dropout=0.0"], number=7)
    out = tmp_path / "trials" / "7"
    assert quality == max(qualities_of(out))
    assert not {"summary.json", "report.html", "predictions.parquet"} & {file.name for file in out.iterdir()}
    assert not (tmp_path / "nowhere").exists()


def test_what_is_worse_than_most_stops(store: Path, tmp_path: Path) -> None:
    for number in range(4):
        write_trial(curve(tmp_path / str(number), [1.0, 1.0]), [])
    run(train_config(store, tmp_path / "4", f"trials={tmp_path}", "trainer.max_epochs=9", "patience=9"))
    assert len(qualities_of(tmp_path / "4")) == 2


def test_a_sweep_finds_the_same_trials_again(commands: Commands, store: Path, tmp_path: Path) -> None:
    where = [f"store={store}", f"trials={tmp_path / 'trials'}", f"hydra.sweep.dir={tmp_path}"]
    small = [
        "data=events",
        "data.split.horizon_days=14",
        "dim=8",
        "moments.per_customer=2",
        "trainer.max_epochs=1",
        "encoder=sasrec",
        "encoder.num_blocks=1",
    ]
    words = [*where, *small, "name=sweep", "showcase=1", "trainer.enable_progress_bar=false", "hydra.sweeper.n_trials=2"]
    done = [commands.run("training.run", "--multirun", "search=next_item", *words, folder=tmp_path) for _ in range(2)]
    assert [one.code for one in done] == [0, 0], done[0].err + done[1].err
    trials = [json.loads((tmp_path / "trials" / str(number) / "trial.json").read_text()) for number in range(2)]
    assert trials[0]["settings"] != trials[1]["settings"]
    assert f"best of 2: {max(trial['quality'] for trial in trials):.4f}" in done[0].out
    assert done[1].out.count("is finished") == 2
    assert f"best_value: {max(trial['quality'] for trial in trials)}" in (tmp_path / "optimization_results.yaml").read_text()
