"""Every plan of preprocessing is one that cuDF takes, and asking for a GPU that isn't there says what to do."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers_events import GOOD, events_config, write_log
from omegaconf import OmegaConf

from training import engine
from training.engine import choose_engine
from training.errors import ConfigError, DeviceError
from training.events.identity import link_plans
from training.events.quarantine import TEXTS, fields_of, judge_texts, quarantine, separate, separate_placed
from training.events.schema import Log, log_from_config
from training.events.sources import SourceFile, find_sources, item_attributes

DATED = ["x,29.02.2024 10:00,view,tea,1,1,", "x,2024-02-29,view,tea,1,1,"]


def log(path: Path, *, columns: dict[str, Any] | None = None, source: dict[str, Any] | None = None, **settings: Any) -> Log:
    """The log of canonical columns at `path` with other columns and settings."""
    data: Any = OmegaConf.to_container(events_config(path).data, resolve=True)
    data["sources"]["log"]["columns"] |= columns or {}
    data["sources"]["log"] |= source or {}
    return log_from_config({**data, **settings})


def logs(folder: Path) -> list[Log]:
    """Between them these use every setting that changes a plan."""
    shop, dated, bare = (
        write_log(folder, rows, name=name) for name, rows in {"shop.csv": GOOD, "dated.csv": DATED, "bare.csv": []}.items()
    )
    bare.write_text("ann,1511544070,buy,tea\n")
    (folder / "blanks.txt").write_text(" customer  day code\n ann  20240229 C1\n")
    (folder / "broken.csv").write_bytes(b"customer,timestamp,event,item\nann,2024-02-29,view,tea\nben,2024-02-29,view,t\xe9a\nann,2024-0")
    typed = {"customer": [1.0], "timestamp": pl.Series([0]).cast(pl.Datetime("ns")), "item": [7], "paid": [1.5], "n": [2]}
    pl.DataFrame(typed).write_parquet(folder / "typed.parquet")
    words = {"all": {"files": "", "key": "item", "prefix": "p:", "columns": {"name": ["item", "channel"]}}}
    berlin = {"timestamp": {"column": "timestamp", "format": "iso", "timezone": "Europe/Berlin"}, "item": {"column": "item", "prefix": "p"}}
    formats = {"timestamp": {"column": "timestamp", "format": ["%d.%m.%Y %H:%M", "%Y-%m-%d"]}}
    seconds = {"timestamp": {"column": "timestamp", "format": "epoch_s"}, "event": {"column": "event", "map": {"buy": "purchase"}}}
    bought = {"event": {"literal": "purchase"}, "price": {"column": "paid", "divide_by": "n"}, "timestamp": "timestamp"}
    coded = {
        "timestamp": {"column": "day", "format": "%Y%m%d"},
        "event": {"column": "code", "patterns": {"^C": "return", "^[0-9]": "purchase"}},
        "item": {"literal": "cd"},
        "quantity": {"column": "code", "negative_for": ["return"]},
    }
    return [
        log(shop, items=words, identity={"links": "", "key": "customer", "account": "channel"}),
        log(shop, columns=berlin, keep_exact_repeats=True),
        log(dated, columns=formats, time_range={"start": "2024-01-01", "until": "2025-01-01"}),
        log(bare, columns=seconds, source={"names": ["customer", "timestamp", "event", "item"]}),
        log(
            folder / "typed.parquet",
            identity={"links": "", "key": "customer", "account": "item"},
            columns=bought,
            source={"lookups": {"more": {"files": "", "by": "item", "columns": ["paid"]}}},
        ),
        log(folder / "blanks.txt", columns=coded, source={"separator": " "}),
        log(folder / "broken.csv"),
    ]


def plans(log: Log) -> Iterator[pl.LazyFrame]:
    """All plans that `preprocess` runs for a log, also where it is read in parts."""
    files = find_sources(log)
    yield separate(log, files)
    rows = separate(log, files).collect()
    stretches = [replace(file, start=1, length=1) for file in files]
    yield separate(log, stretches, fields=fields_of(log, files), first=len(files))
    yield from quarantine(log, files, rows)
    yield from quarantine(log, files, rows.clear())
    yield from quarantine(log, stretches, rows)
    yield from item_attributes(log)
    yield from link_plans(log) if log.identity else ()
    for number, file in enumerate(files):
        yield from placed_plans(log, file, number)


def placed_plans(log: Log, file: SourceFile, number: int) -> Iterator[pl.LazyFrame]:
    """Those of a file whose texts are numbered: of its words, and of its rows with their places."""
    fields = fields_of(log, [file])
    texts = {name: column for name, column in file.source.columns.items() if name in fields and fields[name] in TEXTS}
    for column in (column for column in texts.values() if column.column):
        yield judge_texts(pl.Series(["tea", "", "cup"]), column, log)
    if not any(column.negative_for for column in file.source.columns.values()):
        yield separate_placed(log, file, pl.DataFrame(dict.fromkeys(texts, pl.Series([0], dtype=pl.Int32))), fields=fields, number=number)


def untranslated(plan: pl.LazyFrame) -> list[Exception]:
    from cudf_polars.dsl.translate import Translator

    translator = Translator(plan._ldf.visit(), pl.GPUEngine(executor="in-memory", raise_on_fail=True))
    translator.translate_ir()
    return list(translator.errors)


@pytest.mark.skipif(find_spec("cudf_polars") is None, reason="cudf-polars is not installed: pip install -e '.[gpu]'")
def test_every_plan_translates_for_cudf(tmp_path: Path) -> None:
    checked = [untranslated(plan) for log in logs(tmp_path) for plan in plans(log)]
    assert len(checked) > 2 * len(logs(tmp_path))
    assert not any(checked), [errors for errors in checked if errors]


def test_the_logs_above_are_read(tmp_path: Path) -> None:
    kept = [separate(log, find_sources(log)).collect()["reason"].null_count() for log in logs(tmp_path)]
    assert kept == [len(GOOD), len(GOOD), len(DATED), 1, 1, 0, 1]


def test_a_gpu_without_cudf_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"cuDF is not installed; run `pip install -e '.\[gpu\]'`.*or use engine=cpu"):
        choose_engine("gpu")


def test_cudf_without_a_gpu_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_gpu(*args: object) -> None:
        raise RuntimeError("no driver\nat all")

    monkeypatch.setattr(engine, "find_spec", lambda name: object())
    monkeypatch.setattr(engine.Engine, "collect", no_gpu)
    with pytest.raises(DeviceError, match=r"no NVIDIA GPU that it can use \(no driver at all\).*or use engine=cpu"):
        choose_engine("gpu")


def test_another_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected cpu or gpu, found 'tpu'"):
        choose_engine("tpu")


@pytest.mark.gpu
def test_both_engines_give_the_same_tables(tmp_path: Path) -> None:
    for log in logs(tmp_path):
        for plan in plans(log):
            on_gpu, on_cpu = choose_engine("gpu").collect(plan), choose_engine("cpu").collect(plan)
            assert on_gpu.sort(on_gpu.columns).equals(on_cpu.sort(on_cpu.columns))
