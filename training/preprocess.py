"""Turn a raw log into a sequence store.

python -m training.preprocess data=complete_journey
python -m training.preprocess data=events data.path=my_log.csv out=stores/mine
"""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from training.cli import command
from training.engine import Engine, choose_engine
from training.errors import ConfigError, RevisitError, StoreError
from training.events.additions import check_all_there, grown, new_files, open_for_more
from training.events.append import append
from training.events.clean import Cleaned, Say, clean_at_once
from training.events.collection import collect
from training.events.collection_page import render_collection, sentences
from training.events.crew import gather_crew
from training.events.in_parts import clean_in_parts
from training.events.journal import Journal
from training.events.numbered import are_numbered
from training.events.parts import fits, need
from training.events.schema import Log, log_from_config
from training.events.sources import SourceFile, find_more, find_side_tables, find_sources, locate
from training.files import write_json, write_text
from training.sequences.store import IDENTITIES, VERSION, SequenceStore, check_replaceable, file_digest, read_meta, write_store

TIMES_REMOVED = 50  # five seconds, for workers who don't know yet that all was in vain
COLLECTION, COLLECTION_PAGE = "collection.json", "collection.html"  # of a store, beyond what training reads

console = Console(soft_wrap=True)


def preprocess(config: DictConfig) -> Path:
    """Make the store that `conf/preprocess.yaml` describes and return its path; nothing is done if it is there and up to date.

    With `append` the files named there are added to the store that is there.
    Raises DataError, ConfigError, StoreError or DeviceError for what a user can mend; then nothing is written.
    """
    data = _data(config)
    log, out, engine = log_from_config(data), Path(config.out), choose_engine(config.engine.get("device", config.engine.name))
    check_replaceable(out)
    return (_append if config.append else _make)(config, data, log, out, engine)


def _make(config: DictConfig, data: dict[str, Any], log: Log, out: Path, engine: Engine) -> Path:
    """The store of all files of the log."""
    started = time.perf_counter()
    files, memory = find_sources(log), _memory(config.memory)
    with ThreadPoolExecutor(1) as background:  # digests take as long as reading the disk does: the work goes on meanwhile
        sources = background.submit(_digests, log, files)
        if not config.force and _is_made(out, data, log, files, sources):
            console.print(f"{out}: already done, the sources and settings have not changed (force=true makes it again)")
            return out
        with _work_folder(out) as folder, console.status("") as status:
            cleaned = _clean(log, files, engine, memory=memory, folder=folder, data=data, workers=config.engine, say=status.update)
            meta = {"data": data, "sources": sources.result(), "seconds": round(time.perf_counter() - started, 1)}
            status.update(f"writing {out}")
            _write(out, log, cleaned, meta, collection=config.collection)
    console.print(f"read {cleaned.num_read:,} rows of {len(files)} files of {log.name} (engine {config.engine.name})")
    _print_outcome(out, log)
    return out


def _append(config: DictConfig, data: dict[str, Any], log: Log, out: Path, engine: Engine) -> Path:
    """The store that is there with the files of `append`, those that it doesn't have."""
    started = time.perf_counter()
    store, found = open_for_more(out, data), find_more(log, Path(config.append))
    digests = _digests(log, found)
    files = new_files(store, found, digests, memory=_memory(config.memory))
    if not files:
        console.print(f"{out}: already done, it has what is in {config.append}")
        return out
    had = {file.name for file in found} - {file.name for file in files}
    with console.status("") as status:
        cleaned = append(store, log, files, engine, say=status.update)
        meta = {"data": data, **grown(store, files, [digest for digest in digests if digest["path"] not in had])}
        status.update(f"writing {out}")
        _write(out, log, cleaned, {**meta, "seconds": round(time.perf_counter() - started, 1)}, collection=config.collection)
    num_read = cleaned.num_read - store.meta["counts"]["read"]
    console.print(f"added {num_read:,} rows of {len(files)} files of {log.name} (engine {engine.name})")
    _print_outcome(out, log)
    return out


