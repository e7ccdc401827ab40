"""What an event was worth, and whether a discount was had."""

import numpy as np

from training.sequences.history import History, Log, customer_of_event
from training.sequences.split import DAY


def spend_of(events: Log) -> np.ndarray:
    """Price times quantity of each event: float64 [N]. A missing price is none, a missing quantity one; without prices each counts one."""
    columns = events.columns
    if "price" not in columns:
        return np.ones(len(columns["timestamp"]))
    quantity = np.nan_to_num(columns["quantity"], nan=1.0) if "quantity" in columns else 1.0
    return np.nan_to_num(columns["price"]).astype(np.float64) * quantity


def bought_on_discount(bought: History, known: History, discounts: np.ndarray) -> np.ndarray:
    """Whether the customer used a discount on the day (UTC) of each event of `bought`: bool [N].

    known: the same customers' events, among them those that say so; discounts: ids of these kinds of events.
    """
    used = known.where(np.isin(known.columns["event"], discounts))
    return np.isin(_customer_days(bought), _customer_days(used))


def _customer_days(events: History) -> np.ndarray:
    """(customer, day) of each event as one number: int64 [N]."""
    return customer_of_event(events.offsets) * 1_000_000 + events.columns["timestamp"] // DAY
