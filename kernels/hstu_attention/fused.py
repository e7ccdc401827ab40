"""The kernels of `jagged_attention` with SiLU weights in the place of softmax: the same walk over the same tiles."""

import torch
from torch import Tensor

from kernels.jagged_attention import fused
from kernels.launch import Launch


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
    """The result [T, H, D]."""
    return fused.forward(q, k, v, offsets, sees, positions, times, moment, unit, norm)[0]


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, sees: Tensor, positions: Tensor, times: Tensor, moment: Tensor,
    unit: float, norm: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k, v [T, H, D] and of both tables [H, P], [H, K]."""
    out, log_normaliser = grad.new_empty(0), grad.new_empty(0, dtype=torch.float32)
    return fused.backward(grad, q, k, v, offsets, sees, positions, times, moment, out, log_normaliser, unit, norm)


def launches() -> list[Launch]:
    """As those of `jagged_attention`."""
    return fused.launches(softmax=False)
