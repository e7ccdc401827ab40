"""Every customer of a store at one moment, in one table: what the model says, the RFM class beside it, the embedding, and reasons in words.

    python -m training.score run=runs/cdnow now=1998-01-01 reasons=3

Customers are asked in parts, each whole or absent on disk: a killed process goes on with the next and ends with the same bytes.
"""

import json
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from training.answers import Answers, ask, checked_explained, columns_of
from training.baselines.features import Activity
from training.baselines.rfm import rfm_scores
from training.baselines.snapshots import Snapshots
from training.build import Parts
from training.cli import command
from training.configs import check_score_config
from training.errors import ConfigError
from training.events.journal import Journal
from training.export import finished_run, load_run
from training.files import replacing_file, sha256
from training.layout import answering
from training.objectives.dormancy import LONGEST_DAYS, RETURN_DAYS
from training.reasons import reasons
from training.sequences.history import History, count_until
from training.sequences.split import DAY, date_of, microseconds

KNOWN_BY = b"revisit-scores"  # in the table's metadata: what it was made of
BATCHES_A_PART = 16
PART = "scores.parquet"
READ_BY_RFM = ("event", "item", "timestamp", "price", "quantity")

console = Console(soft_wrap=True)


def score(config: DictConfig) -> Path:
    """Write the table of a run, whole or not at all. Returns its path; leaves it alone if it is of the same run, log and moment already.

    Raises ConfigError, ArtifactError or StoreError for what a user can mend.
    """
    check_score_config(config)
    run, out = finished_run(config.run), Path(config.out)
    parts = load_run(run)
    now = moment(parts, config.now)
    explained = checked_explained(parts, config.explain) if config.reasons else ""
    task = _task(config, run, parts, now, explained)
    if _task_of(out) == task and not config.force:
        console.print(f"{out} is of this run and moment already; force=true scores anew")
        return out
    torch.set_flush_denormal(True)  # numbers too small to matter cost a CPU fifty times what others do
    customers = _customers(parts, now)
    journal = Journal(out.with_name(out.name + ".work").resolve(), task)
    began = time.perf_counter()
    _write_whole(out, _write_parts(config, parts, customers, now, explained, journal), task)
    shutil.rmtree(journal.folder)
    _tell(out, parts, now, len(customers), time.perf_counter() - began)
    return out


def moment(parts: Parts, date: str | int | float | None) -> int:
    """µs: the last instant before a date (UTC), or that of the log's last event."""
    return microseconds(str(date), "now") - 1 if date is not None else int(parts.store.meta["span"][1])


def return_dates(days: np.ndarray, now: int) -> pa.Array:
    """The day (UTC) by which half of customers like these are back, so many days after a moment; null where that is not to be expected."""
    expected = np.floor((now + days.astype(np.float64) * DAY) / DAY).astype(np.int32)
    return pa.array(expected, pa.int32(), mask=days >= LONGEST_DAYS).cast(pa.date32())


def rfm_classes(parts: Parts, now: int) -> np.ndarray:
    """Of each customer at a moment: the fifths of recency, frequency and monetary value, "555" the best, "000" who never bought: [C]."""
    columns = {name: values for name, values in parts.store.columns.items() if name in READ_BY_RFM}
    purchases = np.flatnonzero(parts.model.features.rhythm.is_purchase.numpy())
    names = parts.store.vocabularies["event"].keys
    past = History.at(History(parts.store.offsets, columns), now)
    snapshots = Snapshots.take(Activity.of(past, intent_events=purchases, event_names=names), [now])
    classes = np.full(parts.store.num_customers, "000", dtype="<U3")
    classes[snapshots.customer] = ["".join(map(str, row)) for row in rfm_scores(snapshots).astype(int).tolist()]
    return classes


def _customers(parts: Parts, now: int) -> np.ndarray:
    """Who has been seen by the moment: positions, rising."""
    customers = np.flatnonzero(count_until(parts.store, now))
    if not len(customers):
        first = date_of(parts.store.meta["span"][0])
        raise ConfigError(f"expected customers with events before now={date_of(now + 1)}, found none; the log begins on {first}")
    return customers


