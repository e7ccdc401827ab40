"""A day more: the store is what it would have been from the start, but for the numbers of new keys; what was there keeps its number."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers_events import GOOD, HEADER, composed
from test_training_events_identity import LINKS
from test_training_events_in_parts import some_rows
from test_training_preprocess import assert_rows_balance, contents

from training.errors import ConfigError, DataError, RevisitError, StoreError
from training.preprocess import preprocess
from training.sequences.store import SequenceStore


def write_day(folder: Path, name: str, rows: list[str]) -> Path:
    (folder / "log").mkdir(exist_ok=True)
    path = folder / "log" / f"{name}.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def made(folder: Path, out: str, *settings: str) -> SequenceStore:
    arguments = ["data=events", f"data.path={folder / 'log'}", "+data.sources.log.files='day*.csv'", f"out={folder / out}"]
    return SequenceStore.open(preprocess(composed(*arguments, *settings)), verify=True)


def days(rows: list[str]) -> list[list[str]]:
    """Three quarters of the rows, then an eighth, then another: customers and items come and stay away."""
    cuts = [0, 3 * len(rows) // 4, 7 * len(rows) // 8, len(rows)]
    return [rows[cuts[part] : cuts[part + 1]] for part in range(3)]


def one_day_after_the_other(folder: Path, parts: list[list[str]], *settings: str) -> SequenceStore:
    write_day(folder, "day0", parts[0])
    store = made(folder, "grown", *settings)
    for number, rows in enumerate(parts[1:], start=1):
        store = made(folder, "grown", *settings, f"append={write_day(folder, f'day{number}', rows)}")
    return store


def events(store: SequenceStore) -> Counter[tuple[Any, ...]]:
    """Every event by keys, how often it comes."""
    texts = {name: np.array(vocabulary.keys)[store.columns[name]] for name, vocabulary in store.vocabularies.items()}
    customer = np.repeat(store.customers, np.diff(store.offsets))
    columns = [customer, *(texts.get(name, np.char.mod("%s", store.columns[name])) for name in sorted(store.columns))]
    return Counter(zip(*(column.tolist() for column in columns), strict=True))


def counted(store: SequenceStore) -> dict[str, dict[str, int]]:
    return {name: dict(zip(vocabulary.keys, vocabulary.counts.tolist(), strict=True)) for name, vocabulary in store.vocabularies.items()}


@pytest.mark.parametrize(
    "settings", [[], ["+data.keep_exact_repeats=true"], ["+data.sessions.by=day"]], ids=["plain", "repeats kept", "sessions"]
)
def test_days_added_are_the_log_made_whole(tmp_path: Path, settings: list[str]) -> None:
    parts = days(some_rows(3_000))
    grown = one_day_after_the_other(tmp_path, parts, *settings, "collection=true")
    whole = made(tmp_path, "whole", *settings, "collection=true")
    assert events(grown) == events(whole)
    assert grown.customers == whole.customers
    assert grown.offsets.tolist() == whole.offsets.tolist()
    assert grown.columns["timestamp"].tolist() == whole.columns["timestamp"].tolist()
    assert counted(grown) == counted(whole)
    assert {name: grown.meta[name] for name in ("counts", "reasons", "span")} == {
        name: whole.meta[name] for name in ("counts", "reasons", "span")
    }
    assert_rows_balance(grown)
    collections = [json.loads((store.path / "collection.json").read_text()) for store in (grown, whole)]
    assert collections[0] == collections[1]


def test_ids_that_are_there_stay_and_new_ones_follow_by_count(tmp_path: Path) -> None:
    write_day(tmp_path, "day0", GOOD)
    before = made(tmp_path, "grown")
    new = ["cy,2024-03-03,view,pot,,,web", "ann,2024-03-03,view,mug,,,app", "cy,2024-03-04,view,mug,,,web", "ann,2024-03-03,cart,cup,,,web"]
    after = made(tmp_path, "grown", f"append={write_day(tmp_path, 'day1', new)}")
    for name, vocabulary in before.vocabularies.items():
        assert after.vocabularies[name].keys[: vocabulary.size] == vocabulary.keys
    assert after.vocabularies["item"].keys == ["", "", "tea", "cup", "mug", "pot"]
    assert after.vocabularies["item"].counts.tolist() == [0, 0, 2, 2, 2, 1]
    assert after.vocabularies["item"].attributes["name"][2:] == ["tea", "cup", "mug", "pot"]
    assert after.customers == ["ann", "ben", "cy"]


def test_what_was_added_is_not_added_again(tmp_path: Path) -> None:
    path = write_day(tmp_path, "day0", GOOD)
    made(tmp_path, "grown")
    more = write_day(tmp_path, "day1", ["cy,2024-03-03,view,pot,,,web"])
    once = contents(made(tmp_path, "grown", f"append={more}").path)
    assert contents(made(tmp_path, "grown", f"append={more}").path) == once
    assert contents(made(tmp_path, "grown", f"append={path}").path) == once
    assert contents(made(tmp_path, "grown").path) == once, "the log's folder holds nothing else"


def test_a_store_is_not_made_again_without_what_was_added(tmp_path: Path) -> None:
    write_day(tmp_path, "day0", GOOD)
    made(tmp_path, "grown")
    (tmp_path / "new").mkdir()
    more = write_day(tmp_path, "day1", ["cy,2024-03-03,view,pot,,,web"]).rename(tmp_path / "new" / "day1.csv")
    once = contents(made(tmp_path, "grown", f"append={more.parent}").path)
    with pytest.raises(ConfigError, match=r"but day1\.csv is not there; put it there, or make the store without it by force=true"):
        made(tmp_path, "grown")
    assert contents(tmp_path / "grown") == once
    assert made(tmp_path, "grown", "force=true").customers == ["ann", "ben"]


@pytest.mark.parametrize(
    ("day", "settings", "message"),
    [
        (None, [], "expected new files of events, but there is nothing"),
        ("day1", ["data.intent_horizon_days=3"], "expected the settings of data with which .* was made, found others"),
        ("day1", ["memory=1e-9"], "expected files that fit into memory=GIB at one time"),
        ("dirt", [], "expected day.*, found no such file"),
        ("day_of_dirt", [], "expected usable rows, but all 1 are quarantined"),
        ("day_of_sessions", [], "expected only fields that .* has, found session, too"),
    ],
)
def test_what_cannot_be_added_is_named_and_nothing_changes(tmp_path: Path, day: str | None, settings: list[str], message: str) -> None:
    write_day(tmp_path, "day0", GOOD)
    once = contents(made(tmp_path, "grown").path)
    write_day(tmp_path, "day1", ["cy,2024-03-03,view,pot,,,web"])
    write_day(tmp_path, "dirt", ["cy,soon,view,pot,,,web"])
    write_day(tmp_path, "day_of_dirt", ["cy,soon,view,pot,,,web"])
    (tmp_path / "log" / "day_of_sessions.csv").write_text("customer,timestamp,event,item,session\ncy,2024-03-03,view,pot,3\n")
    with pytest.raises(RevisitError, match=message):
        made(tmp_path, "grown", f"append={tmp_path / 'log' / f'{day}.csv'}", *settings)
    assert contents(tmp_path / "grown") == once


def test_nothing_can_be_added_to_no_store_nor_to_a_filtered_one(tmp_path: Path) -> None:
    path = write_day(tmp_path, "day0", GOOD)
    with pytest.raises(StoreError, match="expected a sequence store"):
        made(tmp_path, "grown", f"append={path}")
    made(tmp_path, "grown", "+data.filter.min_item_events=1")
    more = write_day(tmp_path, "day1", ["cy,2024-03-03,view,pot,,,web"])
    with pytest.raises(ConfigError, match=r"expected a log without data\.filter"):
        made(tmp_path, "grown", "+data.filter.min_item_events=1", f"append={more}")


def write_links(folder: Path, links: list[tuple[str, str]]) -> None:
    (folder / "log" / "links.csv").write_text("key,account\n" + "".join(f"{key},{account}\n" for key, account in links))


def test_new_links_unite_customers_whom_the_store_has(tmp_path: Path) -> None:
    rows = [f"{key},2024-03-{day:02},view,i{day % 5},,,web" for day in range(1, 20) for key in ("k1", "k2", "card", "bo", "k9", "zed")]
    linked = "+data.identity={links: links.csv}"
    write_day(tmp_path, "day0", rows)
    write_links(tmp_path, LINKS[:3])
    assert made(tmp_path, "grown", linked).customers == ["anna", "bo", "k9", "zed"]
    more = write_day(tmp_path, "day1", ["k9,2024-03-05,cart,i9,,,app"])
    write_links(tmp_path, LINKS)
    grown, whole = made(tmp_path, "grown", linked, f"append={more}"), made(tmp_path, "whole", linked)
    assert grown.customers == whole.customers == ["anna", "cy", "zed"]
    assert grown.meta["identity"] == whole.meta["identity"]
    assert pl.read_parquet(grown.path / "identities.parquet").equals(pl.read_parquet(whole.path / "identities.parquet"))
    assert set(events(grown)) == set(events(whole)), "but for repeats among rows of customers who were two before"


def test_links_that_part_customers_are_refused(tmp_path: Path) -> None:
    linked = "+data.identity={links: links.csv, max_component: 4}"
    write_day(tmp_path, "day0", [f"{key},2024-03-01,view,tea,,,web" for key in ("k1", "card", "bo")])
    write_links(tmp_path, LINKS[:3])
    made(tmp_path, "grown", linked)
    write_links(tmp_path, LINKS)
    with pytest.raises(DataError, match=r"expected links that keep together what .* united"):
        made(tmp_path, "grown", linked, f"append={write_day(tmp_path, 'day1', ['k9,2024-03-05,cart,tea,,,web'])}")
