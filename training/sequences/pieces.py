"""Columns larger than memory, written as one Arrow record batch.

A record batch holds its columns one behind the other, so they are written column by column, each from its pieces. Arrow itself lays out the
file: it is given columns of addresses that nothing lies at, and where it writes such a column its pieces are written in its place.
"""

import hashlib
import mmap
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Pieces:
    """schema     the columns, none with nulls
    num_rows   of all pieces together
    read       the pieces of a column, in order: arrays of the column's type
    """

    schema: pa.Schema
    num_rows: int
    read: Callable[[str], Iterable[np.ndarray]]


def pieces_of(columns: Mapping[str, np.ndarray]) -> Pieces:
    """Columns that are in memory."""
    schema = pa.schema([(name, pa.from_numpy_dtype(values.dtype)) for name, values in columns.items()])
    return Pieces(schema, len(next(iter(columns.values()))), lambda name: [columns[name]])


def arrow_of(values: np.ndarray) -> pa.Array:
    """An array as Arrow's, without a copy. `pyarrow.array` and `to_numpy` import pandas first, where it is installed: half a second."""
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)], null_count=0)


def write_pieces(file: Path, pieces: Pieces) -> str:
    """Write an Arrow file of one uncompressed batch: the same bytes as if the columns had been in memory. Returns their sha256."""
    widths = [field.type.bit_width // 8 for field in pieces.schema]
    assert pieces.num_rows
    # Address space only: no page of it is ever touched.
    buffers = [pa.py_buffer(mmap.mmap(-1, pieces.num_rows * width)) for width in widths]
    columns = [
        pa.Array.from_buffers(field.type, pieces.num_rows, [None, buffer], null_count=0)
        for field, buffer in zip(pieces.schema, buffers, strict=True)
    ]
    names = {buffer.address: name for buffer, name in zip(buffers, pieces.schema.names, strict=True)}
    with file.open("wb") as stream, ThreadPoolExecutor(1) as beside:
        sink = _Sink(stream, names, pieces, beside)
        with pa.ipc.new_file(pa.PythonFile(sink, mode="w"), pieces.schema) as writer:
            writer.write_batch(pa.record_batch(columns, schema=pieces.schema))
        return beside.submit(sink.digest.hexdigest).result()


class _Sink:
    """A file to which Arrow writes; for a column without contents its pieces are written. What is written is digested beside."""

    closed = False

    def __init__(self, stream: IO[bytes], names: dict[int, str], pieces: Pieces, beside: Executor) -> None:
        self._stream, self._names, self._pieces, self._beside = stream, names, pieces, beside
        self.digest = hashlib.sha256()
        self._digested: Future[object] = beside.submit(self.digest.copy)

    def write(self, data: Any) -> int:
        name = self._names.get(data.address) if isinstance(data, pa.Buffer) else None
        if name is None:
            return self._put(bytes(data))
        written = sum(self._put(np.ascontiguousarray(piece).data) for piece in self._pieces.read(name))
        assert written == len(data), f"the pieces of {name} are {written} bytes, {len(data)} were told"
        return written

    def _put(self, data: Any) -> int:
        self._digested.result()  # no more than one piece waits in memory
        self._digested = self._beside.submit(self.digest.update, data)
        return self._stream.write(data)

    def tell(self) -> int:
        return self._stream.tell()

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """The stream is closed by whoever opened it."""
