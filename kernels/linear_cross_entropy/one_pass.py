"""Value and gradients of a weighted sum over rows in one pass, on the CPU: three products with the catalogue instead of four.

Where it is known beforehand how much each row counts, the gradient need not wait for the way back: a block of rows keeps its softmax
over the whole catalogue just long enough for both products with it. Worth it as long as blocks are tall, which a large catalogue forbids.
"""

import torch
from torch import Tensor

from kernels.linear_cross_entropy.blocked import LOG2_E, VANISHING, columns, highest_logit, items_kept, spread

LOGITS = 1 << 21  # aimed at in a block: 8 MiB in float32, about what the cores' own caches hold
LEAST_ROWS = 160  # in shorter blocks each product spends longer on reading the catalogue than on arithmetic
MOST_ITEMS = 1 << 15  # beyond, such blocks outgrow the caches, and computing the logits twice in small tiles costs less


def suits(num_items: int) -> bool:
    """Whether a catalogue of that size leaves blocks of rows that are tall enough and still small."""
    return num_items <= MOST_ITEMS


def total_with_gradients(x: Tensor, weight: Tensor, bias: Tensor, row_weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Σ_q row_weight_q · log Σ_v exp(x_q · weight_v + bias_v), and its gradients of x, weight and bias."""
    kept = items_kept(bias)
    if len(kept) < len(bias):
        total, grad_x, of_weight, of_bias = total_with_gradients(x, weight[kept], bias[kept], row_weight)
        return total, grad_x, spread(of_weight, kept, len(bias)), spread(of_bias, kept, len(bias))
    highest, are_close = highest_logit(x, weight, bias)
    x_QK = columns(x, 1.0)
    rows_QK, items_KV = columns(x, 1.0, -highest), (columns(weight, bias, 1.0) * LOG2_E).T.contiguous()
    flat, wide_weight = weight.to(x_QK.dtype).contiguous(), row_weight.to(x_QK.dtype)
    total, grad_x, grad_items = x_QK.new_zeros(()), torch.zeros_like(x_QK[:, :-1]), torch.zeros_like(items_KV[:-1])
    height = max(LEAST_ROWS, LOGITS // max(1, len(weight)))
    buffer = x_QK.new_empty(min(height, len(x)) * len(weight))
    for rows in (slice(first, first + height) for first in range(0, len(x), height)):
        left = rows_QK[rows]
        logit = torch.mm(left, items_KV, out=buffer[: len(left) * len(weight)].view(len(left), len(weight)))
        top = highest[rows] * LOG2_E
        if not are_close and len(weight):
            above = logit.amax(1)
            torch.threshold_(logit.sub_(above[:, None]), VANISHING, -torch.inf)
            top = top + above
        summed = logit.exp2_().sum(1)
        share = wide_weight[rows] / summed
        total += (wide_weight[rows] * (top + summed.log2())).sum() / LOG2_E
        torch.mm(logit, flat, out=grad_x[rows]).mul_(share[:, None])
        grad_items.addmm_((x_QK[rows] * share[:, None]).T, logit)
    grad_weight = grad_items[:-1].T.to(weight.dtype).contiguous()
    return total, grad_x.to(x.dtype), grad_weight, grad_items[-1].to(bias.dtype, copy=True)
