"""The classes that marketing makes of recency, frequency and monetary value.

Fifths by three measures make 125 cells, too many to write to; they are folded by recency and by the mean of the other two, as is usual
(Hughes 1994, Strategic Database Marketing). That frequency makes no loyalty is why none of them is called so.
"""

import numpy as np

from training.baselines.features import Steps
from training.baselines.rfm import NUM_GROUPS, fifths
from training.sequences.split import DAY

CLASSES = ("champions", "regulars", "promising", "wavering", "at risk", "lost")
NO_CLASS = -1


def scores_at(steps: Steps, now: int) -> np.ndarray:
    """Recency, frequency, monetary of each customer at a moment, by their purchases up to it: 1 to 5, 0 for who never bought: [C, 3]."""
    past = steps.where(steps.timestamp <= now)
    return fifths(past.of_last((now - past.timestamp) / DAY), past.total(), past.total(past.spend))


def classes_of(scores: np.ndarray) -> np.ndarray:
    """The place in CLASSES for scores [n, 3], NO_CLASS for who never bought: int64 [n]."""
    recency, worth = scores[:, 0], scores[:, 1:].mean(1)
    recent, middling = recency >= 4, recency == 3
    conditions = [
        recency == 0,
        recent & (worth >= 4),
        (recent | middling) & (worth >= 3),
        recent,
        middling,
        worth >= 3,
    ]
    return np.select(conditions, [NO_CLASS, 0, 1, 2, 3, 4], default=5)


def cells_of(scores: np.ndarray) -> np.ndarray:
    """The cell of the three scores as one number, NO_CLASS for who never bought: int64 [n]."""
    cells = (scores.astype(np.int64) - 1) @ NUM_GROUPS ** np.arange(3)
    return np.where(scores[:, 0] > 0, cells, NO_CLASS)
