"""A score and its item as one int64 that orders as the answer does: higher scores first, among equal scores the lower id.

No two items have the same key, so that any top-k over keys has one answer, whatever the order of its comparisons.
"""

import torch
from torch import Tensor

LOW = 0xFFFFFFFF  # the lower half holds LOW − id, so that a lower id makes a higher key
EMPTY = (-0x7F800001 << 32) | 0  # −∞, and behind every item: no candidate


def keys_of(scores: Tensor, ids: Tensor) -> Tensor:
    """Scores float32 and item ids int64 < 2³¹ to keys."""
    bits = (scores + 0.0).view(torch.int32)  # −0 becomes 0: they are equal
    return (_rising(bits).to(torch.int64) << 32) | (LOW - ids)


def scores_of(keys: Tensor) -> Tensor:
    """The scores that keys were made of."""
    return _rising((keys >> 32).to(torch.int32)).view(torch.float32)


def answer_of(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and ids; a score of −∞ is no candidate, its id −1."""
    scores = scores_of(keys)
    return scores, torch.where(scores == -torch.inf, -1, LOW - (keys & LOW))


def _rising(bits: Tensor) -> Tensor:
    """The bits of a float as an integer that rises with it, and back: a negative number's bits fall as it rises."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
