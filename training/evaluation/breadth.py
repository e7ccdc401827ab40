"""How much of the catalogue is recommended to anybody, and how far from what everybody is shown.

    coverage@10   the share of the catalogue that stands among the ten of at least one customer
    novelty@10    −log2 of the share of all purchases in training that are of the item, on average over what is recommended: bits

Novelty is the mean self-information of Zhou, Kuscsik, Liu, Medo, Wakeling, Zhang, "Solving the apparent diversity-accuracy dilemma of
recommender systems" (PNAS 2010). An item that nobody took counts as taken once, as every item is once more, so that it is finite.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

SHOWN = 10
BREADTH_METRICS = (f"coverage@{SHOWN}", f"novelty@{SHOWN}")


def top_items(scores: np.ndarray | Tensor) -> np.ndarray:
    """The ten best items of each customer, of scores [n, num_items]: int64 [n, 10], 0 where no more can be recommended."""
    found = torch.topk(torch.tensor(scores) if isinstance(scores, np.ndarray) else scores, min(SHOWN, scores.shape[1]))
    items = torch.where(torch.isneginf(found.values), 0, found.indices).numpy()
    return np.pad(items, ((0, 0), (0, SHOWN - items.shape[1])))


def breadth(items: np.ndarray, *, counts: np.ndarray, candidates: np.ndarray) -> Mapping[str, float]:
    """items [n, 10] as `top_items` has them. counts [num_items]: how often each was taken in training. candidates: bool [num_items]."""
    shown = items[items > 0]
    bits = -np.log2((counts + 1) / (counts[candidates] + 1).sum())
    of = len(np.unique(shown)) / candidates.sum(), bits[shown].mean() if len(shown) else np.nan
    return dict(zip(BREADTH_METRICS, map(float, of), strict=True))
