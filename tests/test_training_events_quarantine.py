import random
from pathlib import Path

import polars as pl
import pytest
from helpers_events import GOOD, HEADER, events_config, write_log
from omegaconf import DictConfig, OmegaConf

from training.errors import DataError
from training.events.quarantine import quarantine, separate
from training.events.runs import drop_repeats, place_texts, sort_rows
from training.events.schema import Log, log_from_config
from training.events.sources import find_sources
from training.preprocess import preprocess
from training.sequences.store import SequenceStore

DIRT = {
    "ann,,view,tea,,,": "missing timestamp",
    "ann,yesterday,view,tea,,,": "unreadable timestamp",
    "ann,1824-03-01T12:30:00Z,view,tea,,,": "timestamp out of range",
    ",2024-03-01T12:30:00Z,view,tea,,,": "missing customer",
    "ann,2024-03-01T12:30:00Z,,tea,,,": "missing event",
    "ann,2024-03-01T12:30:00Z,view,,,,": "missing item",
    "ann,2024-03-01T12:30:00Z,poke,tea,,,": "unknown event",
    "a" * 1_001 + ",2024-03-01T12:30:00Z,view,tea,,,": "over-long customer",
    "ann,2024-03-01T12:30:00Z,view," + "é" * 501 + ",,,": "over-long item",
    "ann,2024-03-01T12:30:00Z,purchase,tea,cheap,1,": "unreadable price",
    "ann,2024-03-01T12:30:00Z,purchase,tea,inf,1,": "unreadable price",
    "ann,2024-03-01T12:30:00Z,purchase,tea,nan,1,": "unreadable price",
    "ann,2024-03-01T12:30:00Z,purchase,tea,1e39,1,": "unreadable price",
    "ann,2024-03-01T12:30:00Z,purchase,tea,-1,1,": "negative price",
    "ann,2024-03-01T12:30:00Z,purchase,tea,1,two,": "unreadable quantity",
    "ann,2024-03-01T12:30:00Z,purchase,tea,1,-2,": "negative quantity",
    GOOD[2]: "exact repeat",
}


def log_of(config: DictConfig) -> Log:
    return log_from_config(OmegaConf.to_container(config.data, resolve=True))  # type: ignore[arg-type]


def cleaned(log: Log) -> tuple[pl.DataFrame, pl.DataFrame]:
    files = find_sources(log)
    rows = separate(log, files).collect()
    kept, broken = (rows.filter(pl.col("reason").is_null() == usable) for usable in (True, False))
    again = drop_repeats(sort_rows(place_texts(kept.drop("reason"), log.kinds)))[1] if not log.keep_exact_repeats else []
    repeats = kept.filter(pl.col("_order").is_in(list(again))).with_columns(reason=pl.lit("exact repeat"))
    plans = quarantine(log, files, pl.concat([broken, repeats]))
    return kept.join(repeats, on="_order", how="anti"), pl.concat([plan.collect() for plan in plans])


def test_each_kind_of_dirt_goes_to_its_reason_with_its_source_and_row(tmp_path: Path) -> None:
    kept, broken = cleaned(log_of(events_config(write_log(tmp_path, [*GOOD, *DIRT]))))
    assert kept.height == len(GOOD)
    assert broken["reason"].to_list() == list(DIRT.values())
    assert broken["row"].to_list() == list(range(len(GOOD) + 1, len(GOOD) + len(DIRT) + 1))
    assert set(broken["source"]) == {"log.csv"}


def test_the_quarantine_shows_the_text_of_the_file(tmp_path: Path) -> None:
    _, broken = cleaned(log_of(events_config(write_log(tmp_path, [*GOOD, *DIRT]))))
    shown = broken.select(HEADER.split(",")).fill_null("")
    assert [",".join(row) for row in shown.iter_rows()] == list(DIRT)
    assert set(shown.dtypes) == {pl.String}


def test_dirt_of_every_kind_among_good_rows_is_counted_and_changes_nothing_else(tmp_path: Path) -> None:
    generator = random.Random(0)
    good = [f"c{i % 97},2024-03-{1 + i % 28:02},view,item {i},{i % 13},1,web".encode() for i in range(2_000)]
    makers = {reason: row.encode() for row, reason in DIRT.items() if reason != "exact repeat"}
    makers |= {"broken encoding": b"ann,2024-03-01,view,caf\xe9,,,", "too many cells": b"ann,2024-03-01,view,tea,,,web,?"}
    counts = {reason: generator.randrange(1, 30) for reason in makers}
    rows = [*good, *(row for reason, row in makers.items() for _ in range(counts[reason]))]
    generator.shuffle(rows)
    repeats = [rows.index(row) for row in generator.sample(good, 7)]  # after the rows that they repeat
    rows = [*rows, *(rows[place] for place in repeats), b'ann,2024-03-01,view,"gre']
    expected = {**counts, "exact repeat": len(repeats), "truncated row": 1}

    (tmp_path / "log.csv").write_bytes(b"\n".join([HEADER.encode(), *rows]))
    store = SequenceStore.open(preprocess(events_config(tmp_path / "log.csv")))
    assert store.meta["reasons"] == expected
    read, kept, quarantined = (store.meta["counts"][name] for name in ("read", "kept", "quarantined"))
    assert (read, kept, quarantined) == (len(rows), len(good), sum(expected.values()))
    shown = pl.read_parquet(store.path / "quarantine.parquet")
    assert all(counts[reason] == (shown["reason"] == reason).sum() for reason in counts)
    assert shown["row"].n_unique() == quarantined

    clean = [row for row in rows if row in set(good)][: len(good)]
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "log.csv").write_bytes(b"\n".join([HEADER.encode(), *clean]))
    alone = preprocess(events_config(tmp_path / "clean" / "log.csv"))
    assert (alone / "events.arrow").read_bytes() == (store.path / "events.arrow").read_bytes()


