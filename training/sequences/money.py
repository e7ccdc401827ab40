"""What an event was worth."""

import numpy as np

from training.sequences.history import Log


def spend_of(events: Log) -> np.ndarray:
    """Price times quantity of each event: float64 [N]. A missing price is none, a missing quantity one; without prices each counts one."""
    columns = events.columns
    if "price" not in columns:
        return np.ones(len(columns["timestamp"]))
    quantity = np.nan_to_num(columns["quantity"], nan=1.0) if "quantity" in columns else 1.0
    return np.nan_to_num(columns["price"]).astype(np.float64) * quantity
