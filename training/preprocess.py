"""Turn a raw log into a sequence store.

python -m training.preprocess data=complete_journey
python -m training.preprocess data=events data.path=my_log.csv out=stores/mine
"""

import json
import time
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from training.cli import command
from training.engine import Engine, choose_engine
from training.errors import ConfigError, DataError, StoreError
from training.events.encode import Encoded, encode
from training.events.quarantine import quarantine, separate
from training.events.schema import Log, log_from_config
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
    with console.status(f"comparing {len(files)} files of {log.name} with {out}"):
        sources = _digests(log, files)
    if not config.force and _is_made(out, data, sources):
        console.print(f"{out}: already done, the sources and settings have not changed (force=true makes it again)")
        return out
    kept, quarantined = _read(log, files, engine)
    encoded = _encode(log, kept, engine)
    reasons = dict(quarantined.group_by("reason").len().sort("len", "reason", descending=[True, False]).iter_rows())
    counts = {"read": kept.height + quarantined.height, "kept": kept.height, "quarantined": quarantined.height}
    meta = {"data": data, "counts": counts, "reasons": reasons, "sources": sources, "seconds": round(time.perf_counter() - started, 1)}
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
    paths = {**{file.name: file.path for file in files}, **dict(find_side_tables(log))}
    return [{"path": name, **file_digest(path)} for name, path in paths.items()]


def _is_made(out: Path, data: Any, sources: list[dict[str, Any]]) -> bool:
    """Whether a store lies there that was made of the same files with the same settings, wherever the files were then."""
    try:
        meta = SequenceStore.open(out).meta
    except StoreError:
        return False
    return meta["sources"] == sources and {**meta["data"], "path": ""} == {**data, "path": ""}


def _read(log: Log, files: list[SourceFile], engine: Engine) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that can be used and those that can't."""
    with console.status(f"reading {len(files)} files of {log.name} (engine {engine.name})"):
        try:
            rows = engine.collect(separate(log, files))
            kept = rows.filter(pl.col("reason").is_null()).drop("reason")
            broken = rows.filter(pl.col("reason").is_not_null()).select("_order", "reason")
            quarantined = pl.concat([engine.collect(plan) for plan in quarantine(log, files, broken)]).sort("source", "row")
        except pl.exceptions.PolarsError as error:
            raise DataError(f"data={log.name}: {', '.join(file.name for file in files)} can't be read: {brief(error)}") from error
    if kept.is_empty():
        raise DataError(f"data={log.name}: {_nothing_usable(quarantined)}")
    console.print(f"read {kept.height + quarantined.height:,} rows of {len(files)} files of {log.name} (engine {engine.name})")
    return kept, quarantined


def _nothing_usable(quarantined: pl.DataFrame) -> str:
    if quarantined.is_empty():
        return "expected events, found a log without a row"
    reason, count = quarantined["reason"].value_counts(sort=True).row(0)
    example = quarantined.filter(pl.col("reason") == reason).drop("reason").row(0, named=True)
    words = ", ".join(f"{name} {text!r}" for name, text in example.items())
    found = f"all {quarantined.height} are quarantined, {count} as {reason!r}, for example {words}"
    return f"expected usable rows, but {found}; mend the log or data.sources"


def _encode(log: Log, kept: pl.DataFrame, engine: Engine) -> Encoded:
    with console.status(f"sorting {kept.height:,} events"):
        try:
            return encode(kept, log.kinds, attributes=[engine.collect(plan) for plan in item_attributes(log)], engine=engine)
        except pl.exceptions.PolarsError as error:
            raise DataError(f"data.items of {log.name}: {brief(error)}") from error


def _print_outcome(out: Path, log: Log) -> None:
    meta = read_meta(out)
    counts = meta["counts"]
    table = Table("rows", "count", title=log.name)
    table.columns[1].justify = "right"
    reasons = {f"quarantined: {reason}": count for reason, count in meta["reasons"].items()}
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
