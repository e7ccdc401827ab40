"""Injected dirt: preprocessing quarantines exactly the rows that the truth names, each for the reason it names."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from helpers_events import composed
from helpers_simulator import read, simulated

from training.preprocess import preprocess
from training.sequences.store import SequenceStore
from training.simulator.dirt import REASONS
from training.simulator.settings import TEXT_ONLY

SMALL = ("num_customers=400", "num_events=15000", "num_items=200", "days=90")


def dirty(out: Path, *overrides: str, kinds: tuple[str, ...]) -> Path:
    return simulated(out, *SMALL, *(f"dirt.{kind}=0.01" for kind in kinds), *overrides)


def preprocessed(log: Path) -> SequenceStore:
    config = composed("data=simulated", f"data.path={log}", f"out={log.parent / 'store'}")
    return SequenceStore.open(preprocess(config), verify=True)


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_exactly_the_spoilt_rows_are_quarantined(tmp_path: Path, format: str) -> None:
    kinds = tuple(kind for kind in REASONS if format == "csv" or kind not in TEXT_ONLY)
    log = dirty(tmp_path / "log", f"format={format}", kinds=kinds)
    store, truth = preprocessed(log), read(log, "truth/dirt")
    found = pl.read_parquet(store.path / "quarantine.parquet").select("source", "row", "reason")
    assert set(truth["reason"]) == {REASONS[kind] for kind in kinds}
    assert found.sort("source", "row").equals(truth.sort("source", "row"))
    assert store.meta["reasons"] == dict(truth["reason"].value_counts().iter_rows())
    assert store.meta["counts"]["read"] == sum(read(log, f"truth/{source}").height for source in ("web", "app", "store", "messages"))


def test_a_clean_log_is_kept_whole_whatever_its_format(tmp_path: Path) -> None:
    stores = [preprocessed(simulated(tmp_path / format / "log", *SMALL, f"format={format}")) for format in ("parquet", "csv")]
    for store in stores:
        assert store.meta["counts"]["quarantined"] == 0
    assert stores[0].customers == stores[1].customers
    assert stores[0].num_events == stores[1].num_events


def test_the_share_is_met_and_no_row_is_spoilt_twice(tmp_path: Path) -> None:
    log = dirty(tmp_path / "log", "dirt.missing_item=0.1", kinds=("exact_repeat",))
    truth, num_rows = read(log, "truth/dirt"), read(log, "web").height
    of_web = truth.filter(pl.col("source") == "web.parquet")
    assert of_web["row"].n_unique() == of_web.height
    assert (of_web["reason"] == "missing item").sum() == pytest.approx(0.1 * num_rows, rel=0.2)
    assert of_web["row"].is_between(1, num_rows).all()


SHOWN: dict[str, Callable[[pl.DataFrame], pl.Series]] = {
    "missing customer": lambda rows: rows["cookie"].is_null() & rows["account"].is_null(),
    "unknown event": lambda rows: rows["action"] == "poked",
    "negative quantity": lambda rows: rows["pieces"] < 0,
}


@pytest.mark.parametrize("reason", SHOWN)
def test_the_truth_names_the_row_as_the_file_has_it(tmp_path: Path, reason: str) -> None:
    log = dirty(tmp_path / "log", kinds=("exact_repeat", reason.replace(" ", "_")))
    named = read(log, "truth/dirt").filter((pl.col("source") == "web.parquet") & (pl.col("reason") == reason))["row"].sort()
    rows = read(log, "web")
    assert named.to_list() == (rows.select(SHOWN[reason](rows).fill_null(False).arg_true()).to_series() + 1).to_list()
