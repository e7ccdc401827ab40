import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from training.errors import DataError
from training.events.schema import Log, log_from_config
from training.events.sources import find_sources, item_attributes, open_source

HEADER = ("who", "when", "which")
COLUMNS = {"customer": "who", "timestamp": {"column": "when", "format": "iso"}, "event": {"literal": "view"}, "item": "which"}


def log(path: Path | str, *, items: dict[str, Any] | None = None, install: str = "", **source: Any) -> Log:
    settings = {"next_item_events": ["view"], "intent_events": ["view"], "intent_horizon_days": 7, "split": {"horizon_days": 28}}
    sources = {"log": {"columns": COLUMNS, **source}}
    return log_from_config({"name": "shop", "path": str(path), "sources": sources, "items": items or {}, "install": install, **settings})


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def packed(path: Path) -> Path:
    """A CSV of 500 rows as the name's ending says."""
    text = "\n".join([",".join(HEADER), *(f"{i * 7919},2024-01-01,tea{i}" for i in range(500))]) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.csv", text)
    return path


def cut(path: Path, *, share: float = 0.6) -> Path:
    """The first part of a file, as a broken transfer leaves it."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def two_in_one(path: Path) -> Path:
    with zipfile.ZipFile(packed(path), "a") as archive:
        archive.writestr("other.csv", "x\n")
    return path


def utf_16(path: Path) -> Path:
    path.write_text("who,when,which\nann,2024-01-01,tea\n", encoding="utf-16")
    return path


def some_parquet(path: Path) -> Path:
    pl.DataFrame({"who": ["ann"], "when": ["2024-01-01"], "which": ["tea"]}).write_parquet(path)
    return path


def opened(log: Log) -> list[pl.DataFrame]:
    return [open_source(file, log).collect() for file in find_sources(log)]


def test_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "other.txt"):
        write(tmp_path / name, "who,when,which", f"{name},2024-01-01,x")
    found = find_sources(log(tmp_path, files="*.csv"))
    assert [file.name for file in found] == ["a.csv", "b.csv"]


def test_every_csv_column_is_text_and_rows_count_from_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "who,when,which", "007,2024-01-01,1.50", '"a,b",2024-01-01,2')
    (table,) = opened(log(path))
    assert table.select("_row", "who", "which").rows() == [(1, "007", "1.50"), (2, "a,b", "2")]


def test_a_file_without_a_header_is_given_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "ann|2024-01-01|tea")
    (table,) = opened(log(path, names=["who", "when", "which"], separator="|"))
    assert table["which"].to_list() == ["tea"]


@pytest.mark.parametrize("ending", ["", "\r"], ids=["LF", "CRLF"])
def test_any_number_of_blanks_lies_between_cells(tmp_path: Path, ending: str) -> None:
    path = write(
        tmp_path / "a.txt", " who  when which" + ending, " ann  2024-01-01   tea " + ending, "   ben\t2024-01-02 1.50" + ending, "cleo"
    )
    (table,) = opened(log(path, separator=" "))
    assert table.select("_row", "who", "which").rows() == [(1, "ann", "tea"), (2, "ben", "1.50"), (3, "cleo", None)]


def test_blanks_without_a_header_are_given_names(tmp_path: Path) -> None:
    (table,) = opened(log(write(tmp_path / "a.txt", "ann 2024-01-01 tea", "ben 2024-01-02 cup more"), names=list(HEADER), separator=" "))
    assert table.select("who", "which", "_flaw").rows() == [("ann", "tea", None), ("ben", "cup", "too many cells")]


@pytest.mark.parametrize(("name", "separator"), [("a.tsv", ""), ("a.inter", "\t"), ("a.tsv.gz", "")])
def test_the_ending_says_the_separator_or_the_config_does(tmp_path: Path, name: str, separator: str) -> None:
    text = b"who\twhen\twhich\nann\t2024-01-01\ttea, green\n"
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert opened(log(tmp_path / name, separator=separator))[0]["which"].to_list() == ["tea, green"]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.zip"])
def test_a_packed_text_is_read(tmp_path: Path, name: str) -> None:
    (table,) = opened(log(packed(tmp_path / name)))
    assert (table.height, table["which"][-1]) == (500, "tea499")


def test_a_lookup_adds_columns_and_keeps_the_rows_in_order(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "who,when,which", "ann,2024-01-01,2", "ben,2024-01-01,9", "cleo,2024-01-01,1")
    write(tmp_path / "articles.csv", "number,shelf", "1,tea", "2,china", ",nothing", ",nothing")
    lookup = {"files": "articles.csv", "by": "which", "key": "number", "columns": ["shelf"]}
    (table,) = opened(log(tmp_path, files="a.csv", lookups={"articles": lookup}))
    assert table.select("_row", "shelf").rows() == [(1, "china"), (2, None), (3, "tea")]


def test_item_words_are_joined_and_the_first_row_of_an_item_counts(tmp_path: Path) -> None:
    write(tmp_path / "items.csv", "id,title,size", "1,Tea,250 g", "2,Cup,", "3,,1 l", "1,Old tea,")
    items = {"all": {"files": "items.csv", "key": "id", "prefix": "p:", "columns": {"name": ["title", "size"], "size": "size"}}}
    (plan,) = item_attributes(log(tmp_path, files="items.csv", items=items))
    assert plan.collect().rows() == [("p:1", "Tea, 250 g", "250 g"), ("p:2", "Cup", ""), ("p:3", "1 l", "1 l")]


BAD: dict[str, tuple[Callable[[Path], Log], str]] = {
    "no such path": (lambda folder: log(folder / "nowhere", files="a.csv"), "expected a folder or a file, but '.*nowhere' does not exist"),
    "no such file": (lambda folder: log(write(folder / "b.csv", "x").parent, files="a.csv"), r"expected the file a\.csv, found b\.csv"),
    "a folder": (log, "expected a CSV or Parquet file, found the folder"),
    "unknown ending": (lambda folder: log(write(folder / "a.xlsx", "x")), r"expected a file that ends in \.csv"),
    "empty file": (lambda folder: log(write(folder / "a.csv")), "expected a readable file, but .*empty"),
    "no parquet": (lambda folder: log(write(folder / "a.parquet", "who,when,which")), "expected a readable file, but "),
    "cut parquet": (lambda folder: log(cut(some_parquet(folder / "a.parquet"))), r"a\.parquet: expected a readable file, but "),
    "cut gz": (lambda folder: log(cut(packed(folder / "a.csv.gz"))), r"a\.csv\.gz: expected a whole \.gz file, but .*; fetch it again"),
    "cut zip": (lambda folder: log(cut(packed(folder / "a.csv.zip"))), r"a\.csv\.zip: expected a whole \.zip file, but .*; fetch it again"),
    "no gz": (lambda folder: log(write(folder / "a.csv.gz", "who,when,which")), r"a\.csv\.gz: expected a whole \.gz file"),
    "two in a zip": (lambda folder: log(two_in_one(folder / "a.csv.zip")), "expected one file in it, found 2; unpack it"),
    "packed parquet": (lambda folder: log(write(folder / "a.parquet.gz", "x")), r"expected a file that ends in \.csv"),
    "UTF-16": (lambda folder: log(utf_16(folder / "a.csv")), "expected a text in UTF-8, found UTF-16; convert it"),
    "missing column": (
        lambda folder: log(write(folder / "a.csv", "who,when,what", "ann,2024-01-01,tea")),
        "expected the column which; the file has who, when, what",
    ),
    "wrong width": (
        lambda folder: log(write(folder / "a.csv", "ann,tea"), names=["who", "when", "which"]),
        "expected the 3 columns who, when, which, found 2 columns",
    ),
    "repeated key": (
        lambda folder: log(
            write(folder / "a.csv", "who,when,which,shelf", "ann,2024-01-01,1,x", "ann,2024-01-02,1,y"),
            lookups={"self": {"files": "", "by": "which", "columns": ["shelf"]}},
        ),
        "expected one row for each which in a lookup, found several",
    ),
    "no such package": (
        lambda _: log("pkg://no_such_package/data", files="a.csv", install="pip install no-such-package==1"),
        "the package no_such_package, which is not installed; run `pip install no-such-package==1`",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_input_is_one_line(tmp_path: Path, bad: str) -> None:
    make, message = BAD[bad]
    with pytest.raises(DataError, match=message) as caught:
        opened(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_package_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "some_shop_data" / "__init__.py", "raise RuntimeError('imported')")
    write(tmp_path / "some_shop_data" / "data" / "a.csv", "who,when,which", "ann,2024-01-01,tea")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert opened(log("pkg://some_shop_data/data", files="a.csv"))[0].height == 1
