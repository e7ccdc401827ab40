from pathlib import Path

import numpy as np
import pytest
from helpers_events import events_config, write_log
from omegaconf import OmegaConf

from training.engine import choose_engine
from training.errors import DataError
from training.events.encode import Encoded, encode
from training.events.quarantine import separate
from training.events.refine import refine
from training.events.schema import log_from_config
from training.events.sources import find_sources

ROWS = [
    "ann,2024-03-01T09:00:00Z,view,tea,,,web",
    "ann,2024-03-01T09:20:00Z,view,cup,,,web",
    "ann,2024-03-02T09:00:00Z,purchase,tea,3.0,2,shop",
    "ben,2024-03-01T09:00:00Z,view,pot,,,app",
    "cleo,2024-03-01T09:00:00Z,view,tea,,,web",
    "cleo,2024-03-01T12:00:00Z,view,cup,,,web",
]


def refined(folder: Path, *overrides: str) -> tuple[Encoded, dict[str, int]]:
    log = log_from_config(OmegaConf.to_container(events_config(write_log(folder, ROWS), *overrides).data, resolve=True))  # type: ignore[arg-type]
    kept = separate(log, find_sources(log)).collect().drop("reason")
    return refine(encode(kept, log.kinds, attributes=[], engine=choose_engine("cpu")), log)


def decoded(encoded: Encoded, name: str) -> list[str]:
    return [encoded.vocabularies[name].keys[i] for i in encoded.events[name].to_numpy()]


def test_nothing_is_changed_unless_asked(tmp_path: Path) -> None:
    encoded, left_out = refined(tmp_path)
    assert left_out == {}
    assert "session" not in encoded.events.column_names
    assert encoded.offsets.tolist() == [0, 3, 4, 6]


def test_sessions_are_a_number_field(tmp_path: Path) -> None:
    encoded, _ = refined(tmp_path, "+data.sessions={gap_minutes: 30}")
    assert encoded.events["session"].to_numpy().dtype == np.float32
    assert encoded.events["session"].to_pylist() == [0, 0, 1, 0, 0, 1]


def test_rare_items_and_customers_leave_the_vocabularies_too(tmp_path: Path) -> None:
    encoded, left_out = refined(tmp_path, "+data.filter={min_item_events: 2, min_customer_events: 2}")
    assert encoded.customers == ["ann", "cleo"]
    assert encoded.offsets.tolist() == [0, 3, 5]
    assert encoded.vocabularies["item"].keys[2:] == ["tea", "cup"]
    assert encoded.vocabularies["item"].counts.tolist() == [0, 0, 3, 2]
    assert encoded.vocabularies["channel"].keys[2:] == ["web", "shop"]
    assert decoded(encoded, "item") == ["tea", "cup", "tea", "tea", "cup"]
    assert left_out == {"item with fewer than 2 events": 1}


def test_the_last_events_stay_with_the_sessions_they_had(tmp_path: Path) -> None:
    encoded, left_out = refined(tmp_path, "+data.filter.max_customer_events=1", "+data.sessions={}")
    assert decoded(encoded, "item") == ["tea", "pot", "cup"]
    assert encoded.events["session"].to_pylist() == [1, 0, 1]
    assert left_out == {"before a customer's last 1 events": 3}


def test_a_filter_that_leaves_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"but it leaves out all: 6 item with fewer than 9 events; lower it"):
        refined(tmp_path, "+data.filter.min_item_events=9")
