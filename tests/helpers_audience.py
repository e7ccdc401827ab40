"""A scene of customers as a whole without any training: the small shop, or one of bargain hunters, before a model of first weights."""

from pathlib import Path

import numpy as np
from helpers_training import make_store, train_config

from training.audience.scene import Scene
from training.build import build
from training.evaluation.compared import Comparison
from training.sequences.store import SequenceStore

FIRST_DAY, TEST_DAY = "2024-01-01", 100  # a fortnight is asked about from that day on


def scene_of(store: Path, *overrides: str) -> Scene:
    """Nothing was compared yet: see `with_columns`."""
    parts = build(train_config(store, store / "unused", "objective=[dormancy,value,loyalty]", *overrides), SequenceStore.open(store))
    return Scene.of(parts, {}, seed=0, customers_per_batch=16)


def told(customers: np.ndarray, **columns: np.ndarray) -> Comparison:
    """A comparison that holds nothing but columns."""
    return Comparison("", "", "", customers, {}, [], columns=columns)


def bargain_store(folder: Path) -> Path:
    """24 bargain hunters, who buy with coupons and later spend the less the more often they bought; 24 regulars, the other way round."""
    rows = []
    for customer in range(48):
        hunter, pace = customer < 24, 4 + customer % 24
        for day in np.linspace(1, TEST_DAY - 1, 100 // pace):
            rows += [_row(customer, day, "purchase", 10.0)] + ([_row(customer, day, "coupon", None)] if hunter else [])
        rows.append(_row(customer, TEST_DAY + 5, "purchase", float(pace if hunter else 40 - pace)))
    rows.append(_row(99, TEST_DAY + 13.5, "purchase", 1.0))  # the log's last day
    return make_store(folder, rows)


def _row(customer: int, day: float, event: str, price: float | None) -> dict[str, object]:
    moment = np.datetime64(FIRST_DAY) + np.timedelta64(int(day * 86_400), "s")
    amount = "" if price is None else f"{price:.2f}"
    return {"customer": f"c{customer:03d}", "timestamp": str(moment), "event": event, "item": "thing", "price": amount, "quantity": "1"}
