from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.files import sha256
from training.sequences import store
from training.sequences.pieces import Pieces, write_pieces

COLUMNS = {"timestamp": np.arange(1_000), "item": np.arange(1_000, dtype=np.int32), "price": np.linspace(0, 1, 1_000, dtype=np.float32)}


def test_pieces_are_written_as_arrow_would_write_the_whole(tmp_path: Path) -> None:
    table = pa.table(COLUMNS)
    with pa.OSFile(str(tmp_path / "whole"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_batch(table.to_batches()[0])
    for num_pieces in (1, 7, 1_000):
        pieces = Pieces(table.schema, 1_000, lambda name, n=num_pieces: np.array_split(COLUMNS[name], n))
        assert write_pieces(tmp_path / "pieces", pieces) == sha256(tmp_path / "pieces")
        assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()


def test_pieces_of_another_size_than_was_told_are_a_mistake_of_ours(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the pieces of timestamp are 8000 bytes, 16000 were told"):
        write_pieces(tmp_path / "pieces", Pieces(pa.table(COLUMNS).schema, 2_000, lambda name: [COLUMNS[name]]))


def test_how_tables_are_cut_changes_no_byte_of_the_quarantine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROWS_A_GROUP", 64)
    table = pa.table({"row": np.arange(1_000), "text": [f"text {i % 7}" for i in range(1_000)]})
    files = []
    for cuts in ([0, 1_000], [0, 1, 64, 65, 700, 1_000], [0, 64, 128, 1_000]):
        files.append(tmp_path / str(len(cuts)))
        store._write_tables(files[-1], [table[start:end] for start, end in pairwise(cuts)])
    assert len({file.read_bytes() for file in files}) == 1
    assert pq.read_table(files[0]).equals(table)
