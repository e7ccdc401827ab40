"""The path that is taken: blocks of questions small enough that their logits stay in the processor's cache."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK_LOGITS = 1 << 22  # 16 MB of float32: a block is written, reduced and forgotten before it leaves the cache


class BlockedLogSumExp(torch.autograd.Function):
    """Forward keeps the [Q] result only; backward computes each block's softmax again from it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        blocks = [torch.addmm(bias, rows, weight.T).logsumexp(-1) for rows in x.split(_rows_per_block(weight))]
        result = torch.cat(blocks) if blocks else x.new_zeros(0)
        ctx.save_for_backward(x, weight, bias, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        x, weight, bias, result = ctx.saved_tensors
        rows_per_block = _rows_per_block(weight)
        grad_x, grad_weight, grad_bias = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(bias)
        for start in range(0, len(x), rows_per_block):
            rows = slice(start, start + rows_per_block)
            # d lse_q / d logit_qi = softmax_qi = exp(logit_qi − lse_q), times what comes from above
            softmax = torch.addmm(bias, x[rows], weight.T).sub_(result[rows, None]).exp_().mul_(grad[rows, None])
            torch.mm(softmax, weight, out=grad_x[rows])
            grad_weight.addmm_(softmax.T, x[rows])
            grad_bias.add_(softmax.sum(0))
        return grad_x, grad_weight, grad_bias


def _rows_per_block(weight: Tensor) -> int:
    return max(1, BLOCK_LOGITS // max(1, weight.shape[0]))
