"""Dropout whose coins follow from a seed: drawn again on the way back, not remembered.

On a CPU, drawing a float for each number and keeping what was drawn costs more than a layer's arithmetic: a coin is a byte here.
Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014.
"""

from typing import Any

import torch
from torch import Tensor

from kernels import dispatch

__all__ = ["SIDES", "dropout"]

SIDES = 256  # of a coin: a share is rounded to so many parts


def dropout(x: Tensor, dropped: int, seed: int) -> Tensor:
    """x, of which `dropped` in SIDES numbers become 0 and the others grow so that the mean stays: of one seed always the same.

    Differentiable in x. ValueError: dropped outside of 0 to SIDES − 1.
    """
    if not 0 <= dropped < SIDES:
        raise ValueError(f"expected dropped, of {SIDES} sides of a coin, from 0 to {SIDES - 1}; received {dropped}")
    kept: Tensor = _Dropout.apply(x, dropped, seed) if dropped else x
    return kept


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int, seed: int) -> Tensor:
        ctx.told = dropped, seed, dispatch.choose("dropout", x)
        return _dropped(x, *ctx.told)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _dropped(grads[0], *ctx.told), None, None


def _dropped(x: Tensor, dropped: int, seed: int, path: str) -> Tensor:
    result: Tensor = dispatch.load("dropout", path).dropout(x, dropped, seed)
    return result
