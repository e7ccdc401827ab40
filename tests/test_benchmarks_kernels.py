"""The price list refuses what is not proven, and every job that it prices runs on both sides."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import kernels
from benchmarks._kernel_cases import Case, Job
from benchmarks._pairs import in_turns


def small(operator: str = "ragged") -> Job:
    square = torch.ones(8, 8)
    return Job("a small job", operator, lambda: Case(2 * 8**3, 4 * 3 * 64, lambda: square @ square, lambda: square.mm(square)))


@pytest.fixture(autouse=True)
def one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "jobs", lambda device: [small()])
    monkeypatch.setattr(kernels, "extra_memory", lambda *arguments: 2**20)


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["kernels", "--device", "cpu", "--turns", "2", "--out", str(out), *arguments])
    return kernels.main()


def test_nothing_is_reported_on_red_tests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(kernels, "tests_pass", lambda operator: False)
    assert run(monkeypatch, tmp_path / "out") == 1
    assert "found red ones of ragged" in capsys.readouterr().out.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def test_an_operator_without_tests_is_red() -> None:
    assert not kernels.tests_pass("no_such_operator")


def test_the_price_list_is_a_table_a_file_a_picture_and_one_line_of_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernels, "tests_pass", lambda operator: True)
    assert run(monkeypatch, tmp_path / "out") == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    (price,) = last["prices"]
    assert price["ratio_least"] <= price["ratio"] <= price["ratio_greatest"]
    rows = (tmp_path / "out" / "kernels.csv").read_text().splitlines()
    assert rows[0].endswith("date,hardware,torch")
    assert len(rows) == 2
    assert (tmp_path / "out" / "kernels.png").stat().st_size > 1000


def test_a_job_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, "--only", "nonsense")
    assert "expected a part of one of: a small job" in capsys.readouterr().err


def test_turns_alternate() -> None:
    order: list[str] = []
    in_turns(lambda: order.append("ours"), {"theirs": lambda: order.append("theirs")}, turns=2)
    assert order == ["ours", "theirs"] * 3  # the first turn warms up
