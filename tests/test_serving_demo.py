"""The last step of `make demo`, on the toy: what it prints and what it adds to summary.json."""

import json
from pathlib import Path

import pytest
from helpers_serving import DAY, NOW, expected_answer, server_environment_or_skip, write_toy_artifact

from serving import demo
from serving.errors import DemoError
from serving.repository import write_repository

EVENTS = {
    "item": ["item 1", "item 1", "item 7"],
    "event": ["purchase", "purchase", "view"],
    "timestamp": [NOW - 3 * DAY, NOW - 2 * DAY, NOW - DAY],
    "price": [1.5, None, None],
}
CUSTOMER = {
    "customer": "4711",
    "now": NOW,
    "events": EVENTS,
    "last_events": [{"timestamp": NOW - 2 * DAY, "event": "purchase", "item": "item 1", "name": "The item 1"}],
    "purchase_probability": {"model": 0.5, "rfm": 0.25, "boosted_trees": 0.125},
    "horizon_days": 7,
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    write_repository(write_toy_artifact(run / "artifact"), run / "repository")
    (run / "showcase.json").write_text(json.dumps({"customers": [CUSTOMER]}))
    (run / "summary.json").write_text(json.dumps({"ranking": {"model": {"ndcg@10": 0.1}}, "seconds": {"train": 5.0}}))
    return run


def test_the_demo_shows_a_customer_and_completes_the_summary(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server_environment_or_skip()
    monkeypatch.setenv("COLUMNS", "200")
    demo.main(["--run", str(run)])
    printed = capsys.readouterr().out
    expected = expected_answer(EVENTS, NOW)
    shown = ["Customer 4711", "2017-11-28", "RFM", "25.0%", "boosted trees", "12.5%", "within 7 days", "triton 2.", "http", "grpc"]
    shown += [f"The {item}" for item in expected["item"]] + [f"{expected['purchase_probability']:.1%}", "to the last bit", "report.html"]
    assert [words for words in shown if words not in printed] == []
    summary = json.loads((run / "summary.json").read_text())
    assert summary["ranking"] == {"model": {"ndcg@10": 0.1}}
    assert summary["parity"]["ids_equal"] is True
    assert summary["parity"]["max_abs_score_difference"] < 1e-5
    assert summary["server"]["name"] == "triton"
    assert min(summary["server"]["http_ms"], summary["server"]["grpc_ms"], summary["seconds"]["serve"]) > 0
    assert summary["seconds"]["train"] == 5.0


def test_what_was_bought_before_is_counted() -> None:
    assert demo._times_bought(EVENTS) == {"item 1": 2}
    assert [demo._in_words(times) for times in (0, 1, 2)] == ["never", "once", "2 times"]


@pytest.mark.parametrize("file", ["showcase.json", "summary.json"])
def test_a_run_that_is_not_complete_is_an_error_before_the_server_starts(run: Path, file: str) -> None:
    (run / file).unlink()
    with pytest.raises(DemoError, match=f"{file}.*make demo"):
        demo.demonstrate(run)


def test_a_run_without_a_showcased_customer_is_an_error(run: Path) -> None:
    (run / "showcase.json").write_text('{"customers": []}')
    with pytest.raises(DemoError, match="found none; train with showcase=1"):
        demo.demonstrate(run)
