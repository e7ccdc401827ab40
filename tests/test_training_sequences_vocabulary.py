from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.sequences.vocabulary import Vocabulary, by_falling_count, with_reserved

KEYS, COUNTS = pl.Series(["a", "b", "c", "é"]), np.array([1, 2, 2, 1])


def vocabulary() -> Vocabulary:
    names = pl.DataFrame({"key": ["a", "z"], "name": ["Apple", "Zebra"]})
    return with_reserved(by_falling_count(KEYS, COUNTS)[0], num_missing=1, attributes=names)


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


def test_the_id_of_each_key_is_its_place_in_the_vocabulary() -> None:
    ids = by_falling_count(KEYS, COUNTS)[1]
    assert ids.tolist() == vocabulary().encode(KEYS.to_list()).tolist() == [4, 2, 3, 5]
    assert ids.dtype == np.int32


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
