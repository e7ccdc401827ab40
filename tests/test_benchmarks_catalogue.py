"""Every item of the log occurs, and the cost of a step comes out as a table, a file and a line of JSON."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import catalogue


def test_every_item_occurs(tmp_path: Path) -> None:
    count = catalogue.write_lines(tmp_path / "lines.txt", num_items=4001)
    rows = [line.split() for line in (tmp_path / "lines.txt").read_text().splitlines()]
    assert count == len(rows) == 2001 + catalogue.ASKED
    assert {item for _, *items in rows for item in items} == {str(item) for item in range(4001)}
    assert {len(row) for row in rows} == {1 + 2, 1 + catalogue.STEPS}


def test_the_whole_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(catalogue, "ASKED", 20)
    monkeypatch.setattr(catalogue, "SETTINGS", {**catalogue.SETTINGS, "dim": 8, "num_blocks": 1})
    monkeypatch.setattr(sys, "argv", ["catalogue", "--items", "50", "--negatives", "4", "--threads", "1", "--out", str(tmp_path)])
    catalogue.main()
    (cost,) = json.loads(capsys.readouterr().out.splitlines()[-1])["costs"]
    assert (cost["items"], cost["negatives"], cost["steps"]) == (50, 4, 1)
    assert 0 < cost["milliseconds"] < 60_000
    assert 100 < cost["peak_rss_mb"] < 4000
    assert (tmp_path / "catalogue.csv").read_text().startswith("items,negatives,steps,")
