"""Dropout whose coins are the bytes of random integers: on a CPU drawing a float for each number costs more than a layer's arithmetic.

So does a comparison whose answer is a boolean: bytes are compared in their own place.

Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014.
"""

from typing import Any

import numpy as np
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
        dropped = min(round(self.share * SIDES), SIDES - 1)
        if not dropped:
            return x
        kept: Tensor = _Masked.apply(x, coins(x.shape).ge_(dropped), SIDES / (SIDES - dropped))
        return kept


def coins(shape: torch.Size) -> Tensor:
    """Even random numbers of 0 to 255, uint8: torch's generator gives a seed, from which a faster one goes on (Doty-Humphrey's SFC64)."""
    seed = int(torch.randint(np.iinfo(np.int64).max, (), device="cpu"))
    eights = np.random.SFC64(seed).random_raw(-(-shape.numel() // 8))
    return torch.from_numpy(eights).view(torch.uint8)[: shape.numel()].view(shape)


class _Masked(torch.autograd.Function):
    """x times `kept`, which is 0 or 1 and uint8, times `scale`. Remembers a byte a number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return kept.to(x.dtype).mul_(x).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return kept.to(grads[0].dtype).mul_(grads[0]).mul_(ctx.scale), None, None
