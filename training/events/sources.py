"""A log's files as Polars plans: found, opened, checked for their columns. Nothing is parsed here and no row is lost."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from training.errors import DataError
from training.events.schema import Column, ItemTable, Log, Lookup, Source

TEXT_FILES, PARQUET_FILES = (".csv", ".tsv", ".txt"), (".parquet", ".pq")


@dataclass(frozen=True)
class SourceFile:
    """One file of one source; `name` is its path below the log's."""

    name: str
    path: Path
    source: Source


def find_sources(log: Log) -> list[SourceFile]:
    """The files of all sources in the order of the config, then of their names. Raises DataError where a source has none."""
    return [SourceFile(name, path, source) for source in log.sources.values() for name, path in find_files(log, source.files)]


def find_side_tables(log: Log) -> list[tuple[str, Path]]:
    """The files of lookups and item tables, each once."""
    patterns = [lookup.files for source in log.sources.values() for lookup in source.lookups.values()]
    patterns += [table.files for table in log.items.values()]
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


def open_table(path: Path, *, names: tuple[str, ...] = (), separator: str = ",") -> pl.LazyFrame:
    """The plan that reads a CSV (every column as text) or Parquet file; `names` are the columns of a CSV without a header.

    Raises DataError where the file is empty or can't be read.
    """
    if path.suffix.lower() not in TEXT_FILES + PARQUET_FILES:
        raise DataError(f"{path}: expected a file that ends in {', '.join(TEXT_FILES + PARQUET_FILES)}")
    try:
        if path.suffix.lower() in PARQUET_FILES:
            return _checked(pl.scan_parquet(path, glob=False))
        return _scan_csv(path, names, separator)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: expected a readable file, but {brief(error)}") from error


def open_source(file: SourceFile, log: Log) -> pl.LazyFrame:
    """The plan of one source file with its lookups joined on and the column `_row` counting from 1.

    Raises DataError where a column that the config names is missing.
    """
    table = open_table(file.path, names=file.source.names, separator=file.source.separator)
    table = table.with_row_index("_row", offset=1).with_columns(pl.col("_row").cast(pl.Int64))
    for lookup in file.source.lookups.values():
        require_columns(table, [lookup.by], file.path)
        table = table.join(_open_lookup(lookup, log), on=lookup.by, how="left", maintain_order="left")
    wanted = [column for column in file.source.columns.values() if column.column and not column.optional]
    require_columns(table, [name for column in wanted for name in (column.column, column.divide_by) if name], file.path)
    return table


def present(columns: Mapping[str, Column], table: pl.LazyFrame) -> dict[str, Column]:
    """The columns of a source without the optional ones that the table lacks."""
    found = table.collect_schema().names()
    return {name: column for name, column in columns.items() if column.literal or column.column in found}


def require_columns(table: pl.LazyFrame, wanted: Iterable[str], path: Path) -> None:
    """Raise DataError, naming the columns that are there, if one of the wanted ones is not."""
    found = [name for name in table.collect_schema().names() if name != "_row"]
    if missing := [name for name in dict.fromkeys(wanted) if name not in found]:
        raise DataError(f"{path}: expected the column {', '.join(missing)}; the file has {', '.join(found)}")


def item_attributes(log: Log) -> list[pl.LazyFrame]:
    """One plan an item table: `key` (the item) and its attributes as text; where a key comes twice its first row counts."""
    tables = ((table, path) for table in log.items.values() for _, path in find_files(log, table.files))
    return [_attributes(table, path) for table, path in tables]


def brief(error: Exception) -> str:
    """The first line of an error of Polars: the others describe the plan."""
    return re.sub(r"\s+", " ", str(error).strip().split("\n\n")[0])[:200]


def _scan_csv(path: Path, names: tuple[str, ...], separator: str) -> pl.LazyFrame:
    table = _checked(pl.scan_csv(path, has_header=not names, separator=separator, infer_schema=False, glob=False))
    if not names:
        return table
    if len(found := table.collect_schema().names()) != len(names):
        raise DataError(f"{path}: expected the {len(names)} columns {', '.join(names)}, found {len(found)} columns")
    # cuDF wants the names told to the scan.
    return pl.scan_csv(path, has_header=False, new_columns=list(names), separator=separator, infer_schema=False, glob=False)


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
