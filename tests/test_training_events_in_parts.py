"""The store of a log is the same bytes however the work is cut, and whenever it is killed."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from helpers_events import HEADER, composed
from omegaconf import OmegaConf
from test_training_preprocess import ROOT, contents

from training.errors import ConfigError, DataError
from training.events.parts import fits, parts_of
from training.events.quarantine import fields_of, separate
from training.events.schema import log_from_config
from training.events.sources import find_sources, write_copy
from training.preprocess import preprocess

AT_ONCE, IN_PARTS = 4.0, 0.0002  # GiB
NUM_KILLS = 3
DIRT = [",2024-03-01,view,x,,,", "ann,soon,view,x,,,", "ann,2024-03-01,poke,x,,,"]


def some_rows(num_rows: int, *, seed: int = 0) -> list[str]:
    """Customers of all sizes, few instants, repeats near and far, now and then a row that can't be used."""
    generator, rows = random.Random(seed), []
    for number in range(num_rows):
        customer, day, item = int(generator.paretovariate(0.5)) % 97, 1 + generator.randrange(28), int(generator.paretovariate(0.6)) % 89
        event, price, channel = generator.choice(["view", "cart"]), generator.choice(["", "0", "1.5"]), "web" * (item % 2)
        new = f"c{customer},2024-03-{day:02},{event},i{item},{price},,{channel}"
        rows.append(generator.choice(rows) if rows and number % 11 == 0 else DIRT[number % 3] if number % 17 == 0 else new)
    return rows


def write_files(folder: Path, rows: Sequence[str], *, num_files: int, ending: str) -> Path:
    (folder / "log").mkdir()
    for number in range(num_files):
        path = folder / "log" / f"{number}.{ending}"
        path.write_text("\n".join([HEADER, *rows[number::num_files]]) + "\n")
        if ending == "parquet":
            pl.read_csv(path, infer_schema=False).write_parquet(path, row_group_size=100)
    return folder / "log"


def arguments(log: Path, out: Path, memory: float, *more: str) -> list[str]:
    pattern = f"+data.sources.log.files=*{next(log.iterdir()).suffix}"
    return ["data=events", f"data.path={log}", pattern, f"out={out}", f"memory={memory}", *more]


@pytest.mark.parametrize(
    ("num_files", "ending", "settings"),
    [
        (1, "parquet", []),
        (5, "parquet", ["+data.keep_exact_repeats=true"]),
        (1, "csv", []),
        (7, "csv", []),
        (2, "parquet", ["+data.sessions.by=day"]),
        (2, "parquet", ["+data.filter={min_item_events: 20, min_customer_events: 8, max_customer_events: 200}", "+data.sessions={}"]),
    ],
    ids=["one parquet", "repeats kept", "one csv", "many csv", "sessions", "filters"],
)
def test_the_number_of_parts_changes_no_byte(tmp_path: Path, num_files: int, ending: str, settings: list[str]) -> None:
    log = write_files(tmp_path, some_rows(3_000), num_files=num_files, ending=ending)
    once, parts = (preprocess(composed(*arguments(log, tmp_path / str(memory), memory, *settings))) for memory in (AT_ONCE, IN_PARTS))
    assert contents(parts) == contents(once)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["log", once.name, parts.name])


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_stretch_is_read_without_the_rows_around_it(tmp_path: Path, ending: str) -> None:
    log_path = write_files(tmp_path, some_rows(500), num_files=1, ending=ending)
    log = log_from_config(OmegaConf.to_container(composed(*arguments(log_path, tmp_path, 1)).data, resolve=True))  # type: ignore[arg-type]
    (file,) = find_sources(log)
    whole = separate(log, [file]).collect()
    if ending == "csv":
        write_copy(file, tmp_path / "copy.parquet")
        file = replace(file, copy=tmp_path / "copy.parquet")
    plan = separate(log, [replace(file, start=120, length=200)], fields=fields_of(log, [file]))
    assert "SLICE: Positive { offset: 120, len: 200 }" in plan.explain(), "Polars would read all rows and throw most of them away"
    assert plan.collect().equals(whole[120:320])


def test_parts_hold_all_rows_once_and_stay_below_the_budget(tmp_path: Path) -> None:
    log_path = write_files(tmp_path, some_rows(3_000), num_files=4, ending="parquet")
    log = log_from_config(OmegaConf.to_container(composed(*arguments(log_path, tmp_path, 1)).data, resolve=True))  # type: ignore[arg-type]
    files = find_sources(log)
    parts = parts_of(files, 100_000)
    assert len(parts) > 4
    assert [part.first for part in parts] == [sum(len(before.files) for before in parts[:number]) for number in range(len(parts))]
    lengths = {
        file.name: sum(stretch.length or 750 for part in parts for stretch in part.files if stretch.name == file.name) for file in files
    }
    assert set(lengths.values()) == {750}
    assert all(len(part.files) == 1 or fits(part.files, 200_000) for part in parts)
    assert not fits(files, 100_000)


@pytest.mark.parametrize("rows", [[",2024-03-01,view,x,,,"] * 900, []], ids=["all broken", "no row"])
def test_a_log_without_usable_rows_leaves_nothing(tmp_path: Path, rows: list[str]) -> None:
    log = write_files(tmp_path, rows, num_files=2, ending="csv")
    with pytest.raises(DataError, match="expected usable rows, but all 900" if rows else "expected events, found a log without a row"):
        preprocess(composed(*arguments(log, tmp_path / "out", 3e-6)))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize("memory", ["0", "-1", "much"])
def test_a_budget_must_be_a_number_above_0(tmp_path: Path, memory: str) -> None:
    log = write_files(tmp_path, some_rows(9), num_files=1, ending="csv")
    with pytest.raises(ConfigError, match="memory: expected a number of GiB above 0"):
        preprocess(composed(*arguments(log, tmp_path / "out", 1)[:-1], f"memory={memory}"))


def steps(work: Path) -> set[str]:
    return {path.name for path in work.iterdir()} if work.is_dir() else set()


def test_killed_at_any_moment_the_next_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    log = write_files(tmp_path, some_rows(6_000), num_files=2, ending="parquet")
    once = contents(preprocess(composed(*arguments(log, tmp_path / "once", AT_ONCE, "collection=true"))))
    command = [sys.executable, "-m", "training.preprocess", *arguments(log, tmp_path / "killed", IN_PARTS / 2)]
    generator, work, kept, num_kills = random.Random(1), tmp_path / "killed.work", 0, 0
    while True:
        process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
        new_steps, before = generator.randrange(2, 20), steps(work)
        while process.poll() is None and (num_kills == NUM_KILLS or len(steps(work) - before) < new_steps):
            time.sleep(0.002)
        if process.poll() is not None:
            break
        time.sleep(generator.random() * 0.02)
        process.kill()
        process.wait()
        num_kills += 1
        whole = {name for name in steps(work) if not name.endswith(".partial")}
        assert len(whole) > kept, "the work of an earlier run was thrown away"
        kept = len(whole)
    assert process.returncode == 0
    assert num_kills == NUM_KILLS
    assert contents(tmp_path / "killed") == once
    assert not work.exists()
