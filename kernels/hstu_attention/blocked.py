"""The path that is taken on the CPU: the tiles of ragged attention, weighed by SiLU."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.jagged_attention.bias import bias_of
from kernels.jagged_attention.tiles import layout_of, multiply, multiply_add, room

UNSEEN = -1e4  # so low that SiLU and its slope are both exactly 0


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offsets: Tensor,
    sees: Tensor,
    positions: Tensor,
    times: Tensor,
    moment: Tensor,
    unit: float,
    norm: float,
) -> Tensor:
    """[T, H, D]."""
    layout = layout_of(offsets, sees, moment, q.shape[1])
    bias = bias_of(layout, positions, times, unit, unseen=UNSEEN)
    queries, keys, values = layout.spread(q).mul_(q.shape[-1] ** -0.5), layout.spread(k), layout.spread(v)
    out, scratch = torch.empty_like(values), layout.scratch(q)
    for tile in layout.tiles():
        logits, _ = bias.logits(tile, queries, keys, scratch)
        multiply(F.silu(logits, inplace=True), tile.keys(values), tile.queries(out))
    return layout.collect(out).div_(norm)


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
    unit: float,
    norm: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and of both tables."""
    layout = layout_of(offsets, sees, moment, q.shape[1])
    bias = bias_of(layout, positions, times, unit, unseen=UNSEEN)
    queries, keys, values = layout.spread(q).mul_(q.shape[-1] ** -0.5), layout.spread(k), layout.spread(v)
    pulled = layout.spread_gradient(grad).div_(norm)
    dq, dk, dv = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
    scratch, other = layout.scratch(q), layout.scratch(q)
    for tile in layout.tiles():
        logits, gaps = bias.logits(tile, queries, keys, scratch)
        d_logits = torch.bmm(tile.queries(pulled), tile.keys(values).mT, out=room(other, tile))
        torch.ops.aten.silu_backward.grad_input(d_logits, logits, grad_input=d_logits)
        multiply_add(F.silu(logits, inplace=True).mT, tile.queries(pulled), tile.keys(dv))
        multiply(d_logits, tile.keys(keys), tile.queries(dq))
        multiply_add(d_logits.mT, tile.queries(queries), tile.keys(dk))
        bias.learn(tile, d_logits, gaps)
    return layout.collect(dq).mul_(q.shape[-1] ** -0.5), layout.collect(dk), layout.collect(dv), *bias.gradients()
