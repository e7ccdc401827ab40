"""A log's files as Polars plans: found, opened, checked for their columns. Nothing is parsed here and no row is lost."""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import DataError
from training.events.lines import rows_of_lines
from training.events.schema import Column, ItemTable, Log, Lookup, Source
from training.events.text import Text, is_packed, read_text

TEXT_FILES, PARQUET_FILES = (".csv", ".tsv", ".txt"), (".parquet", ".pq")
BLANK, REPLACEMENT = " ", "\ufffd"
ROW, SURPLUS, FLAW = HELPERS = ("_row", "_surplus", "_flaw")


@dataclass(frozen=True)
class SourceFile:
    """One file of one source, or a stretch of it; `name` is its path below the log's.

    start, length   which rows are meant, from 0; all that follow where no length is said
    copy            the same rows in Parquet, as `write_copy` made it
    """

    name: str
    path: Path
    source: Source
    start: int = 0
    length: int | None = None
    copy: Path | None = None


def find_sources(log: Log) -> list[SourceFile]:
    """The files of all sources in the order of the config, then of their names. Raises DataError where a source has none."""
    return [SourceFile(name, path, source) for source in log.sources.values() for name, path in find_files(log, source.files)]


def find_more(log: Log, path: Path) -> list[SourceFile]:
    """New files of a log: a file, or those of a folder, whose names match the patterns of sources. Raises DataError where none does."""
    if not path.exists():
        raise DataError(f"append={path}: expected new files of {log.name}, but there is nothing; set append=PATH")
    folder, root = path if path.is_dir() else path.parent, locate(log)
    found = []
    for source in log.sources.values():
        files = sorted(file for file in folder.glob(source.files) if file.is_file()) if source.files else [path] if path.is_file() else []
        found += [SourceFile(_name(file, root), file, source) for file in files if path in (file, folder)]
    if not found:
        patterns = ", ".join(source.files for source in log.sources.values()) or "a file"
        raise DataError(f"append={path}: expected {patterns}, found no such file; set append=PATH")
    return found


def _name(file: Path, root: Path) -> str:
    """What a store calls a new file: as if it had been there from the start, if it lies below the log's path."""
    below = root if root.is_dir() else root.parent
    return str(file.resolve().relative_to(below.resolve())) if file.resolve().is_relative_to(below.resolve()) else file.name


def find_side_tables(log: Log) -> list[tuple[str, Path]]:
    """The files of lookups, item tables and links, each once."""
    patterns = [lookup.files for source in log.sources.values() for lookup in source.lookups.values()]
    patterns += [table.files for table in log.items.values()]
    patterns += log.identity.links if log.identity else ()
    return sorted({file for pattern in patterns for file in find_files(log, pattern)})


def find_files(log: Log, pattern: str) -> list[tuple[str, Path]]:
    """(name, path) of the files that a pattern means below the log's path. Raises DataError where there are none."""
    root = locate(log)
    if root.is_file():
        return [(root.name, root)]
    if not root.is_dir():
        raise DataError(f"data.path: expected a folder or a file, but {str(root)!r} does not exist; set data.path=PATH")
    if not pattern:
        raise DataError(f"data.path: expected a CSV or Parquet file, found the folder {str(root)!r}; set data.path=FILE")
    files = sorted(path for path in root.glob(pattern) if path.is_file())
    if not files:
        found = ", ".join(sorted(path.name for path in root.iterdir())[:10]) or "nothing"
        raise DataError(f"{root}: expected the file {pattern}, found {found}; set data.path=FOLDER")
    return [(str(path.relative_to(root)), path) for path in files]


def locate(log: Log) -> Path:
    """The log's path; `pkg://package/folder` lies in an installed package, which is not imported for it."""
    if not log.path.startswith("pkg://"):
        return Path(log.path).expanduser()
    package, _, folder = log.path.removeprefix("pkg://").partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"data={log.name}: expected the package {package}, which is not installed; run `{log.install or f'pip install {package}'}`"
        )
    return Path(spec.submodule_search_locations[0]) / folder


