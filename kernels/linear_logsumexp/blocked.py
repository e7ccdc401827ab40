"""The path that is taken on the CPU: tiles of logits small enough to stay in a core's cache.

The bias rides along as one more column of the weights (and, on the way back, the normaliser as another), so that a tile is one matrix
product followed by one exponential, with no pass over memory in between.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE_ROWS, TILE_ITEMS = 256, 8192


class BlockedLogSumExp(torch.autograd.Function):
    """Forward keeps the [Q] result only; backward computes each tile's softmax again from it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        items = torch.cat([weight, bias[:, None]], 1).split(TILE_ITEMS)
        blocks = _with_column(x, x.new_ones(len(x))).split(TILE_ROWS)
        result = torch.cat([torch.stack([(rows @ tile.T).logsumexp(-1) for tile in items]).logsumexp(0) for rows in blocks])
        ctx.save_for_backward(x, weight, bias, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight, bias, result = ctx.saved_tensors
        items = torch.cat([weight, bias[:, None], torch.ones_like(bias)[:, None]], 1)
        questions = _with_column(_with_column(x, x.new_ones(len(x))), -result)
        grad_x, grad_items = torch.zeros_like(x), weight.new_zeros(len(weight), weight.shape[1] + 1)
        for first in range(0, len(x), TILE_ROWS):
            span = slice(first, first + TILE_ROWS)
            pulled = questions[span, :-1] * grad[span, None]
            for start in range(0, len(weight), TILE_ITEMS):
                tile = slice(start, start + TILE_ITEMS)
                # d lse_q / d logit_qi = exp(logit_qi − lse_q)
                softmax = torch.mm(questions[span], items[tile].T).exp_()
                grad_x[span].addmm_(softmax, weight[tile])
                grad_items[tile].addmm_(softmax.T, pulled)
        return grad_x * grad[:, None], grad_items[:, :-1], grad_items[:, -1]


def _with_column(rows: Tensor, column: Tensor) -> Tensor:
    return torch.cat([rows, column[:, None]], 1)
