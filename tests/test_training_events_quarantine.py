from pathlib import Path

import polars as pl
import pytest
from helpers_events import GOOD, HEADER, events_config, write_log
from omegaconf import DictConfig, OmegaConf

from training.events.quarantine import quarantine, separate
from training.events.schema import Log, log_from_config
from training.events.sources import find_sources

DIRT = {
    "ann,,view,tea,,,": "missing timestamp",
    "ann,yesterday,view,tea,,,": "unreadable timestamp",
    "ann,1824-03-01T12:30:00Z,view,tea,,,": "timestamp out of range",
    ",2024-03-01T12:30:00Z,view,tea,,,": "missing customer",
    "ann,2024-03-01T12:30:00Z,,tea,,,": "missing event",
    "ann,2024-03-01T12:30:00Z,view,,,,": "missing item",
    "ann,2024-03-01T12:30:00Z,poke,tea,,,": "unknown event",
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
    broken = rows.filter(pl.col("reason").is_not_null())
    return rows.filter(pl.col("reason").is_null()), pl.concat([plan.collect() for plan in quarantine(log, files, broken)])


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
