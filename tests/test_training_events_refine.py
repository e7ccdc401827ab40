from pathlib import Path

import numpy as np
import pytest
from helpers_events import HEADER, events_config, write_log
from omegaconf import OmegaConf

from training.errors import ConfigError, DataError
from training.events.quarantine import separate
from training.events.refine import refine
from training.events.runs import Run, place_texts, sort_rows
from training.events.schema import log_from_config
from training.events.sources import find_sources
from training.preprocess import preprocess
from training.sequences.store import SequenceStore

ROWS = [
    "ann,2024-03-01T09:00:00Z,view,tea,,,web",
    "ann,2024-03-01T09:20:00Z,view,cup,,,",
    "ann,2024-03-02T09:00:00Z,purchase,tea,3.0,2,shop",
    "ben,2024-03-01T09:00:00Z,view,pot,,,app",
    "cleo,2024-03-01T09:00:00Z,view,tea,,,web",
    "cleo,2024-03-01T12:00:00Z,view,cup,,,web",
]


def refined(folder: Path, *overrides: str, header: str = HEADER) -> tuple[Run, dict[str, int]]:
    config = events_config(write_log(folder, ROWS, header=header), *overrides)
    log = log_from_config(OmegaConf.to_container(config.data, resolve=True))  # type: ignore[arg-type]
    return refine(sort_rows(place_texts(separate(log, find_sources(log)).collect().drop("reason"), log.kinds)), log)


def decoded(run: Run, name: str) -> list[str | None]:
    return [run.keys[name][int(place)] if place >= 0 else None for place in run.columns[name]]


def test_nothing_is_changed_unless_asked(tmp_path: Path) -> None:
    run, left_out = refined(tmp_path)
    assert left_out == {}
    assert "session" not in run.columns
    assert run.offsets.tolist() == [0, 3, 4, 6]


def test_sessions_are_a_number_field(tmp_path: Path) -> None:
    run, _ = refined(tmp_path, "+data.sessions={gap_minutes: 30}")
    assert run.columns["session"].dtype == np.float32
    assert run.columns["session"].tolist() == [0, 0, 1, 0, 0, 1]


def test_rare_items_and_customers_take_their_keys_with_them(tmp_path: Path) -> None:
    run, left_out = refined(tmp_path, "+data.filter={min_item_events: 2, min_customer_events: 2}")
    assert {name: keys.to_list() for name, keys in run.keys.items()} == {
        "customer": ["ann", "cleo"],
        "event": ["purchase", "view"],
        "item": ["cup", "tea"],
        "channel": ["shop", "web"],
    }
    assert run.offsets.tolist() == [0, 3, 5]
    assert decoded(run, "item") == ["tea", "cup", "tea", "tea", "cup"]
    assert decoded(run, "channel") == ["web", None, "shop", "web", "web"]
    assert left_out == {"item with fewer than 2 events": 1}


def test_the_last_events_stay_with_the_sessions_they_had(tmp_path: Path) -> None:
    run, left_out = refined(tmp_path, "+data.filter.max_customer_events=1", "+data.sessions={}")
    assert decoded(run, "item") == ["tea", "pot", "cup"]
    assert run.columns["session"].tolist() == [1, 0, 1]
    assert run.order.tolist() == [3, 4, 6]
    assert left_out == {"before a customer's last 1 events": 3}


def test_a_filter_that_leaves_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"but it leaves out all: 6 item with fewer than 9 events; lower it"):
        refined(tmp_path, "+data.filter.min_item_events=9")


def test_a_log_s_own_sessions_are_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"found the field session; set data\.sessions=null"):
        refined(tmp_path, "+data.sessions={}", header=HEADER.replace("channel", "session"))


def test_a_store_says_what_was_left_out_and_the_rows_still_balance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_log(tmp_path, [*ROWS, "ann,soon,view,tea,,,"])
    store = SequenceStore.open(preprocess(events_config(path, "+data.filter.min_item_events=2", "+data.sessions.by=day")))
    assert store.meta["left_out"] == {"item with fewer than 2 events": 1}
    assert store.meta["counts"] == {"read": 7, "kept": 5, "quarantined": 1, "left_out": 1, "customers": 2, "items": 2}
    assert store.columns["session"].tolist() == [0, 0, 1, 0, 0]
    assert store.fields["session"]["kind"] == "number"
    assert "left out: item with fewer than 2 events" in capsys.readouterr().out
