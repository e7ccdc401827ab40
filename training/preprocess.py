"""Turn a raw log into a sequence store.

python -m training.preprocess data=complete_journey
python -m training.preprocess data=events data.path=my_log.csv out=stores/mine
"""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from training.cli import command
from training.engine import Engine, choose_engine
from training.errors import ConfigError, DataError, StoreError
from training.events.encode import encode
from training.events.quarantine import quarantine, separate
from training.events.refine import refine
from training.events.runs import Run, drop_repeats, sort_rows
from training.events.schema import Filter, Log, log_from_config
from training.events.sources import SourceFile, brief, find_side_tables, find_sources, item_attributes
from training.sequences.store import SequenceStore, check_replaceable, file_digest, read_meta, write_store

console = Console(soft_wrap=True)


def preprocess(config: DictConfig) -> Path:
    """Make the store that `conf/preprocess.yaml` describes and return its path; nothing is done if it is there and up to date.

    Raises DataError, ConfigError, StoreError or DeviceError for what a user can mend; then nothing is written.
    """
    started = time.perf_counter()
    data = _data(config)
    log, out, engine = log_from_config(data), Path(config.out), choose_engine(config.engine.name)
    check_replaceable(out)
    files = find_sources(log)
    with ThreadPoolExecutor(1) as background:  # digests take as long as reading the disk does: the work goes on meanwhile
        sources = background.submit(_digests, log, files)
        if not config.force and _is_made(out, data, log, files, sources):
            console.print(f"{out}: already done, the sources and settings have not changed (force=true makes it again)")
            return out
        run, quarantined, counts = _clean(log, files, engine)
        run, left_out = refine(run, log) if log.sessions or log.filter != Filter() else (run, {})
        encoded = encode(run, attributes=_item_words(log, engine))
        reasons = dict(quarantined.group_by("reason").len().sort("len", "reason", descending=[True, False]).iter_rows())
        meta: dict[str, Any] = {"data": data, "counts": counts, "reasons": reasons, "sources": sources.result()}
    if left_out:
        meta |= {"counts": {**counts, "kept": run.num_rows, "left_out": sum(left_out.values())}, "left_out": left_out}
    meta["seconds"] = round(time.perf_counter() - started, 1)
    with console.status(f"writing {out}"):
        write_store(out, **vars(encoded), quarantine=quarantined.to_arrow(), meta=meta)
    _print_outcome(out, log)
    return out


def _data(config: DictConfig) -> dict[str, Any]:
    """The log's composed config as plain data."""
    if "data" not in config:
        raise ConfigError("data=LOG: expected the name of a log, found none; --help lists them")
    if missing := OmegaConf.missing_keys(config.data):
        raise ConfigError(f"expected a value for {', '.join(sorted(missing))}, found none; set {min(missing)}=VALUE")
    data: dict[str, Any] = json.loads(json.dumps(OmegaConf.to_container(config.data, resolve=True)))
    return data


def _digests(log: Log, files: list[SourceFile]) -> list[dict[str, Any]]:
    return [{"path": name, **file_digest(path)} for name, path in _all_files(log, files).items()]


def _all_files(log: Log, files: list[SourceFile]) -> dict[str, Path]:
    return {**{file.name: file.path for file in files}, **dict(find_side_tables(log))}


def _is_made(out: Path, data: Any, log: Log, files: list[SourceFile], sources: Future[list[dict[str, Any]]]) -> bool:
    """Whether a store lies there that was made of the same files with the same settings, wherever the files were then."""
    try:
        meta = SequenceStore.open(out).meta
    except StoreError:
        return False
    sizes = {name: path.stat().st_size for name, path in _all_files(log, files).items()}
    if {**meta["data"], "path": ""} != {**data, "path": ""} or {file["path"]: file["bytes"] for file in meta["sources"]} != sizes:
        return False
    with console.status(f"comparing {len(sizes)} files of {log.name} with {out}"):
        return bool(meta["sources"] == sources.result())


