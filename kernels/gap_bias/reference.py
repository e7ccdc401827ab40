"""The specification: two neighbouring knots, weighted by how near they are."""

import math

import torch
from torch import Tensor


def gap_bias(table: Tensor, gap: Tensor, unit: float = 1.0) -> Tensor:
    """The value of each head's `table` [H, K] at u = log2(1 + gap / unit), a straight line between knots, level behind the last.

    gap [...] of any number type, not negative (a negative one counts as none) → [H, ...]. Differentiable in the table.
    """
    last = table.shape[1] - 1
    knot = (torch.log1p((gap.to(table.dtype) / unit).clamp(min=0)) / math.log(2)).clamp(max=last)
    below = knot.floor().clamp(max=last - 1)
    share = knot - below
    index = below.to(torch.int64)
    return table[:, index] * (1 - share) + table[:, index + 1] * share