def _write(out: Path, log: Log, cleaned: Cleaned, meta: dict[str, Any], *, collection: bool) -> None:
    meta |= {"counts": cleaned.counts, "reasons": cleaned.reasons}
    if cleaned.left_out:
        meta["left_out"] = cleaned.left_out
    if cleaned.united:
        meta["identity"] = cleaned.united.counts
    more = partial(_write_more, cleaned=cleaned, log=log, collection=collection)
    write_store(out, **vars(cleaned.encoded), quarantine=cleaned.quarantined, meta=meta, more=more)


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
    """Whether a store lies there that was made of the same files with the same settings, wherever the files were then.

    Raises ConfigError where it has files that were added to it and that the log doesn't have.
    """
    try:
        meta = SequenceStore.open(out).meta
    except StoreError:
        return False
    sizes = {name: path.stat().st_size for name, path in _all_files(log, files).items()}
    check_all_there(meta, sizes.keys(), out)
    if {**meta["data"], "path": ""} != {**data, "path": ""} or {file["path"]: file["bytes"] for file in meta["sources"]} != sizes:
        return False
    with console.status(f"comparing {len(sizes)} files of {log.name} with {out}"):
        return sorted(meta["sources"], key=itemgetter("path")) == sorted(sources.result(), key=itemgetter("path"))


def _clean(
    log: Log, files: list[SourceFile], engine: Engine, *, memory: int, folder: Path, data: Any, workers: Mapping[str, Any], say: Say
) -> Cleaned:
    """The contents of the store: in one go where that fits into memory, else, or by many, in parts that lie in `folder` meanwhile."""
    if fits(files, memory, numbered=are_numbered(files, log, engine)) and workers["name"] != "dask":
        return clean_at_once(log, files, engine, say=say)
    status = {name: path.stat() for name, path in _all_files(log, files).items()}
    with gather_crew(workers) as crew:
        memory = min(memory, -(-need(files) // crew.num_workers))  # work for everyone
        task = {
            "data": data,
            "memory": memory,
            "files": {name: [of_file.st_size, of_file.st_mtime_ns] for name, of_file in status.items()},
            "versions": [VERSION, pl.__version__],
        }
        # By paths that mean the same wherever a worker runs.
        log, files = replace(log, path=str(locate(log).resolve())), [replace(file, path=file.path.resolve()) for file in files]
        return clean_in_parts(log, files, engine, memory=memory, journal=Journal(folder.resolve(), task), crew=crew, say=say)


def _write_more(folder: Path, *, cleaned: Cleaned, log: Log, collection: bool) -> None:
    """What a store holds beyond what training reads."""
    if cleaned.united:
        cleaned.united.table.write_parquet(folder / IDENTITIES)
    if collection:
        counts = collect(cleaned.encoded, reasons=cleaned.reasons, identity=cleaned.united.counts if cleaned.united else None)
        write_json(folder / COLLECTION, counts)
        write_text(folder / COLLECTION_PAGE, render_collection(counts, name=log.name))


def _memory(gibibytes: Any) -> int:
    """The budget in bytes."""
    if not isinstance(gibibytes, int | float) or not gibibytes > 0:
        raise ConfigError(f"memory: expected a number of GiB above 0, received {gibibytes!r}; the usual value is 4")
    return int(gibibytes * 2**30)


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """A name beside `out` for unfinished work: gone after success or a mistake, it stays if the process is cut off or the disk is full."""
    folder = out.with_name(out.name + ".work")
    try:
        yield folder
    except RevisitError as error:
        if not isinstance(error.__cause__, OSError):
            _remove(folder)
        raise
    _remove(folder)


def _remove(folder: Path) -> None:
    """Try again where a worker of a cluster is still writing: what it writes into is gone then, so that it ends soon."""
    for _ in range(TIMES_REMOVED):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


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
    if (out / COLLECTION).is_file():
        for sentence in sentences(json.loads((out / COLLECTION).read_text(encoding="utf-8"))):
            console.print(f"· {sentence}")
        console.print(f"[dim]{out / COLLECTION_PAGE} shows more[/dim]")
    console.print(f"{counts['customers']:,} customers, {counts['items']:,} items: the store lies in {out}")


def main(config: DictConfig) -> None:
    """Compose, make the store, say where it lies."""
    preprocess(config)


if __name__ == "__main__":
    command(main, config_name="preprocess")
