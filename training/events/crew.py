"""Who does the steps of a journal: this process, one after the other, or the workers of a Dask cluster, many at a time.

A step is a function of what lies on disk and its outcome is renamed into place, so it doesn't matter who makes it, nor how often it is
begun: what a worker that dies has not finished is made by another one. All workers must see the folder of the work and the log's files by
the same paths.
"""

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeVar

from training.errors import ConfigError, DataError, DeviceError
from training.events.journal import Journal, Make

T = TypeVar("T")
RETRIES = 2  # of a step that fails for another reason than the log: a disk that is away for a moment
SECONDS_TO_ANSWER = 20
SHARED = "shared.pickle"


class Crew(Protocol):
    """num_workers   how many steps are made at one time."""

    @property
    def num_workers(self) -> int: ...

    def do(self, journal: Journal, steps: Mapping[str, Make], *, say: Callable[[int], None]) -> list[Path]:
        """The outcomes of steps that don't need each other, in their order; `say` is told how many are done."""
        ...

    def share(self, journal: Journal, name: str, thing: T) -> Callable[[], T]:
        """What gives a large thing to steps, wherever they are made."""
        ...


class Alone:
    """This process."""

    num_workers = 1

    def do(self, journal: Journal, steps: Mapping[str, Make], *, say: Callable[[int], None]) -> list[Path]:
        done: list[Path] = []
        for name, make in steps.items():
            say(len(done))
            done.append(journal.step(name, make))
        return done

    def share(self, journal: Journal, name: str, thing: T) -> Callable[[], T]:
        return lambda: thing


class Cluster:
    """The workers of a cluster. `client` is a distributed.Client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @property
    def num_workers(self) -> int:
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    def do(self, journal: Journal, steps: Mapping[str, Make], *, say: Callable[[int], None]) -> list[Path]:
        """Raises DataError as the first step does that finds one, DeviceError where workers die at a step again and again."""
        from distributed import KilledWorker, as_completed

        futures = [self._client.submit(_make, journal, name, make, pure=False, retries=RETRIES) for name, make in steps.items()]
        try:
            with self._client.as_current():
                for num_done, future in enumerate(as_completed(futures), start=1):
                    if isinstance(outcome := future.result(), DataError):
                        raise outcome
                    say(num_done)
            return [future.result() for future in futures]
        except KilledWorker as error:
            raise DeviceError(
                "engine=dask: expected workers that finish their step, but several died at one; give each more memory, or lower memory=GIB"
            ) from error
        finally:
            self._client.cancel(futures)

    def share(self, journal: Journal, name: str, thing: T) -> Callable[[], T]:
        """Through a file: sent with each step it would cross the network as often as there are steps."""
        file = journal.step(name, partial(_dump, thing)) / SHARED
        return partial(_load, file, file.stat().st_mtime_ns)


@contextmanager
def gather_crew(settings: Mapping[str, Any]) -> Iterator[Crew]:
    """Who works for an engine of `conf/engine`: the workers of a cluster for `dask`, else this process.

    Raises ConfigError or DeviceError where the cluster can't be reached or started.
    """
    if settings["name"] != "dask":
        yield Alone()
        return
    if find_spec("distributed") is None:
        raise ConfigError(
            "engine=dask: dask.distributed is not installed; run `pip install -e '.[dask]'` in the checkout, or use engine=cpu"
        )
    import distributed

    logging.getLogger(distributed.__name__).setLevel(logging.WARNING)  # it tells of every connection
    with _connected(settings) as client:
        yield Cluster(client)


@contextmanager
def _connected(settings: Mapping[str, Any]) -> Iterator[Any]:
    from distributed import Client

    if address := settings["address"]:
        try:
            client = Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False)
        except (OSError, ValueError) as error:
            remedy = "start one with `dask scheduler` and workers with `dask worker ADDRESS`, or leave engine.address out"
            raise ConfigError(f"engine.address: expected a Dask scheduler at {address}, but none answers there; {remedy}") from error
        with client:
            yield client
        return
    with _started(settings) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


def _started(settings: Mapping[str, Any]) -> Any:
    """A cluster on this machine: a process a worker, its memory bound by `memory` and by nothing else."""
    workers, common = settings["workers"], {"threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0}
    if settings["device"] == "gpu":
        if find_spec("dask_cuda") is None:
            install = "pip install -e '.[gpu]'"
            raise DeviceError(f"engine=dask engine.device=gpu: dask-cuda is not installed; run `{install}`, or set engine.device=cpu")
        from dask_cuda import LocalCUDACluster

        return LocalCUDACluster(n_workers=workers, **common)
    from distributed import LocalCluster

    cores = len(os.sched_getaffinity(0))
    workers = workers or cores
    return LocalCluster(n_workers=workers, processes=True, env={"POLARS_MAX_THREADS": str(max(1, cores // workers))}, **common)


def _make(journal: Journal, name: str, make: Make) -> Path | DataError:
    """What is wrong with the log is an answer, which is not asked for again."""
    try:
        return journal.step(name, make)
    except DataError as error:
        return error


def _dump(thing: Any, folder: Path) -> None:
    with (folder / SHARED).open("wb") as stream:
        pickle.dump(thing, stream, protocol=pickle.HIGHEST_PROTOCOL)


@lru_cache(maxsize=1)
def _load(file: Path, changed: int) -> Any:
    """`changed` tells it from that of another task in the same place."""
    with file.open("rb") as stream:
        return pickle.load(stream)
