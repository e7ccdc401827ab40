"""Everybody is given the same histories, the figure is right, and what is measured becomes a table, a file and one line of JSON."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import _train_logs, train
from benchmarks._peers import PEERS, run_peer

SMALL = {"dim": 8, "num_blocks": 1, "num_heads": 1, "dropout": 0.0, "batch_size": 8, "learning_rate": 0.01, "num_negatives": 4, "seed": 0}


def write_lines(path: Path) -> Path:
    """Everybody walks along one circle of twelve items; two are too new to be asked."""
    rows = [" ".join(f"i{(start + step) % 12}" for step in range(4 + start % 5)) for start in range(40)]
    path.write_text("".join(f"c{customer} {row}\n" for customer, row in enumerate(rows)) + "new i1 i2\nnewer i3\n")
    return path


def test_histories_are_cut_to_what_a_model_reads(tmp_path: Path) -> None:
    log = _train_logs.prepared(write_lines(tmp_path / "circle.txt"), max_length=3, out=tmp_path / "cut.txt", name="circle")
    rows = [line.split() for line in log.lines.read_text().splitlines()]
    assert len(rows) == 40
    assert rows[4] == ["c4", "i6", "i7", "i8", "i9", "i10", "i11"]  # three to read, one more to ask about, two for the judges
    assert log.lengths[4] == 4
    assert log.num_targets == sum(min(4, 2 + start % 5) - 1 for start in range(40))


def test_operations_count_what_the_choices_cost() -> None:
    log = _train_logs.TrainLog("log", Path(), 10, 128, [3, 5], 1000)
    with_two = train.operations(log, "full") - train.operations(log, "sampled")
    assert with_two == 6 * 64 * log.num_targets * (1000 - 257)


def test_ndcg_of_one_wanted_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PEERS))
    from _leave_one_out import ndcg

    eleven = [str(number) for number in range(11)]
    assert ndcg([eleven, eleven, eleven, []], ["0", "2", "10", "x"]) == pytest.approx((1 + 0.5) / 4)


@pytest.mark.parametrize("name", ["revisit_sasrec", "torch_sasrec"])
def test_contestants_that_need_nothing_else_learn_the_way_round(name: str, tmp_path: Path) -> None:
    log = _train_logs.prepared(write_lines(tmp_path / "circle.txt"), max_length=20, out=tmp_path / "cut.txt", name="circle")
    settings = {**SMALL, "max_length": 20, "loss": "sampled", "epochs": 40, "judged": True, "until": 0.5}
    printed, memory = run_peer(name, log.lines, json.dumps(settings))
    assert len(printed["seconds"]) == len(printed["valid"]) < 40
    assert printed["valid"][-1] >= 0.5 > printed["valid"][0]
    assert printed["test"] > 0.3
    assert memory > 50


@pytest.mark.parametrize("name", ["revisit_sasrec", "torch_sasrec"])
def test_an_epoch_that_takes_long_is_the_last(name: str, tmp_path: Path) -> None:
    log = _train_logs.prepared(write_lines(tmp_path / "circle.txt"), max_length=20, out=tmp_path / "cut.txt", name="circle")
    printed, _ = run_peer(name, log.lines, json.dumps({**SMALL, "max_length": 20, "loss": "sampled", "epochs": 3, "longest": 0.0}))
    assert len(printed["seconds"]) == 1


@pytest.mark.parametrize("name", ["revisit_sasrec", "torch_sasrec"])
def test_no_epoch_begins_once_the_time_is_up(name: str, tmp_path: Path) -> None:
    log = _train_logs.prepared(write_lines(tmp_path / "circle.txt"), max_length=20, out=tmp_path / "cut.txt", name="circle")
    settings = {**SMALL, "max_length": 20, "loss": "sampled", "epochs": 3, "judged": True, "until": 2.0, "within": 0.0}
    printed, _ = run_peer(name, log.lines, json.dumps(settings))
    assert len(printed["seconds"]) == len(printed["valid"]) == 1


def test_who_takes_many_times_our_seconds_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    took, asked = {train.OURS: 2.0, train.RECTOOLS: 70.0, train.PLAIN: 5.0}, {}

    def pretend(name: str, *_: object, **settings: object) -> tuple[dict, float]:
        asked[name] = settings
        return {"seconds": [took[name]], "valid": [0.1 if name == train.RECTOOLS else 0.3], "test": 0.2}, 500.0

    monkeypatch.setattr(train, "_run", pretend)
    log = _train_logs.TrainLog("log", tmp_path, 10, 128, [3, 5], 1000)
    finished = train.race(log, list(took), wanted=0.25, epochs=9, patience=30, threads=1)
    assert [settings["within"] for settings in asked.values()] == [None, 60, 60]
    assert [one.reached for one in finished] == [True, False, True]
    assert train.summary([], finished, threads=1)["time_to_quality_ratio_to_rectools"] == 35
    assert train.summary([], finished, threads=1)["peak_rss_mb"] is None
    ours = finished[0]
    assert train.summary([], [replace(ours, reached=False), *finished[1:]], threads=1)["time_to_quality_ratio_to_rectools"] is None


def test_who_takes_long_runs_in_the_first_turn_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(train, "environment", lambda name: Path(sys.executable))
    monkeypatch.setattr(train, "matmul_rate", lambda device: 1e9)
    took = {train.OURS: 2.0, train.RECTOOLS: train.LONG + 1, train.PLAIN: 6.0}
    ran = []

    def pretend(name: str, *_: object, **__: object) -> tuple[float, float]:
        ran.append(name)
        return took[name], 500.0

    monkeypatch.setattr(train, "_epoch", pretend)
    log = _train_logs.TrainLog("log", tmp_path, 10, 128, [3, 5], 1000)
    outcomes = train.measure(log, list(took), loss="sampled", turns=3, epochs=1, threads=1)
    assert [ran.count(name) for name in took] == [3, 1, 3]
    assert [outcome.ratio for outcome in outcomes] == [1, (train.LONG + 1) / 2, 3]


def test_a_table_a_file_and_one_line_of_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(train, "environment", lambda name: Path(sys.executable))
    monkeypatch.setattr(train, "matmul_rate", lambda device: 1e9)
    took = {"revisit_sasrec": 2.0, "rectools_sasrec": 30.0, "replay_sasrec": 10.0, "torch_sasrec": 6.0}

    def pretend(name: str, lines: Path, settings: str, **_: object) -> tuple[dict, float]:
        asked = json.loads(settings)
        valid = [0.1, 0.3] if asked.get("judged") else []
        return {"seconds": [9 * took[name], took[name]], "valid": valid, "test": 0.2 if valid else None}, 500.0

    monkeypatch.setattr(train, "run_peer", pretend)
    lines = write_lines(tmp_path / "circle.txt")
    words = ["--logs", "--lines", str(lines), "--turns", "1", "--quality", "circle=0.25", "--threads", "1", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["train", *words])
    train.main()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["epoch_ratio_to_rectools"], last["epoch_ratio_to_replay"], last["epoch_ratio_to_plain_torch"]) == (15, 5, 3)
    assert last["time_to_quality_ratio_to_rectools"] == 15
    assert [one["reached"] for one in last["quality"]] == [True] * 4
    assert set(last["share_of_matmul_peak"]) == {"full_softmax", "sampled_softmax"}
    assert last["peak_rss_mb"] == 500
    assert len((tmp_path / "out" / "train.csv").read_text().splitlines()) == 9
