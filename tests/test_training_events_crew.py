"""Parts of a log on the workers of a Dask cluster: the same bytes, whoever dies."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers_events import composed
from helpers_simulator import simulated
from test_training_events_in_parts import AT_ONCE, IN_PARTS, arguments, some_rows, write_files
from test_training_preprocess import contents

from training.errors import ConfigError, DataError, DeviceError
from training.events import crew
from training.preprocess import preprocess

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed: pip install -e '.[dask]'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two processes."""
    with crew._started({"device": "cpu", "workers": 2}) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


def on_cluster(client: Any) -> list[str]:
    return ["engine=dask", f"engine.address={client.scheduler.address}"]


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_cluster_gives_the_same_bytes(tmp_path: Path, cluster: Any, ending: str) -> None:
    log = write_files(tmp_path, some_rows(2_000), num_files=3, ending=ending)
    once = preprocess(composed(*arguments(log, tmp_path / "once", AT_ONCE)))
    many = preprocess(composed(*arguments(log, tmp_path / "many", IN_PARTS, *on_cluster(cluster))))
    assert contents(many) == contents(once)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "many", "once"]


def test_a_log_that_fits_into_memory_is_still_work_for_all(tmp_path: Path, cluster: Any) -> None:
    log = simulated(tmp_path / "log", "num_events=20000", "num_customers=400", "days=90")
    where = ["data=simulated", f"data.path={log}"]
    once = preprocess(composed(*where, f"out={tmp_path / 'once'}"))
    assert contents(preprocess(composed(*where, f"out={tmp_path / 'many'}", *on_cluster(cluster)))) == contents(once)


def test_a_worker_that_is_killed_loses_nothing(tmp_path: Path, cluster: Any) -> None:
    log = write_files(tmp_path, some_rows(6_000), num_files=2, ending="parquet")
    once = preprocess(composed(*arguments(log, tmp_path / "once", AT_ONCE)))
    victims, config = cluster.run(os.getpid), composed(*arguments(log, tmp_path / "many", IN_PARTS / 2, *on_cluster(cluster)))
    with ThreadPoolExecutor(1) as background:
        many = background.submit(preprocess, config)
        while len(list((tmp_path / "many.work").glob("run-*"))) < 3 and not many.done():
            time.sleep(0.005)
        assert not many.done(), "nobody was at work any more"
        os.kill(next(iter(victims.values())), signal.SIGKILL)
        assert contents(many.result()) == contents(once)
    cluster.wait_for_workers(2)
    assert set(cluster.run(os.getpid).values()) != set(victims.values())


def test_workers_are_started_and_stopped_where_no_address_is_given(tmp_path: Path) -> None:
    log = write_files(tmp_path, some_rows(300), num_files=1, ending="parquet")
    once = preprocess(composed(*arguments(log, tmp_path / "once", AT_ONCE)))
    many = preprocess(composed(*arguments(log, tmp_path / "many", AT_ONCE, "engine=dask", "engine.workers=1")))
    assert contents(many) == contents(once)


def test_what_is_wrong_with_a_log_ends_in_one_line(tmp_path: Path, cluster: Any) -> None:
    log = write_files(tmp_path, [",2024-03-01,view,x,,,"] * 20, num_files=2, ending="csv")
    with pytest.raises(DataError, match="expected usable rows, but all 20 are quarantined"):
        preprocess(composed(*arguments(log, tmp_path / "out", 1, *on_cluster(cluster))))
    (log / "0.csv").write_text(
        'customer,timestamp,event,item,price,quantity,channel\nann,2024-03-01,view,5" pipe,,,\nann,2024-03-01,view,x,,,\n'
    )
    with pytest.raises(DataError, match="can't be read"):
        preprocess(composed(*arguments(log, tmp_path / "out", 1, *on_cluster(cluster))))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_no_scheduler_and_no_dask_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write_files(tmp_path, some_rows(30), num_files=1, ending="csv")
    monkeypatch.setattr(crew, "SECONDS_TO_ANSWER", 0.5)
    with pytest.raises(ConfigError, match=r"engine\.address: expected a Dask scheduler at tcp://127\.0\.0\.1:9, but none answers there"):
        preprocess(composed(*arguments(log, tmp_path / "out", 1, "engine=dask", "engine.address=tcp://127.0.0.1:9")))
    monkeypatch.setattr(crew, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"engine=dask: dask\.distributed is not installed; run `pip install -e '\.\[dask\]'`"):
        preprocess(composed(*arguments(log, tmp_path / "out", 1, "engine=dask")))
    with pytest.raises(DeviceError, match="engine=gpu: cuDF"):
        preprocess(composed(*arguments(log, tmp_path / "out", 1, "engine=dask", "engine.device=gpu")))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
