"""The path that is taken on the CPU: rows of like length together, a tile of logits at a time, weighed again on the way back.

Exponentials are to base 2: exp2 is as fast on −∞ and on tiny results as on others, which exp is not.
"""

import math

import torch
from torch import Tensor

from kernels.gap_bias.blocked import TileBias
from kernels.jagged_attention.tiles import layout_of, logits_of, room

LOG2_E = math.log2(math.e)


def forward(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, sees: Tensor, positions: Tensor, times: Tensor, moment: Tensor, unit: float
) -> tuple[Tensor, Tensor]:
    """The result [T, H, D] and the logarithm of each token's normaliser [T, H]."""
    layout = layout_of(offsets, sees, moment, q.shape[1])
    bias = TileBias(positions, times, unit, longest=layout.longest, scale=LOG2_E) if positions.shape[1] else None
    queries, keys, values = layout.spread(q).mul_(LOG2_E * q.shape[-1] ** -0.5), layout.spread(k), layout.spread(v)
    out, log2_normaliser, scratch = torch.empty_like(values), values.new_empty(len(values), 1), layout.scratch(q)
    for tile in layout.tiles():
        logits, _ = logits_of(tile, bias, queries, keys, scratch, unseen=-torch.inf)
        greatest = logits.amax(-1, keepdim=True)
        total = logits.sub_(greatest).exp2_().sum(-1, keepdim=True)
        torch.bmm(logits, tile.keys(values), out=tile.queries(out)).div_(total)
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
    bias = TileBias(positions, times, unit, longest=layout.longest, scale=LOG2_E) if positions.shape[1] else None
    queries, keys, values = layout.spread(q).mul_(LOG2_E * q.shape[-1] ** -0.5), layout.spread(k), layout.spread(v)
    pulled, log2_normaliser = layout.spread_gradient(grad), layout.spread(log_normaliser[..., None] * LOG2_E)
    mean_pull = layout.spread_gradient((grad * out).sum(-1, keepdim=True))
    dq, dk, dv = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
    scratch, other = layout.scratch(q), layout.scratch(q)
    for tile in layout.tiles():
        weights, gaps = logits_of(tile, bias, queries, keys, scratch, unseen=-torch.inf, normaliser=log2_normaliser)
        weights.exp2_()
        tile.keys(dv).baddbmm_(weights.mT, tile.queries(pulled))
        d_logits = torch.bmm(tile.queries(pulled), tile.keys(values).mT, out=room(other, tile))
        d_logits.sub_(tile.queries(mean_pull)).mul_(weights)
        torch.bmm(d_logits, tile.keys(keys), out=tile.queries(dq))
        tile.keys(dk).baddbmm_(d_logits.mT, tile.queries(queries))
        if bias is not None and gaps is not None:
            bias.learn(d_logits.view(tile.shape), gaps)
    d_tables = (torch.zeros_like(positions), torch.zeros_like(times)) if bias is None else bias.gradients()
    return layout.collect(dq).mul_(q.shape[-1] ** -0.5), layout.collect(dk).div_(LOG2_E), layout.collect(dv), *d_tables
