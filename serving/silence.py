"""The chance of no purchase, or of no visit, within any number of days, by what a model tells of some of them.

Between two of the days that it tells of, the hazard is constant: a straight line in the logarithm, which is the model's own answer.
"""

from collections.abc import Sequence

import numpy as np

from serving.errors import RequestError


def silence_within(days: float, told: np.ndarray, silence_days: Sequence[float]) -> float:
    """In the next `days`, from 0 to the last of `silence_days` [K]. told: [K], one customer's chance of silence for each of them.

    Raises RequestError for another number of days.
    """
    known = np.array([0.0, *silence_days])
    if not 0 <= days <= known[-1]:
        raise RequestError(f"expected from 0 to {known[-1]:g} days, received {days:g}; ask about fewer")
    logarithms = np.log(np.maximum(told.astype(np.float64), np.finfo(np.float32).tiny))
    return float(np.exp(np.interp(days, known, [0.0, *logarithms])))