def dirty(folder: Path, *rows: bytes) -> Path:
    """The good rows, then these, exactly as they are."""
    path = write_log(folder)
    path.write_bytes(path.read_bytes() + b"\n".join(rows))
    return path


@pytest.mark.parametrize(
    ("rows", "reasons"),
    [
        (
            [b"ann,2024-03-03,view,t\xe9a,,,web", b"ben,2024-03-03,view,t\xc3\xa9a,,,", b"\xff\xfe,soon,view,x,,,", b""],
            ["broken encoding"] * 2,
        ),
        ([b"ben,2024-03-03,view,tea,,,web,more", b"cleo,2024-03-03,view,tea,,,web,", b""], ["too many cells"]),
        ([b"ben,2024-03-03,view,tea,,,", b"cleo,2024-03-03,vi"], ["truncated row"]),
        ([b"ben,2024-03-03,view,tea,,,", b'cleo,2024-03-03,view,"green te'], ["truncated row"]),
        ([b"ben,2024-03-03,view,tea,,,", b'cleo,2024-03-03,view,tea,,,"we'], ["truncated row"]),
        ([b"ben,2024-03-03,view,tea,,,", b"cleo,2024-03-03,vi\xc3"], ["truncated row"]),
        ([b"ben,2024-03-03,view,tea,,,", b"cleo,2024-03-03,view,tea,,,we"], []),
        ([b"ben,2024-03-03,view,tea,,,", b'cleo,2024-03-03,view,"green\ntea",,,"web"'], []),
        ([b"ben,2024-03-03,view,tea", b""], []),
    ],
    ids=["encoding", "surplus", "cut", "cut in quotes", "cut in the last cell", "cut in a letter", "no line break", "quotes", "short"],
)
def test_a_broken_row_spoils_no_other(tmp_path: Path, rows: list[bytes], reasons: list[str]) -> None:
    kept, broken = cleaned(log_of(events_config(dirty(tmp_path, *rows))))
    assert broken["reason"].to_list() == reasons
    assert kept.height + broken.height == len(GOOD) + len([row for row in rows if row])


def test_broken_bytes_are_shown_as_such(tmp_path: Path) -> None:
    _, broken = cleaned(log_of(events_config(dirty(tmp_path, b"ann,2024-03-03,view,t\xe9a,,,web\n"))))
    assert broken["item"].to_list() == ["t\ufffda"]


def test_broken_bytes_in_a_column_that_nobody_reads_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"customer,timestamp,event,item,remark\nann,2024-03-03,view,tea,caf\xe9\n")
    assert cleaned(log_of(events_config(path)))[0].height == 1


def test_a_sign_for_broken_bytes_in_a_sound_file_is_a_text(tmp_path: Path) -> None:
    assert cleaned(log_of(events_config(write_log(tmp_path, ["ann,2024-03-03,view,t\ufffda,,,"]))))[0].height == 1


def test_quotes_that_do_not_match_are_named_rather_than_swallow_rows(tmp_path: Path) -> None:
    path = write_log(tmp_path, ['ann,2024-03-03,view,5" pipe,,,', *GOOD])
    with pytest.raises((pl.exceptions.ComputeError, DataError)):
        cleaned(log_of(events_config(path)))


def test_the_longest_text_is_a_setting(tmp_path: Path) -> None:
    config = events_config(write_log(tmp_path, ["ann,2024-03-03,view,tea,,,", "ben,2024-03-03,view,oolong,,,"]), "+data.max_text_bytes=5")
    assert cleaned(log_of(config))[1]["reason"].to_list() == ["over-long item"]


def test_patterns_name_events_and_the_first_counts(tmp_path: Path) -> None:
    path = write_log(tmp_path, [f"ann,2024-03-03,{code},tea,,," for code in ("C12", "12", "12C", "A12", "")])
    config = events_config(path)
    patterns = {"^C": "return", "^[0-9]+$": "purchase", "C": "view"}
    OmegaConf.update(config, "data.sources.log.columns.event", {"column": "event", "patterns": patterns}, merge=False, force_add=True)
    kept, broken = cleaned(log_of(config))
    assert kept["event"].to_list() == ["return", "purchase", "view"]
    assert broken["reason"].to_list() == ["unknown event", "missing event"]


