import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers_events import small_store

from training.errors import ConfigError, StoreError
from training.files import replacing_folder
from training.sequences.store import SequenceStore


def change_meta(path: Path, **changes: object) -> None:
    file = path / "store.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


def rewrite(file: Path, table: pa.Table) -> None:
    """Put another table in the place of `file` and make store.json agree about its size."""
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    files = json.loads((file.parent / "store.json").read_text())["files"]
    change_meta(file.parent, files={**files, file.name: {**files[file.name], "bytes": file.stat().st_size}})


def rewrite_offsets(path: Path, offsets: list[int]) -> None:
    rewrite(path / "customers.arrow", pa.table({"customer": ["ann", "ben"], "offset": pa.array(offsets, pa.int64())}))


def stop_half_way(path: Path) -> None:
    with replacing_folder(path) as partial:
        (partial / "events.arrow").write_text("half")
        raise KeyboardInterrupt


def test_a_store_comes_back_as_it_was_written(tmp_path: Path) -> None:
    store = SequenceStore.open(small_store(tmp_path / "shop"), verify=True)
    assert (store.num_customers, store.num_events, store.customers) == (2, 3, ["ann", "ben"])
    assert store.offsets.tolist() == [0, 2, 3]
    assert {name: column.tolist() for name, column in store.columns.items() if name != "price"} == {
        "timestamp": [10, 20, 15],
        "event": [3, 2, 2],
        "item": [2, 2, 3],
    }
    np.testing.assert_array_equal(store.columns["price"], np.float32([np.nan, 3, 4.5]))
    assert store.vocabularies["item"].attributes["name"][2:] == ["Tea, 250 g", "Cup"]


def test_store_json_says_what_the_design_says(tmp_path: Path) -> None:
    meta = SequenceStore.open(small_store(tmp_path / "shop")).meta
    assert (meta["format"], meta["version"], meta["span"]) == ("revisit-store", 1, [10, 20])
    assert meta["counts"] == {"read": 3, "kept": 3, "quarantined": 0, "customers": 2, "items": 2}
    assert meta["fields"]["item"] == {"kind": "category", "dtype": "int32", "vocabulary": "vocabulary/item.parquet"}
    assert (meta["fields"]["timestamp"], meta["fields"]["price"]) == (
        {"kind": "time", "dtype": "int64"},
        {"kind": "number", "dtype": "float32"},
    )
    assert set(meta["files"]) == {
        "events.arrow",
        "customers.arrow",
        "quarantine.parquet",
        "vocabulary/event.parquet",
        "vocabulary/item.parquet",
    }


def test_columns_are_views_of_the_file_and_read_only(tmp_path: Path) -> None:
    path = small_store(tmp_path / "shop")
    column = SequenceStore.open(path).columns["timestamp"]
    assert not column.flags.owndata
    assert not column.flags.writeable
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith("events.arrow")]
    address = column.__array_interface__["data"][0]
    assert any(int(start, 16) <= address < int(end, 16) for start, end in (line.split()[0].split("-") for line in mapped))


def test_a_customer_is_found_by_key(tmp_path: Path) -> None:
    store = SequenceStore.open(small_store(tmp_path / "shop"))
    assert [store.customer_index(key) for key in ("ann", "ben")] == [0, 1]
    with pytest.raises(StoreError, match="no customer 'zoe' among 2"):
        store.customer_index("zoe")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no store.json": (lambda path: (path / "store.json").unlink(), "expected a sequence store, found no store.json"),
    "no JSON": (lambda path: (path / "store.json").write_text("{"), "expected JSON"),
    "not an object": (lambda path: (path / "store.json").write_text("[1]"), "expected format"),
    "format": (lambda path: change_meta(path, format="parquet"), r"expected format 'revisit-store' version 1, found \('parquet', 1\)"),
    "version": (lambda path: change_meta(path, version=2), r"version 1, found \('revisit-store', 2\)"),
    "keys": (lambda path: (path / "store.json").write_text('{"format": "revisit-store", "version": 1}'), "missing are"),
    "kind": (lambda path: change_meta(path, fields={"item": {"kind": "word"}}), "expected item to be of a kind"),
    "file gone": (lambda path: (path / "customers.arrow").unlink(), r"customers\.arrow: the file is missing"),
    "truncated": (
        lambda path: (path / "events.arrow").write_bytes((path / "events.arrow").read_bytes()[:-8]),
        r"events\.arrow: expected \d+ bytes",
    ),
    "schema": (
        lambda path: rewrite(path / "events.arrow", pa.table({"timestamp": [1, 2, 3]})),
        "expected one batch of timestamp int64, event int32",
    ),
    "offsets": (lambda path: rewrite_offsets(path, [0, 3]), "expected rising offsets"),
    "customers": (
        lambda path: rewrite(path / "customers.arrow", pa.table({"customer": ["ann"], "offset": [0]})),
        r"expected \(3, 2\) events and customers, found \(3, 1\)",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    path = small_store(tmp_path / "shop")
    apply, message = DAMAGES[damage]
    apply(path)
    with pytest.raises(StoreError, match=message) as caught:
        SequenceStore.open(path)
    assert "\n" not in str(caught.value)
    assert "python -m training.preprocess" in str(caught.value)


@pytest.mark.parametrize("name", ["events.arrow", "vocabulary/item.parquet"])
def test_a_changed_digest_is_found_when_asked_for(tmp_path: Path, name: str) -> None:
    path = small_store(tmp_path / "shop")
    flip_a_byte(path / name)
    with pytest.raises(StoreError, match=rf"{name}: expected sha256"):
        SequenceStore.open(path, verify=True)


def test_writing_replaces_a_store_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    small_store(tmp_path / "shop")
    small_store(tmp_path / "shop")
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_a_failure_keeps_the_old_store_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = small_store(tmp_path / "shop")
    with pytest.raises(KeyboardInterrupt):
        stop_half_way(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["shop"]
    SequenceStore.open(path, verify=True)


def test_other_files_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("miaow")
    with pytest.raises(ConfigError, match="found other files"):
        small_store(tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "miaow"


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose another with out=FOLDER"):
        small_store(tmp_path / "file" / "shop")