def _clean(log: Log, files: list[SourceFile], engine: Engine) -> tuple[Run, pl.DataFrame, dict[str, int]]:
    """The usable events, the rows that can't be used, and how many there are of both."""
    with console.status(f"reading {len(files)} files of {log.name} (engine {engine.name})"), _readable(log, files):
        rows = engine.collect(separate(log, files))
        num_rows, broken = rows.height, rows.filter(pl.col("reason").is_not_null()).select("_order", "reason")
        kept = (rows.filter(pl.col("reason").is_null()) if broken.height else rows).drop("reason")
        del rows
        if kept.is_empty():
            raise DataError(f"data={log.name}: {_nothing_usable(_fetch(log, files, broken, engine))}")
    with console.status(f"sorting {kept.height:,} events"):
        run, again = sort_rows(kept, log.kinds), np.zeros(0, dtype=np.int64)
        del kept
        if not log.keep_exact_repeats:
            run, again = drop_repeats(run)
    with console.status("fetching the rows that can't be used"), _readable(log, files):
        broken = pl.concat([broken, pl.DataFrame({"_order": again}).with_columns(reason=pl.lit("exact repeat"))])
        quarantined = _fetch(log, files, broken, engine)
    console.print(f"read {num_rows:,} rows of {len(files)} files of {log.name} (engine {engine.name})")
    return run, quarantined, {"read": num_rows, "kept": num_rows - broken.height, "quarantined": broken.height}


def _fetch(log: Log, files: list[SourceFile], broken: pl.DataFrame, engine: Engine) -> pl.DataFrame:
    """The rows that can't be used, as text: files are read once more only where there are some."""
    return pl.concat([engine.collect(plan) for plan in quarantine(log, files, broken)]).sort("source", "row")


def _item_words(log: Log, engine: Engine) -> list[pl.DataFrame]:
    try:
        return [engine.collect(plan) for plan in item_attributes(log)]
    except pl.exceptions.PolarsError as error:
        raise DataError(f"data.items of {log.name}: {brief(error)}") from error


@contextmanager
def _readable(log: Log, files: list[SourceFile]) -> Iterator[None]:
    """A file that turns out to be damaged while it is read is the user's to mend."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise DataError(f"data={log.name}: {', '.join(file.name for file in files)} can't be read: {brief(error)}") from error


def _nothing_usable(quarantined: pl.DataFrame) -> str:
    if quarantined.is_empty():
        return "expected events, found a log without a row"
    reason, count = quarantined["reason"].value_counts(sort=True).row(0)
    example = quarantined.filter(pl.col("reason") == reason).drop("reason").row(0, named=True)
    words = ", ".join(f"{name} {text!r}" for name, text in example.items())
    found = f"all {quarantined.height} are quarantined, {count} as {reason!r}, for example {words}"
    return f"expected usable rows, but {found}; mend the log or data.sources"


def _print_outcome(out: Path, log: Log) -> None:
    meta = read_meta(out)
    counts = meta["counts"]
    table = Table("rows", "count", title=log.name)
    table.columns[1].justify = "right"
    reasons = {f"quarantined: {reason}": count for reason, count in meta["reasons"].items()}
    reasons |= {f"left out: {reason}": count for reason, count in meta.get("left_out", {}).items()}
    for name, count in {"read": counts["read"], "kept": counts["kept"], **reasons}.items():
        table.add_row(name, f"{count:,}")
    console.print(table)
    if log.caveat:
        console.print(f"[dim]{log.caveat}[/dim]")
    console.print(f"{counts['customers']:,} customers, {counts['items']:,} items: the store lies in {out}")


def main(config: DictConfig) -> None:
    """Compose, make the store, say where it lies."""
    preprocess(config)


if __name__ == "__main__":
    command(main, config_name="preprocess")
