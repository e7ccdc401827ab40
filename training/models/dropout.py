"""Dropout whose coins are the bytes of random integers: on a CPU drawing a float for each number costs more than a layer's arithmetic.

Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDES = 256  # of a coin: a share is rounded to so many parts, and what is kept is scaled by the share that is truly kept


class Dropout(nn.Module):
    """share: of numbers that become 0 in training, the others being scaled so that the mean stays. On a GPU torch's own."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu":
            return F.dropout(x, self.share, self.training)
        dropped = round(self.share * SIDES)
        if not 0 < dropped < SIDES:
            return F.dropout(x, self.share)
        kept: Tensor = _Masked.apply(x, coins(x.shape, x.device) >= dropped, SIDES / (SIDES - dropped))
        return kept


def coins(shape: torch.Size, device: torch.device) -> Tensor:
    """Even random numbers of 0 to 255, uint8, from torch's generator."""
    eights = torch.empty(-(-shape.numel() // 8), dtype=torch.int64, device=device).random_(-(2**63), None)
    return eights.view(torch.uint8)[: shape.numel()].view(shape)


class _Masked(torch.autograd.Function):
    """x where `kept`, times `scale`; 0 elsewhere. Remembers a byte a number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return (x * kept.view(torch.uint8)).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return (grads[0] * kept.view(torch.uint8)).mul_(ctx.scale), None, None
