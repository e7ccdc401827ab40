"""What every test stands on: sleeping idle threads, two torch threads, fixed seeds, GPU tests skipped with the reason, one small run.

Where there is no card, Triton-language kernels run in Triton's interpreter; it has to be asked for before they are first imported.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest
import torch
from helpers_commands import Commands

NUM_THREADS = 2
torch.set_num_threads(NUM_THREADS)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


LONGEST = [  # by what they compile, export or train
    "test_kernels_ahead_of_time",
    "test_parity",
    "test_bad_input",
    "test_training_run",
    "test_training_resume",
    "test_training_evaluation_customers",
    "test_training_events_in_parts",
    "test_parity_outcomes",
    "test_experiment_leave_one_out",
    "test_training_export",
    "test_training_objectives_third",
    "test_training_objectives_categories",
    "test_benchmarks_train",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest starts first, so that no worker waits for another at the end."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU; torch sees none")


@pytest.fixture(autouse=True)
def seeds() -> Iterator[None]:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_flush_denormal(False)  # a run in this process has set it; hypothesis draws such numbers
    yield
    torch.set_num_threads(NUM_THREADS)  # a benchmark in this process has set it; sums of another order have other last digits


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the small shop. Made once: to be read, not changed."""
    from helpers_training import make_store  # here and below: tests that need no run should not wait for what makes one

    return make_store(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def small_run(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on it, with histories longer than the model reads. Made once: to be read, not changed."""
    from helpers_training import make_run

    return make_run(small_store, tmp_path_factory.mktemp("runs") / "small", "max_events=60")


@pytest.fixture(scope="session")
def outcomes_run(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that answers when, whether still there, how much and how loyal, and recommends nothing. To be read, not changed."""
    from helpers_training import make_run

    overrides = ["objective=[dormancy,presence,value,loyalty]", "visit_events=[view,purchase]", "max_events=60"]
    return make_run(small_store, tmp_path_factory.mktemp("runs") / "outcomes", *overrides)


@pytest.fixture(scope="session")
def small_artifact(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That run's artifact. Made once: to be read, not changed."""
    from helpers_training import composed

    from training.export import export

    return export(composed("export", [f"run={small_run}", f"out={tmp_path_factory.mktemp('artifacts') / 'small'}"]))


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Commands as a user types them, in forks of one process: what they import takes longer than most of what they do."""
    running = Commands(tmp_path_factory.mktemp("said"))
    yield running
    running.close()