def test_a_return_s_negative_quantity_is_the_number_that_came_back(tmp_path: Path) -> None:
    path = write_log(tmp_path, [f"ann,2024-03-03,{event},tea,1,{n}," for event, n in (("return", -2), ("return", 2), ("purchase", -2))])
    kept, broken = cleaned(log_of(events_config(path, "+data.sources.log.columns.quantity.negative_for=[return]")))
    assert kept.select("event", "quantity").rows() == [("return", 2.0)]
    assert broken["reason"].to_list() == ["negative quantity"] * 2
    assert broken["quantity"].to_list() == ["2", "-2"]


def test_whole_numbers_kept_as_floating_point_are_ids_without_a_point(tmp_path: Path) -> None:
    table = {"customer": [17850.0, None, 1.5], "timestamp": ["2024-03-03"] * 3, "event": ["view"] * 3, "item": ["a", "b", "c"]}
    pl.DataFrame(table).write_parquet(tmp_path / "log.parquet")
    kept, _ = cleaned(log_of(events_config(tmp_path / "log.parquet")))
    assert kept["customer"].to_list() == ["17850", "1.5"]


def test_an_empty_optional_field_is_missing_and_no_fault(tmp_path: Path) -> None:
    kept, _ = cleaned(log_of(events_config(write_log(tmp_path))))
    assert kept.sort("_order")["price"].to_list() == [None, 4.5, 3.0]


def test_a_row_in_every_field_but_one_is_no_repeat(tmp_path: Path) -> None:
    other = [GOOD[1], GOOD[1].replace("4.5", "4.6"), GOOD[1].replace("4.5", "4.50"), GOOD[1].replace(",shop", ",")]
    kept, broken = cleaned(log_of(events_config(write_log(tmp_path, other))))
    assert kept["_order"].to_list() == [1, 2, 4]
    assert broken["reason"].to_list() == ["exact repeat"]


def test_repeats_are_kept_where_the_log_counts_them_so(tmp_path: Path) -> None:
    config = events_config(write_log(tmp_path, [GOOD[0]] * 3), "+data.keep_exact_repeats=true")
    assert cleaned(log_of(config))[0].height == 3


def test_a_time_range_includes_its_start_and_not_its_end(tmp_path: Path) -> None:
    days = [f"ann,2024-03-0{day},view,tea,,," for day in (1, 2, 3, 4)]
    config = events_config(write_log(tmp_path, days), "+data.time_range={start: '2024-03-02', until: '2024-03-04'}")
    kept, broken = cleaned(log_of(config))
    assert (kept["_order"].to_list(), broken["row"].to_list()) == ([2, 3], [1, 4])


def test_parquet_columns_keep_their_types_and_nan_is_missing(tmp_path: Path) -> None:
    table = {"customer": [7, None, 7], "timestamp": pl.Series([0, 1, 2]).cast(pl.Datetime("ns")), "event": ["view"] * 3, "item": [1, 2, 3]}
    pl.DataFrame({**table, "price": [float("nan"), 1.0, float("inf")]}).write_parquet(tmp_path / "log.parquet")
    kept, broken = cleaned(log_of(events_config(tmp_path / "log.parquet")))
    assert kept.select("customer", "item", "price", "timestamp").rows() == [("7", "1", None, 0)]
    assert broken["reason"].to_list() == ["missing customer", "unreadable price"]
    assert broken["timestamp"].to_list() == ["1970-01-01 00:00:00"] * 2


@pytest.mark.parametrize(
    ("amount", "units", "outcome"),
    [("7.8", "2", 3.9), ("0", "0", 0.0), ("0", "3", 0.0), ("", "", None), ("1", "0", "unreadable price"), ("1", "", "unreadable price")],
)
def test_a_price_is_for_one_unit(tmp_path: Path, amount: str, units: str, outcome: float | str | None) -> None:
    path = write_log(tmp_path, [f"ann,2024-03-01,purchase,tea,{amount},{units},"])
    kept, broken = cleaned(log_of(events_config(path, "+data.sources.log.columns.price.divide_by=quantity")))
    assert [*broken["reason"], *kept["price"]] == [pytest.approx(outcome) if isinstance(outcome, float) else outcome]


def test_fields_a_log_declares_itself_may_be_negative(tmp_path: Path) -> None:
    path = write_log(tmp_path, ["ann,2024-03-01,purchase,tea,-2"], header="customer,timestamp,event,item,balance")
    config = events_config(path, "+data.fields.balance=number", "+data.sources.log.columns.balance=balance")
    assert cleaned(log_of(config))[0]["balance"].to_list() == [-2.0]
