"""A small shop for tests of training: customers with habits, a few weeks, made from a seed."""

import csv
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from training.preprocess import preprocess
from training.run import run

SMALL = [
    "dim=16",
    "dropout=0.0",
    "encoder.num_blocks=1",
    "customers_per_batch=16",
    "moments.per_customer=4",
    "data.split.horizon_days=14",
    "showcase=1",
    "trainer.enable_progress_bar=false",
]


def shop_rows(*, num_customers: int = 48, num_days: int = 150, num_items: int = 30, seed: int = 0) -> list[dict[str, object]]:
    """Views and purchases: each customer has favourites and a rhythm of their own; baskets share a timestamp."""
    generator = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for customer in range(num_customers):
        favourites = generator.choice(num_items, 5, replace=False)
        day = generator.uniform(0, 10)
        while day < num_days:
            moment = np.datetime64("2024-01-01T00:00:00") + np.timedelta64(int(day * 86_400), "s")
            basket = generator.choice(favourites, generator.integers(1, 4), replace=False)
            rows.append(_row(customer, moment - np.timedelta64(600, "s"), "view", int(generator.integers(num_items)), None, None))
            rows.extend(_row(customer, moment, "purchase", int(item), 1.0 + item / 10, int(generator.integers(1, 3))) for item in basket)
            day += generator.exponential(3 + customer % 15)
    return rows


def write_log(path: Path, rows: list[dict[str, object]]) -> Path:
    """The rows as CSV in canonical columns."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def composed(config_name: str, overrides: list[str]) -> DictConfig:
    """A command's config, as its command line would compose it."""
    with initialize_config_module("conf", version_base="1.3"):
        return compose(config_name, overrides)


def make_store(folder: Path, rows: list[dict[str, object]] | None = None) -> Path:
    """A store of the small shop."""
    log = write_log(folder / "log.csv", rows or shop_rows())
    return preprocess(composed("preprocess", ["data=events", f"data.path={log}", f"out={folder / 'store'}"]))


def train_config(store: Path, out: Path, *overrides: str) -> DictConfig:
    """A small training run on the small shop."""
    return composed("train", ["data=events", f"store={store}", f"out={out}", "name=small", *SMALL, *overrides])


def make_run(store: Path, out: Path, *overrides: str) -> Path:
    """A finished small run."""
    return run(train_config(store, out, "trainer.max_epochs=2", *overrides))


def _row(customer: int, moment: np.datetime64, event: str, item: int, price: float | None, quantity: int | None) -> dict[str, object]:
    return {
        "customer": f"c{customer:03d}",
        "timestamp": str(moment),
        "event": event,
        "item": f"i{item:02d}",
        "price": "" if price is None else f"{price:.2f}",
        "quantity": "" if quantity is None else quantity,
    }
