"""The normaliser of a softmax over a large catalogue: log Σ_i exp(x_q · w_i + b_i), without ever holding all the logits.

A softmax loss over V items and Q questions would hold Q·V logits several times over: 16 GB for 60,000 questions and 68,000 items.
Only their log-sum-exp is needed, and the gradient of that is the softmax, which is computed again, a block at a time, on the way back.
"""

import torch
from torch import Tensor

from kernels.linear_logsumexp import reference
from kernels.linear_logsumexp.blocked import BlockedLogSumExp

__all__ = ["linear_logsumexp"]


def linear_logsumexp(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """log Σ_i exp(x · weight_i + bias_i) for each row of x.

    x [Q, D], weight [V, D], bias [V] (−inf leaves an item out) → [Q]. Differentiable in all three.
    """
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1] or bias.shape != weight.shape[:1]:
        raise ValueError(f"expected x [Q, D], weight [V, D], bias [V]; received {[*x.shape]}, {[*weight.shape]}, {[*bias.shape]}")
    if torch.compiler.is_exporting() or x.is_meta:
        return reference.linear_logsumexp(x, weight, bias)
    return BlockedLogSumExp.apply(x, weight, bias)
