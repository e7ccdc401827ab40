"""The path that is taken on the CPU: the tiles of ragged attention, weighed by SiLU."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.gap_bias.blocked import TileBias
from kernels.jagged_attention.tiles import layout_of, logits_of, room

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
    bias = TileBias(positions, times, unit, longest=layout.longest) if positions.shape[1] else None
    queries, keys, values = layout.spread(q).mul_(q.shape[-1] ** -0.5), layout.spread(k), layout.spread(v)
    out, scratch = torch.empty_like(values), layout.scratch(q)
    for tile in layout.tiles():
        logits, _ = logits_of(tile, bias, queries, keys, scratch, unseen=UNSEEN)
        torch.bmm(F.silu(logits, inplace=True), tile.keys(values), out=tile.queries(out))
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
    bias = TileBias(positions, times, unit, longest=layout.longest) if positions.shape[1] else None
    queries, keys, values = layout.spread(q).mul_(q.shape[-1] ** -0.5), layout.spread(k), layout.spread(v)
    pulled = layout.spread_gradient(grad).div_(norm)
    dq, dk, dv = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
    scratch, other = layout.scratch(q), layout.scratch(q)
    for tile in layout.tiles():
        logits, gaps = logits_of(tile, bias, queries, keys, scratch, unseen=UNSEEN)
        d_logits = torch.bmm(tile.queries(pulled), tile.keys(values).mT, out=room(other, tile))
        torch.ops.aten.silu_backward.grad_input(d_logits, logits, grad_input=d_logits)
        tile.keys(dv).baddbmm_(F.silu(logits, inplace=True).mT, tile.queries(pulled))
        torch.bmm(d_logits, tile.keys(keys), out=tile.queries(dq))
        tile.keys(dk).baddbmm_(d_logits.mT, tile.queries(queries))
        if bias is not None and gaps is not None:
            bias.learn(d_logits.view(tile.shape), gaps)
    d_tables = (torch.zeros_like(positions), torch.zeros_like(times)) if bias is None else bias.gradients()
    return layout.collect(dq).mul_(q.shape[-1] ** -0.5), layout.collect(dk), layout.collect(dv), *d_tables
