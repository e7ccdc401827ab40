"""What tests of the simulated retailer need: its config, a small log, a file of it."""

from pathlib import Path

import polars as pl
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from training.simulate import simulate

SIZE = ("num_customers=1500", "num_events=60000", "num_items=600", "identity.on_a_terminal=0.01")


def simulator_config(out: Path, *overrides: str) -> DictConfig:
    """conf/simulate.yaml for a small log in `out`."""
    with initialize_config_module("conf", version_base="1.3"):
        return compose("simulate", overrides=[f"out={out}", *SIZE, *overrides])


def simulated(out: Path, *overrides: str) -> Path:
    """A small log, written to `out`."""
    return simulate(simulator_config(out, *overrides))


def read(log: Path, name: str) -> pl.DataFrame:
    """One file of a log, such as `web` or `truth/customers`."""
    return pl.read_parquet(log / f"{name}.parquet")
