"""What a log collects: counts that can be checked by hand, in memory and in parts, and the page that shows them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from helpers_events import GOOD, composed, events_config, write_log
from test_training_events_in_parts import IN_PARTS

from training.events import tally
from training.preprocess import preprocess

DAYS = [day for day in range(1, 29) if not 11 <= day <= 14]


def collected(folder: Path, rows: list[str], *settings: str) -> dict[str, Any]:
    store = preprocess(events_config(write_log(folder, rows), "collection=true", *settings))
    return json.loads((store / "collection.json").read_text())


def test_events_and_fields_are_counted_by_channel_and_month(tmp_path: Path) -> None:
    rows = [
        "ann,2024-01-31T23:59:59Z,view,tea,,,web",
        "ann,2024-02-01,view,tea,2,,web",
        "ben,2024-02-01,purchase,tea,2,1,shop",
        "ben,2024-04-01,view,tea,,,",
    ]
    counts = collected(tmp_path, rows)
    assert counts["channels"] == ["web", "", "shop"]
    assert counts["months"] == ["2024-01", "2024-02", "2024-03", "2024-04"]
    assert counts["events"] == [[1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert counts["present"]["price"] == [[0, 0, 0], [1, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert counts["present"]["quantity"] == [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_customers_of_several_channels_are_counted(tmp_path: Path) -> None:
    rows = [*GOOD, "ann,2024-03-05,view,tea,,,shop", "cy,2024-03-05,view,tea,,,shop"]
    customers = collected(tmp_path, rows)["customers"]
    assert customers["customers"], customers["in_several_channels"] == (3, 1)
    assert customers["channels"] == [{"customers": 3, "in_several_channels": 1}, {"customers": 1, "in_several_channels": 1}]


def test_a_log_without_channels_has_one(tmp_path: Path) -> None:
    path = write_log(tmp_path, ["ann,2024-03-01,view,tea"], header="customer,timestamp,event,item")
    counts = json.loads((preprocess(events_config(path, "collection=true")) / "collection.json").read_text())
    assert (counts["channels"], counts["events"], counts["present"]) == ([""], [[1]], {})


def test_rare_channels_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MAX_CHANNELS", 2)
    rows = [f"ann,2024-03-{day:02},view,tea,,,{channel}" for day, channel in enumerate(["a", "a", "a", "b", "b", "c", "d"], start=1)]
    counts = collected(tmp_path, rows)
    assert (counts["channels"], counts["events"]) == (["a", "b", "(others)"], [[3, 2, 2]])


def test_a_silence_too_long_for_chance_is_found(tmp_path: Path) -> None:
    rows = [f"c{number},2024-03-{day:02},view,tea,,,web" for day in DAYS for number in range(10)]
    gaps = collected(tmp_path, rows)["gaps"]
    assert gaps["found"] == 1
    assert gaps["longest"] == [{"channel": None, "first": "2024-03-11", "last": "2024-03-14", "days": 4, "expected_events": 34}]


def test_a_silence_that_chance_explains_is_not(tmp_path: Path) -> None:
    assert collected(tmp_path, [f"ann,2024-03-{day:02},view,tea,,,web" for day in DAYS])["gaps"]["found"] == 0


def test_doubles_are_counted_where_they_are_kept_and_where_they_are_not(tmp_path: Path) -> None:
    rows = [*GOOD, GOOD[0], "ben,2024-03-01T12:30:00Z,purchase,cup,4.5,3,shop"]
    assert collected(tmp_path, rows)["duplicates"] == {"quarantined": 1, "kept_alike": 1}
    assert collected(tmp_path, rows, "+data.keep_exact_repeats=true")["duplicates"] == {"quarantined": 0, "kept_alike": 2}


def test_who_acts_as_a_bot_does_is_named(tmp_path: Path) -> None:
    fast = [f"fast,2024-03-05T10:{minute:02}:{second:02}Z,view,i{second},,,web" for minute in range(10) for second in range(60)]
    sleepless = [f"sleepless,2024-03-06T{hour:02}:{minute:02}:00Z,view,tea,,,web" for hour in range(21) for minute in range(0, 60, 10)]
    basket = [f"eager,2024-03-05,purchase,i{number},,,web" for number in range(600)]
    bots = collected(tmp_path, [*fast, *sleepless, *basket])["bots"]
    assert (bots["customers"], bots["events"]) == (2, len(fast) + len(sleepless))
    assert bots["worst"] == [
        {"customer": "fast", "events": 600, "day": "2024-03-05", "moments": 600, "hours": 1},
        {"customer": "sleepless", "events": 126, "day": "2024-03-06", "moments": 126, "hours": 21},
    ]


def test_blocks_of_customers_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        f"c{number % 37},2024-0{1 + number % 5}-{1 + number % 28:02},view,i{number % 7},{'1' * (number % 3)},,w{number % 4}"
        for number in range(900)
    ]
    whole = collected(tmp_path, rows)
    monkeypatch.setattr(tally, "ROWS_A_BLOCK", 50)
    assert collected(tmp_path, rows, "force=true") == whole
    assert collected(tmp_path, rows, "force=true", f"memory={IN_PARTS / 2}") == whole


def test_the_page_opens_from_disk_and_is_part_of_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*GOOD, "<b>,2024-05-05,view,tea,,,shop & co"]
    store = preprocess(events_config(write_log(tmp_path, rows), "collection=true"))
    page = (store / "collection.html").read_text(encoding="utf-8")
    assert "shop &amp; co" in page
    assert page.count("<svg") >= 3
    assert not re.findall(r"""(?:src|href)=["'][^#]""", page)
    assert {"collection.json", "collection.html"} <= json.loads((store / "store.json").read_text())["files"].keys()
    printed = " ".join(capsys.readouterr().out.split())
    assert "0.0% of customers were seen in more than one of 3 channels" in printed
    assert "not every event has price (50%), quantity (50%)" in printed


def test_it_can_be_left_out(tmp_path: Path) -> None:
    config = composed("data=events", f"data.path={write_log(tmp_path)}", f"out={tmp_path / 'store'}", "collection=false")
    assert not list(preprocess(config).glob("collection*"))
