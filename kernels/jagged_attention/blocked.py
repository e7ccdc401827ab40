"""The path that is taken on the CPU: rows of like length together, a tile of logits at a time, weighed again on the way back.

Exponentials are to base 2: exp2 is as fast on −∞ and on tiny results as on others, which exp is not.
"""

import math

import torch
from torch import Tensor

from kernels.jagged_attention.bias import bias_of
from kernels.jagged_attention.tiles import layout_of, multiply, multiply_add, room

LOG2_E = math.log2(math.e)


def forward(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, sees: Tensor, positions: Tensor, times: Tensor, moment: Tensor, unit: float
) -> tuple[Tensor, Tensor]:
    """The result [T, H, D] and the logarithm of each token's normaliser [T, H]."""
    layout = layout_of(offsets, sees, moment, q.shape[1])
    bias = bias_of(layout, positions, times, unit, unseen=-torch.inf, scale=LOG2_E)
    queries, keys, values = layout.spread(q).mul_(LOG2_E * q.shape[-1] ** -0.5), layout.spread(k), layout.spread(v)
    out, log2_normaliser, scratch = torch.empty_like(values), values.new_empty(len(values), 1), layout.scratch(q)
    for tile in layout.tiles():
        logits, _ = bias.logits(tile, queries, keys, scratch)
        greatest = logits.amax(-1, keepdim=True)
        total = logits.sub_(greatest).exp2_().sum(-1, keepdim=True)
        multiply(logits, tile.keys(values), tile.queries(out))
        tile.queries(out).div_(total)
        torch.add(greatest, total.log2_(), out=tile.queries(log2_normaliser))
    return layout.collect(out), layout.collect(log2_normaliser)[..., 0] / LOG2_E


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offsets: Tensor,
    sees: Tensor,
    positions: Tensor,
    times: Tensor,
    moment: Tensor,
    out: Tensor,
    log_normaliser: Tensor,
    unit: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and of both tables."""
    layout = layout_of(offsets, sees, moment, q.shape[1])
    bias = bias_of(layout, positions, times, unit, unseen=-torch.inf, scale=LOG2_E)
    queries, keys, values = layout.spread(q).mul_(LOG2_E * q.shape[-1] ** -0.5), layout.spread(k), layout.spread(v)
    pulled, log2_normaliser = layout.spread_gradient(grad), layout.spread(log_normaliser[..., None] * LOG2_E)
    mean_pull = layout.spread_gradient((grad * out).sum(-1, keepdim=True))
    dq, dk, dv = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
    scratch, other = layout.scratch(q), layout.scratch(q)
    for tile in layout.tiles():
        weights, gaps = bias.logits(tile, queries, keys, scratch, log2_normaliser)
        weights.exp2_()
        multiply_add(weights.mT, tile.queries(pulled), tile.keys(dv))
        d_logits = torch.bmm(tile.queries(pulled), tile.keys(values).mT, out=room(other, tile))
        d_logits.sub_(tile.queries(mean_pull)).mul_(weights)
        multiply(d_logits, tile.keys(keys), tile.queries(dq))
        multiply_add(d_logits.mT, tile.queries(queries), tile.keys(dk))
        bias.learn(tile, d_logits, gaps)
    return layout.collect(dq).mul_(q.shape[-1] ** -0.5), layout.collect(dk).div_(LOG2_E), layout.collect(dv), *bias.gradients()
