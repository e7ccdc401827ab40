from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.sequences.vocabulary import Vocabulary, count_keys, encode_keys, with_reserved

EVENTS = pl.LazyFrame({"item": ["b", "c", None, "a", "b", "é", "c"], "n": [0, 1, 2, 3, 4, 5, 6]})


def vocabulary() -> Vocabulary:
    names = pl.DataFrame({"key": ["a", "z"], "name": ["Apple", "Zebra"]})
    return with_reserved(count_keys(EVENTS, "item").collect(), num_missing=1, attributes=names)


def test_ids_follow_falling_count_then_key() -> None:
    assert vocabulary().keys == ["", "", "b", "c", "a", "é"]
    assert vocabulary().counts.tolist() == [1, 0, 2, 2, 1, 1]


def test_attributes_stand_beside_their_keys_and_are_empty_where_unknown() -> None:
    assert vocabulary().attributes == {"name": ["", "", "", "", "Apple", ""]}


def test_encoding_gives_0_to_missing_and_1_to_unknown_keys() -> None:
    ids = vocabulary().encode(["c", None, "", "never seen", "é"])
    assert ids.tolist() == [3, 0, 0, 1, 5]
    assert ids.dtype == np.int32


def test_encoding_nothing_gives_nothing() -> None:
    assert vocabulary().encode([]).shape == (0,)


def test_the_plan_encodes_as_the_vocabulary_does() -> None:
    by_plan = encode_keys(EVENTS, count_keys(EVENTS, "item"), "item").collect()
    assert by_plan["item"].to_list() == vocabulary().encode(EVENTS.collect()["item"].to_list()).tolist()
    assert by_plan["n"].to_list() == [0, 1, 2, 3, 4, 5, 6]


def test_a_vocabulary_comes_back_as_it_was_written(tmp_path: Path) -> None:
    vocabulary().write(tmp_path / "item.parquet")
    back = Vocabulary.read(tmp_path / "item.parquet")
    assert (back.keys, back.counts.tolist(), back.attributes) == (vocabulary().keys, vocabulary().counts.tolist(), vocabulary().attributes)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"key": ["", ""]}, "expected the columns id, key, count"),
        ({"id": pa.array([0, 1], pa.int32()), "key": ["", "a"], "count": [0, 1]}, "0 and 1 reserved"),
        ({"id": pa.array([0, 1, 3], pa.int32()), "key": ["", "", "a"], "count": [0, 0, 1]}, "ids from 0 on"),
    ],
    ids=["columns", "reserved", "gap"],
)
def test_another_table_is_refused(tmp_path: Path, table: dict[str, list[object]], message: str) -> None:
    pq.write_table(pa.table(table), tmp_path / "item.parquet")
    with pytest.raises(ValueError, match=message):
        Vocabulary.read(tmp_path / "item.parquet")
