"""Texts taken as a Parquet file numbers them are the same places among the same keys as texts looked at row by row."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers_events import events_config
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from training.engine import choose_engine
from training.errors import DataError
from training.events import reading
from training.events.numbered import are_numbered
from training.events.parts import stretches
from training.events.quarantine import fields_of, parted, separate
from training.events.reading import Reader
from training.events.runs import Placed, place_texts
from training.events.schema import Log, log_from_config
from training.events.sources import SourceFile, find_sources

DAY = 86_400_000_000
COLUMNS: dict[str, Any] = {
    "customer": ["ben", "ann", None, "ann", "", "cid", "ann", "x" * 30, "ben"],
    "timestamp": [0, DAY, 2, None, 4, 5, 6, 7, 8],
    "event": ["view", "buy", "view", "view", "view", "stare", "view", "view", "view"],
    "item": ["tea", "cup", "tea", "tea", "cup", "cup", None, "tea", "été"],
    "price": [1.0, -1.0, None, 2.0, None, None, None, 1.0, float("nan")],
    "channel": ["web", None, "web", "web", "", "shop", "web", "web", "y" * 30],
}
EVENT = {"column": "event", "map": {"view": "view", "buy": "purchase", "see": "view"}}


def log_of(path: Path, **settings: Any) -> Log:
    data: Any = OmegaConf.to_container(events_config(path).data, resolve=True)
    data["sources"]["log"]["columns"] |= {"event": EVENT, "item": {"column": "item", "prefix": "i:"}} | settings.pop("columns", {})
    data["sources"]["log"] |= settings.pop("source", {})
    return log_from_config({**data, "max_text_bytes": 20, **settings})


def frame_of(columns: dict[str, Any]) -> pl.DataFrame:
    texts = {name: pl.String for name in columns if name not in ("timestamp", "price")}
    return pl.DataFrame(columns, schema_overrides={**texts, "timestamp": pl.Datetime("us", "UTC"), "price": pl.Float32})


def write(folder: Path, frame: pl.DataFrame, *, rows_a_group: int = 4) -> Path:
    path = folder / "log.parquet"
    frame.write_parquet(path, row_group_size=rows_a_group)
    return path


def both(log: Log, files: list[SourceFile], *, first: int = 0) -> list[tuple[Placed, pl.DataFrame]]:
    """The rows by their pages' numbers and by their texts."""
    assert are_numbered(files, log, choose_engine("cpu"))
    fields = fields_of(log, find_sources(log))
    rows, broken = parted(separate(log, files, fields=fields, first=first).collect())
    return [Reader(log, fields, choose_engine("cpu")).placed(files, first=first), (place_texts(rows, log.kinds), broken)]


def assert_same(ways: list[tuple[Placed, pl.DataFrame]]) -> None:
    (numbered, broken), (read, broken_texts) = ways
    assert broken.equals(broken_texts)
    assert list(numbered.columns) == list(read.columns)
    assert {name: keys.to_list() for name, keys in numbered.keys.items()} == {name: keys.to_list() for name, keys in read.keys.items()}
    for name, values in numbered.columns.items():
        np.testing.assert_array_equal(values, read.columns[name])


def test_every_kind_of_text_has_the_place_and_the_reason_that_its_rows_would(tmp_path: Path) -> None:
    log = log_of(write(tmp_path, frame_of(COLUMNS)))
    ways = both(log, find_sources(log))
    assert_same(ways)
    assert ways[0][1]["reason"].to_list() == [
        "negative price",
        "missing customer",
        "missing timestamp",
        "missing customer",
        "unknown event",
        "missing item",
        "over-long customer",
        "over-long channel",
    ]


TEXTS = st.lists(st.none() | st.text(max_size=24), min_size=1, max_size=40)


@settings(max_examples=30, deadline=None)
@given(texts=TEXTS, start=st.integers(0, 39), length=st.none() | st.integers(1, 40))
def test_any_texts_and_any_stretch_of_them_are_the_same_both_ways(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str | None], start: int, length: int | None
) -> None:
    columns = {name: (values * 5)[: len(texts)] for name, values in COLUMNS.items()} | {"customer": texts, "item": texts[::-1]}
    log = log_of(write(tmp_path_factory.mktemp("log"), frame_of(columns)))
    (file,) = find_sources(log)
    assert_same(both(log, [replace(file, start=min(start, len(texts) - 1), length=length) if length else file], first=3))


def test_files_with_keys_of_their_own_are_united(tmp_path: Path) -> None:
    frame = frame_of(COLUMNS)
    folder = tmp_path / "log"
    folder.mkdir()
    for number, rows in enumerate((frame[:3], frame[3:].drop("channel"), frame[:0])):
        rows.write_parquet(folder / f"{number}.parquet")
    log = log_of(folder, source={"files": "*.parquet"}, columns={"event": {"literal": "purchase"}})
    assert_same(both(log, find_sources(log)))


def test_words_that_a_file_names_and_no_row_has_leave_no_key(tmp_path: Path) -> None:
    table = frame_of(COLUMNS).to_arrow()
    items = pa.DictionaryArray.from_arrays(pa.array([0, 1] + [None] * 7, pa.int8()), pa.array(["tea", "cup", "never sold"]))
    path = tmp_path / "log.parquet"
    pq.write_table(table.set_column(3, "item", items), path)
    log = log_of(path)
    ways = both(log, find_sources(log))
    assert_same(ways)
    assert ways[0][0].keys["item"].to_list() == ["i:tea"], "the row of the cup has a negative price"


def test_a_column_of_numbers_and_a_lookup_are_read_row_by_row(tmp_path: Path) -> None:
    more = {"lookups": {"more": {"files": "", "by": "item", "columns": ["price"]}}}
    looked_up = log_of(write(tmp_path, frame_of(COLUMNS)), source=more)
    assert not are_numbered(find_sources(looked_up), looked_up, choose_engine("cpu"))
    numbers = log_of(write(tmp_path, frame_of(COLUMNS).with_columns(item=pl.Series(range(9)))))
    assert not are_numbered(find_sources(numbers), numbers, choose_engine("cpu"))


def test_a_long_file_is_read_in_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ROWS_OF_A_STRETCH", 2)
    log = log_of(write(tmp_path, frame_of(COLUMNS)))
    (file,) = find_sources(log)
    assert [(some.start, some.length) for some in stretches(replace(file, start=2, length=5), rows=2)] == [(2, 1), (3, 2), (5, 2)]
    assert_same(both(log, [file]))


def test_bytes_that_are_no_text_are_the_users_to_mend(tmp_path: Path) -> None:
    table = frame_of(COLUMNS).to_arrow()
    broken = pa.array([b"caf\xe9"] * 9, pa.binary()).view(pa.string())
    pq.write_table(table.set_column(3, "item", broken), tmp_path / "log.parquet")
    log = log_of(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"log\.parquet can't be read: .*UTF"):
        Reader(log, fields_of(log, find_sources(log)), choose_engine("cpu")).placed(find_sources(log))