def open_table(path: Path, *, names: tuple[str, ...] = (), separator: str = "") -> pl.LazyFrame:
    """The plan that reads a text (every column as text) or Parquet file; `names` are the columns of a text without a header.

    A text has one more column, `_surplus`: what a row has beyond its last cell, null where that is nothing.
    Raises DataError where the file is empty or can't be read.
    """
    try:
        if path.suffix.lower() in PARQUET_FILES:
            return _checked(pl.scan_parquet(path, glob=False))
        if separator or _ending(path) in TEXT_FILES:
            return _open_text(path, names, separator or _usual_separator(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: expected a readable file, but {brief(error)}") from error
    endings = f"{', '.join(TEXT_FILES + PARQUET_FILES)} or a text's with .gz or .zip behind it"
    raise DataError(f"{path}: expected a file that ends in {endings}; for another text set the source's separator")


def open_source(file: SourceFile, log: Log) -> pl.LazyFrame:
    """The plan of one source file with its lookups joined on and the column `_row` counting from 1.

    A text also has `_flaw`: what is wrong with the row as a whole, null where nothing is.
    Raises DataError where a column that the config names is missing.
    """
    source, table = file.source, _numbered(file)
    wanted = [name for column in source.columns.values() if not column.optional for name in (column.column, column.divide_by) if name]
    for lookup in source.lookups.values():
        require_columns(table, [lookup.by], file.path)
        table = table.join(_open_lookup(lookup, log), on=lookup.by, how="left", maintain_order="left")
    require_columns(table, wanted, file.path)
    return table


def write_copy(file: SourceFile, path: Path) -> None:
    """Write the file's rows as Parquet, of which a stretch can be read without what stands before it; in little memory."""
    _numbered(file).sink_parquet(path, compression="lz4")


def parquet_of(file: SourceFile) -> Path | None:
    """The Parquet file that holds the file's rows: itself or its copy; None where they are a text so far."""
    if file.copy:
        return file.copy
    return file.path if file.path.suffix.lower() in PARQUET_FILES else None


def describe_parquet(path: Path) -> pq.FileMetaData:
    """How many rows a Parquet file has, of which columns. Raises DataError where it can't be read."""
    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: expected a readable Parquet file, but {brief(error).rstrip('.')}; fetch it again") from error


def present(columns: Mapping[str, Column], table: pl.LazyFrame) -> dict[str, Column]:
    """The columns of a source without the optional ones that the table lacks."""
    found = table.collect_schema().names()
    return {name: column for name, column in columns.items() if column.literal or column.column in found}


def require_columns(table: pl.LazyFrame, wanted: Iterable[str], path: Path) -> None:
    """Raise DataError, naming the columns that are there, if one of the wanted ones is not."""
    found = _columns(table)
    if missing := [name for name in dict.fromkeys(wanted) if name not in found]:
        raise DataError(f"{path}: expected the column {', '.join(missing)}; the file has {', '.join(found)}")


def item_attributes(log: Log) -> list[pl.LazyFrame]:
    """One plan an item table: `key` (the item) and its attributes as text; where a key comes twice its first row counts."""
    tables = ((table, path) for table in log.items.values() for _, path in find_files(log, table.files))
    return [_attributes(table, path) for table, path in tables]


def brief(error: Exception) -> str:
    """The first line of an error of Polars: the others describe the plan."""
    return re.sub(r"\s+", " ", str(error).strip().split("\n\n")[0])[:200]


def _numbered(file: SourceFile) -> pl.LazyFrame:
    """The rows that are meant with the column `_row` and, of a text, `_flaw`."""
    if file.copy:
        return _stretch(pl.scan_parquet(file.copy, glob=False), file)
    # Cut before rows are numbered: Polars would read all rows to number them.
    path = rows_of_lines(file.path) if file.source.layout == "lines" else file.path
    table = _stretch(open_table(path, names=file.source.names, separator=file.source.separator), file)
    table = table.with_row_index(ROW, offset=1 + file.start).with_columns(pl.col(ROW).cast(pl.Int64))
    if SURPLUS in table.collect_schema():
        table = table.with_columns(_flaw(file, table).alias(FLAW)).drop(SURPLUS)
    return table


def _stretch(table: pl.LazyFrame, file: SourceFile) -> pl.LazyFrame:
    return table if file.length is None else table.slice(file.start, file.length)


def _columns(table: pl.LazyFrame) -> list[str]:
    """The columns that the file itself has."""
    return [name for name in table.collect_schema().names() if name not in HELPERS]


def _ending(path: Path) -> str:
    return (path.with_suffix("") if is_packed(path) else path).suffix.lower()


def _usual_separator(path: Path) -> str:
    return "\t" if _ending(path) == ".tsv" else ","


def _open_text(path: Path, names: tuple[str, ...], separator: str) -> pl.LazyFrame:
    plain = read_text(path).path
    if separator == BLANK:
        return _scan_blanks(plain, names)
    found = pl.scan_csv(plain, has_header=not names, separator=separator, infer_schema=False, glob=False).collect_schema().names()
    if names and len(found) != len(names):
        raise DataError(f"{path}: expected the {len(names)} columns {', '.join(names)}, found {len(found)} columns")
    # A column more than the file has, so that a row with too many cells shows, where it would else be cut or end the reading.
    columns = dict.fromkeys([*(names or found), SURPLUS], pl.String())
    return pl.scan_csv(plain, schema=columns, has_header=not names, separator=separator, truncate_ragged_lines=True, glob=False)


def _scan_blanks(path: Path, names: tuple[str, ...]) -> pl.LazyFrame:
    """Any number of blanks between the cells: each line is read as one cell and taken apart."""
    with path.open(encoding="utf-8-sig") as stream:
        columns = names or tuple(stream.readline().split())
    # Neither sign occurs in a text. cuDF wants a sign for quotes.
    lines = pl.scan_csv(
        path, schema={"line": pl.String()}, has_header=False, skip_rows=0 if names else 1, separator="\x1f", quote_char="\x1e", glob=False
    )
    cells = {name: pl.col("line").str.extract(rf"^\s*(?:\S+\s+){{{place}}}(\S+)", 1) for place, name in enumerate([*columns, SURPLUS])}
    return _checked(lines).select(**cells)


def _flaw(file: SourceFile, table: pl.LazyFrame) -> pl.Expr:
    """What is wrong with each row of a text: it has too many cells, is the last one and cut short, or holds bytes that are no UTF-8."""
    text, columns = read_text(file.path), _columns(table)
    flaw = pl.when(pl.col(SURPLUS).is_not_null()).then(pl.lit("too many cells"))
    if _is_cut_short(text, len(columns), file.source.separator or _usual_separator(file.path)):
        flaw = flaw.when(pl.col(ROW) == pl.col(ROW).max()).then(pl.lit("truncated row"))  # type: ignore[assignment]
    if text.is_broken:
        used = {name for column in file.source.columns.values() for name in (column.column, column.divide_by)}
        broken = [pl.col(name).str.contains(REPLACEMENT, literal=True) for name in columns if name in used]
        flaw = flaw.when(pl.any_horizontal(broken)).then(pl.lit("broken encoding"))  # type: ignore[assignment]
    return flaw.otherwise(pl.lit(None, pl.String))


def _is_cut_short(text: Text, num_columns: int, separator: str) -> bool:
    """Whether the file ends inside a row. A whole row without a line break is no fault."""
    if text.is_open or not text.unfinished.strip():
        return text.is_open
    cells = text.unfinished.split() if separator == BLANK else next(csv.reader([text.unfinished], delimiter=separator))
    return len(cells) < num_columns


def _attributes(table: ItemTable, path: Path) -> pl.LazyFrame:
    rows = open_table(path, names=table.names, separator=table.separator)
    require_columns(rows, [table.key, *(name for parts in table.columns.values() for name in parts)], path)
    words = {name: _joined(parts) for name, parts in table.columns.items()}
    key = pl.lit(table.prefix) + pl.col(table.key).cast(pl.String)
    return rows.select(key.alias("key"), **words).unique("key", keep="first", maintain_order=True)


def _joined(parts: tuple[str, ...]) -> pl.Expr:
    """The parts that are there, with commas between them."""
    words = [pl.col(name).cast(pl.String).fill_null("") for name in parts]
    joined = words[0]
    for word in words[1:]:
        comma = pl.when((joined == "") | (word == "")).then(pl.lit("")).otherwise(pl.lit(", "))
        joined = joined + comma + word
    return joined


def _open_lookup(lookup: Lookup, log: Log) -> pl.LazyFrame:
    ((_, path), *others) = find_files(log, lookup.files)
    if others:
        raise DataError(f"{path}: expected one file for a lookup, but {lookup.files} means {1 + len(others)}")
    table, key = open_table(path), lookup.key or lookup.by
    require_columns(table, [key, *lookup.columns], path)
    if table.filter(pl.col(key).is_not_null()).select(pl.col(key).is_duplicated().any()).collect().item():
        raise DataError(f"{path}: expected one row for each {key} in a lookup, found several")
    return table.select(pl.col(key).alias(lookup.by), *lookup.columns)


def _checked(table: pl.LazyFrame) -> pl.LazyFrame:
    table.collect_schema()
    return table