def _groups(customers: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (customers[start : start + size] for start in range(0, len(customers), size))


def _write_parts(config: DictConfig, parts: Parts, customers: np.ndarray, now: int, explained: str, journal: Journal) -> list[Path]:
    """The parts of the table in order, those that an earlier process wrote among them."""
    classes, groups = rfm_classes(parts, now), list(_groups(customers, config.customers_per_batch * BATCHES_A_PART))
    steps = [partial(_write_part, config, parts, group, now, classes[group], explained) for group in groups]
    return [journal.step(f"{number:06d}", step) / PART for number, step in enumerate(track(steps, description="Asking the model"))]


def _write_part(config: DictConfig, parts: Parts, group: np.ndarray, now: int, classes: np.ndarray, explained: str, folder: Path) -> None:
    pq.write_table(_table(config, parts, group, now, classes, explained), folder / PART)


def _table(config: DictConfig, parts: Parts, group: np.ndarray, now: int, classes: np.ndarray, explained: str) -> pa.Table:
    """A part of the table: the rows of some customers, asked with others of like length."""
    by_length = np.argsort(np.diff(parts.store.offsets)[group], kind="stable")
    asked = [_asked(config, parts, batch, now, explained) for batch in _groups(group[by_length], config.customers_per_batch)]
    told = pa.concat_tables(asked).take(pa.array(np.argsort(by_length)))
    keys = parts.store.keys.gather(group).to_arrow().cast(pa.string())
    told = told.add_column(0, "customer", keys).add_column(1, "rfm", pa.array(classes.tolist(), pa.string()))
    return told.combine_chunks()


def _asked(config: DictConfig, parts: Parts, batch: np.ndarray, now: int, explained: str) -> pa.Table:
    said: Answers = ask(parts, parts.store, batch, now)
    columns = columns_of(parts, said)
    if RETURN_DAYS in said.values:
        columns["return_date"] = return_dates(said.values[RETURN_DAYS], now)
    if explained:
        columns["reasons"] = reasons(
            parts, batch, now, said.values[explained], explained=explained, most=config.reasons, tried=config.steps_tried
        )
    return pa.table(columns)


def _task(config: DictConfig, run: Path, parts: Parts, now: int, explained: str) -> dict[str, Any]:
    """What the table's content depends on."""
    given = {name: config[name] for name in ("reasons", "steps_tried", "customers_per_batch")}
    return {
        "checkpoint": sha256(answering(run)),
        "store": parts.store.digest,
        "now": now,
        "explain": explained,
        **given,
        "torch": torch.__version__,
    }


def _task_of(out: Path) -> dict[str, Any] | None:
    """What the table at `out` was made of, if there is one. Raises ConfigError for another file: it isn't ours to replace."""
    if not out.exists():
        return None
    try:
        known: dict[str, Any] = json.loads(pq.read_schema(out).metadata[KNOWN_BY])
    except (OSError, pa.ArrowInvalid, KeyError, TypeError):
        raise ConfigError(f"expected scores or nothing in {out}, found another file; choose another place with out=FILE") from None
    return known


def _write_whole(out: Path, files: list[Path], task: dict[str, Any]) -> None:
    with replacing_file(out) as aside:
        schema = pq.read_schema(files[0]).with_metadata({KNOWN_BY: json.dumps(task).encode()})
        with pq.ParquetWriter(aside, schema) as writer:
            for file in files:
                writer.write_table(pq.read_table(file).replace_schema_metadata(schema.metadata))


def _tell(out: Path, parts: Parts, now: int, num_scored: int, seconds: float) -> None:
    console.print(f"Scores: [bold]{out}[/], {num_scored:,} customers as of {date_of(now)}, asked in {seconds:.1f} s")
    if later := parts.store.num_customers - num_scored:
        console.print(f"{later:,} customers have no row: their first event is later")


def main(config: DictConfig) -> None:
    score(config)


if __name__ == "__main__":
    command(main, config_name="score")
