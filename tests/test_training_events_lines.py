import gzip
from pathlib import Path

import polars as pl
from hydra import compose, initialize_config_module

from training.events.lines import rows_of_lines
from training.preprocess import preprocess
from training.sequences.store import SequenceStore


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_line_becomes_a_row_an_item_in_order(tmp_path: Path) -> None:
    rows = pl.read_parquet(rows_of_lines(write(tmp_path / "log.txt", "anna tea  milk tea", "", "ben\tmilk")))
    assert rows.rows() == [("anna", "1", "tea"), ("anna", "2", "milk"), ("anna", "3", "tea"), ("ben", "1", "milk")]


def test_packed_lines_and_a_mark_of_bytes_in_front(tmp_path: Path) -> None:
    path = tmp_path / "log.txt.gz"
    path.write_bytes(gzip.compress("\ufeff7 1 2\n".encode()))
    assert pl.read_parquet(rows_of_lines(path)).rows() == [("7", "1", "1"), ("7", "2", "2")]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    before = pl.read_parquet(rows_of_lines(write(tmp_path / "log.txt", "anna tea")))
    after = pl.read_parquet(rows_of_lines(write(tmp_path / "log.txt", "anna tea milk")))
    assert (before.height, after.height) == (1, 2)


def test_store_of_lines(tmp_path: Path) -> None:
    """Everything is kept, repeats too; a customer without items is told of."""
    path = write(tmp_path / "log.txt", "anna tea milk tea", "ben milk", "carl")
    with initialize_config_module("conf", version_base="1.3"):
        preprocess(compose("preprocess", ["data=sequences", f"data.path={path}", f"out={tmp_path / 'store'}"]))
    store = SequenceStore.open(tmp_path / "store")
    assert store.meta["counts"]["kept"] == 4
    assert store.meta["reasons"] == {"missing item": 1}
    keys = store.vocabularies["item"].keys
    assert [keys[item] for item in store.columns["item"]] == ["tea", "milk", "tea", "milk"]
