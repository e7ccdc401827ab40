"""Which files, or stretches of files, are read at one time so that the work fits into memory."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from training.events.sources import SourceFile, describe_parquet, parquet_of
from training.events.text import read_text

# Working memory at the peak, measured with texts of 10 to 20 letters.
BYTES_A_ROW, BYTES_A_FIELD = 64, 32  # of a row that is read: its texts, their hashes, its places
BYTES_A_SORTED_FIELD = 40  # of a row whose texts are places already
BYTES_A_LETTER = 8  # of a text file: its cells, each with a pointer, and what a row takes
BYTES_A_KEPT_ROW, BYTES_A_KEPT_FIELD = 12, 4  # of a row whose texts the file has numbered: its time, its position and its other columns
BYTES_A_MOVED_ROW = 16  # more while columns are put into order, one after the other
ROWS_OF_A_STRETCH, AT_ONE_TIME = 1 << 23, 2  # rows that are read together, and how often at one time, where texts are numbered


@dataclass(frozen=True)
class Part:
    """Consecutive files or stretches of files; `first` is the number of the first of them in the whole log."""

    files: list[SourceFile]
    first: int


def fits(files: list[SourceFile], memory: int, *, numbered: bool = False) -> bool:
    """Whether the work on all files at one time stays below `memory` bytes, as far as can be estimated.

    numbered   all of them are files whose texts are numbered: of these only a stretch is read at one time, and only its numbers are kept
    """
    return (_need_of_numbers(files) if numbered else need(files)) <= memory


def need(files: list[SourceFile]) -> int:
    """The estimated bytes that work on all files at one time takes."""
    return sum(_need(file) for file in files)


def parts_of(files: list[SourceFile], memory: int) -> list[Part]:
    """The files in parts of at most `memory` bytes of work each. A text larger than that must have a copy in Parquet."""
    parts: list[Part] = []
    room, number = 0, 0
    for file in files:
        for stretch, need in _stretches(file, memory):
            if not parts or need > room:
                parts.append(Part([], number))
                room = memory
            parts[-1].files.append(stretch)
            room, number = room - need, number + 1
    return parts


def stretches(file: SourceFile, *, rows: int) -> Iterator[SourceFile]:
    """A file that has its rows in Parquet, or a stretch of one, in stretches of about as many rows each and `rows` at most."""
    path = parquet_of(file)
    assert path
    length = describe_parquet(path).num_rows - file.start if file.length is None else file.length
    number = -(-length // rows)
    if number <= 1:
        yield file
        return
    bounds = [file.start + length * place // number for place in range(number + 1)]
    for start, end in pairwise(bounds):
        yield replace(file, start=start, length=end - start)


def is_large_text(file: SourceFile, memory: int) -> bool:
    """Whether the file is a text that has to be cut, which only its copy in Parquet can be."""
    return parquet_of(file) is None and _need(file) > memory


def rows_at_a_time(num_fields: int, memory: int) -> int:
    """How many rows of a run can be sorted in so much memory."""
    return max(1, memory // (num_fields * BYTES_A_SORTED_FIELD))


def _need(file: SourceFile) -> int:
    path = parquet_of(file)
    if path is None:
        return read_text(file.path).path.stat().st_size * BYTES_A_LETTER
    return describe_parquet(path).num_rows * _need_of_a_row(file, path)


def _need_of_numbers(files: list[SourceFile]) -> int:
    """While the largest stretch is read, or while all columns are put into order."""
    rows = [describe_parquet(path).num_rows for file in files if (path := parquet_of(file))]
    fields = max(_num_fields(file, path) for file in files if (path := parquet_of(file)))
    read = AT_ONE_TIME * max(min(num_rows, ROWS_OF_A_STRETCH) for num_rows in rows) * (BYTES_A_ROW + fields * BYTES_A_FIELD // 4)
    return sum(rows) * (BYTES_A_KEPT_ROW + fields * BYTES_A_KEPT_FIELD) + max(read, sum(rows) * BYTES_A_MOVED_ROW)


def _num_fields(file: SourceFile, path: Path) -> int:
    names = set(describe_parquet(path).schema.to_arrow_schema().names)
    return sum(column.column in names for column in file.source.columns.values())


def _need_of_a_row(file: SourceFile, path: Path) -> int:
    metadata = describe_parquet(path)
    stored = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    return BYTES_A_ROW + BYTES_A_FIELD * _num_fields(file, path) + stored // max(metadata.num_rows, 1)


def _stretches(file: SourceFile, memory: int) -> Iterator[tuple[SourceFile, int]]:
    path = parquet_of(file)
    if path is None:
        yield file, _need(file)
        return
    num_rows, need = describe_parquet(path).num_rows, _need_of_a_row(file, path)
    length = max(1, memory // need)
    if num_rows <= length:
        yield file, num_rows * need
        return
    for start in range(0, num_rows, length):
        yield replace(file, start=start, length=min(length, num_rows - start)), min(length, num_rows - start) * need
