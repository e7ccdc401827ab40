from collections.abc import Mapping
from typing import Any

import pytest
from helpers_events import composed
from omegaconf import OmegaConf

from training.errors import ConfigError
from training.events.schema import log_from_config

COLUMNS = {"customer": "who", "timestamp": "when", "event": "what", "item": "which"}


def config(columns: Mapping[str, Any] = COLUMNS, **changes: Any) -> dict[str, Any]:
    log = {
        "name": "shop",
        "path": "x.csv",
        "sources": {"log": {"columns": columns}},
        "intent_horizon_days": 7,
        "split": {"horizon_days": 28},
    }
    return {**log, "next_item_events": ["purchase"], "intent_events": ["purchase"], **changes}


@pytest.mark.parametrize("log", ["complete_journey", "tmall", "taobao", "events", "online_retail", "cdnow", "ta_feng", "ml_100k"])
def test_each_shipped_log_is_understood_and_says_what_training_asks(log: str) -> None:
    composed_log = composed(f"data={log}", "data.path=somewhere").data
    read = log_from_config(OmegaConf.to_container(composed_log, resolve=True))
    assert read.name == log
    assert "purchase" in read.intent_events or log == "ml_100k"
    assert read.next_item_events
    assert read.split["horizon_days"] > 0
    assert read.intent_horizon_days <= read.split["horizon_days"]


def test_complete_journey_repeats_the_caveat_of_its_data() -> None:
    caveat = composed("data=complete_journey").data.caveat
    assert "simulated" in caveat
    assert "we call them neither" in caveat


def test_a_text_is_a_column_and_one_text_a_list_of_one() -> None:
    log = log_from_config(config({**COLUMNS, "timestamp": {"column": "when", "format": "iso"}}))
    assert log.sources["log"].columns["customer"].column == "who"
    assert log.sources["log"].columns["timestamp"].format == ("iso",)


def test_a_log_declares_further_fields() -> None:
    log = log_from_config(config({**COLUMNS, "discount": "off"}, fields={"discount": "number"}))
    assert log.kinds["discount"] == "number"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (config(keep_repeats=True), r"data: \['keep_repeats'\] is no setting; expected one of"),
        (config(name=None), r"data: expected a value for \['name'\]"),
        (config(sources={}), "data.sources: expected at least one source"),
        (config(sources=["log"]), "data.sources: expected `name: value` pairs"),
        (config({"customer": "who"}), r"missing are \['event', 'item', 'timestamp'\]"),
        (config({**COLUMNS, "colour": "c"}), r"\['colour'\] is no field; declare it under data.fields"),
        (config({**COLUMNS, "price": {"colum": "p"}}), r"data.sources.log.columns.price: \['colum'\] is no setting"),
        (config({**COLUMNS, "event": {"column": "what", "literal": "view"}}), r"expected the name of a column or \{literal: TEXT\}"),
        (
            config({**COLUMNS, "event": {"column": "what", "map": {"a": "view"}, "patterns": {"^b": "cart"}}}),
            "expected a map or patterns, found both",
        ),
        (
            config({**COLUMNS, "event": {"column": "what", "patterns": {"^(": "cart"}}}),
            r"patterns: expected a regular expression, found '\^\('",
        ),
        (config({**COLUMNS, "timestamp": {"column": "when", "format": 7}}), "format: expected a text or a list of texts, found 7"),
        (config(fields={"discount": "money"}), "data.fields.discount: expected category or number, found 'money'"),
        (config(fields={"reason": "category"}), "data.fields: 'reason' is a name"),
        (config(sessions={"by": "week"}), "data.sessions.by: expected gap or day, found 'week'"),
        (config(sessions={"gap_minutes": 0}), "data.sessions.gap_minutes: expected a number above 0, found 0"),
        (config(sessions={"timezone": "Mars"}), "timezone: expected a name such as UTC or Europe/Berlin, found 'Mars'"),
        (config(filter={"min_item_events": -1}), "data.filter.min_item_events: expected a whole number, 0 or above, found -1"),
        (config(max_text_bytes="long"), "data.max_text_bytes: expected a whole number above 0, found 'long'"),
        (config(filter={"min_items": 5}), r"data.filter: \['min_items'\] is no setting"),
        (config(time_range={"start": "2024-01-01"}), r"data.time_range: expected a value for \['until'\]"),
        (config(items={"a": {"files": "a.csv", "key": "id", "columns": {"name": 3}}}), "data.items.a.columns.name: expected a text"),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value)[:30],
)
def test_a_wrong_setting_is_named(broken: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        log_from_config(broken)
    assert "\n" not in str(caught.value)
