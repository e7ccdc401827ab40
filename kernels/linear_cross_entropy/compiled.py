"""The path that is taken on a CPU whose machine has a C compiler: all rows pass by a tile of items in a core's own cache (compiled.c).

Vectors that are no whole number of lanes, and logits so far apart that a sum over them needs its greatest first, go the blocked way.
"""

import ctypes

import torch
from torch import Tensor

from kernels import native
from kernels.linear_cross_entropy import blocked

LANES, TILE = 16, 128  # as in compiled.c
MOST_DIM = 256  # of wider vectors a tile outgrows the cache
GROUPS = 8  # of tiles, each with gradients of the rows of its own until all are added up
OPERATIONS_WORTH_A_THREAD = 1 << 20

_Pointer, _Number = ctypes.c_void_p, ctypes.c_int64


class _Softmax(ctypes.Structure):
    """As the structure of that name in compiled.c."""

    _fields_ = (
        *((name, _Number) for name in ("num_rows", "num_items", "dim", "num_groups", "num_threads")),
        *((name, _Pointer) for name in ("x", "weight", "bias", "row_id", "item_id")),
        *((name, _Pointer) for name in ("shift", "sums", "row_weight", "dx", "d_weight", "d_bias")),
    )


def forward(x: Tensor, weight: Tensor, bias: Tensor, row_id: Tensor, item_id: Tensor) -> Tensor:
    """log Σ exp of each row: [Q]."""
    of_kept = bias[bias > -torch.inf]
    highest, are_close = blocked.highest_logit(x, weight, of_kept) if len(of_kept) else (bias, False)
    if not are_close or not _fits(x):
        return blocked.forward(x, weight, bias, row_id, item_id)
    sums = x.new_zeros(_num_groups(weight), len(x), LANES)
    _run("softmax_sums", x, weight, bias, row_id, item_id, shift=highest, sums=sums)
    return highest + sums.sum((0, 2)).log_()


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, row_id: Tensor, item_id: Tensor, normaliser: Tensor, negligible: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias; nothing is neglected."""
    if not _fits(x):
        return blocked.backward(grad, x, weight, bias, row_id, item_id, normaliser, negligible)
    dx, d_weight, d_bias = x.new_zeros(_num_groups(weight), *x.shape), x.new_zeros(weight.shape), x.new_zeros(bias.shape)
    # a row without items has the normaliser −inf; its softmax is zero everywhere
    shift = normaliser.masked_fill(normaliser == -torch.inf, torch.inf)
    learned = {"dx": dx, "d_weight": d_weight, "d_bias": d_bias}
    _run("softmax_gradients", x, weight, bias, row_id, item_id, shift=shift, row_weight=grad, **learned)
    return dx.sum(0), d_weight, d_bias


def _fits(x: Tensor) -> bool:
    return x.shape[1] % LANES == 0 and 0 < x.shape[1] <= MOST_DIM


def _num_groups(weight: Tensor) -> int:
    return max(1, min(GROUPS, -(-len(weight) // TILE)))


def _run(function: str, x: Tensor, weight: Tensor, bias: Tensor, row_id: Tensor, item_id: Tensor, **others: Tensor) -> None:
    (num_rows, dim), num_items = x.shape, len(weight)
    told = _Softmax(
        num_rows=num_rows,
        num_items=num_items,
        dim=dim,
        num_groups=_num_groups(weight),
        num_threads=native.threads(num_rows * num_items * dim / OPERATIONS_WORTH_A_THREAD),
    )
    named = {"x": x, "weight": weight, "bias": bias, **others}
    if len(item_id):
        named |= {"row_id": row_id.to(torch.int32), "item_id": item_id.to(torch.int32)}
    native.call("linear_cross_entropy", function, told, {name: tensor.contiguous() for name, tensor in named.items()})
