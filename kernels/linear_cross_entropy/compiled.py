"""The path that is taken on a CPU whose machine has a C compiler: all rows pass by a tile of items in a core's own cache (compiled.c).

Vectors that are no whole number of lanes, and logits so far apart that a sum over them needs its greatest first, go the blocked way.
"""

import ctypes

import torch
from torch import Tensor

from kernels import native
from kernels.linear_cross_entropy import blocked

TILE, ROWS = 128, 64  # as in compiled.c
MOST_DIM = 256  # of wider vectors a tile outgrows the cache
GROUPS = 8  # of rows or of tiles, whichever are more: gradients of the others each group has of its own, until all are added up
OPERATIONS_WORTH_A_THREAD = 1 << 20

_Pointer, _Number = ctypes.c_void_p, ctypes.c_int64


class _Softmax(ctypes.Structure):
    """As the structure of that name in compiled.c."""

    _fields_ = (
        *((name, _Number) for name in ("num_rows", "num_items", "dim", "num_groups", "num_threads", "rows_a_group")),
        *((name, _Pointer) for name in ("x", "weight", "bias", "row_id", "item_id")),
        *((name, _Pointer) for name in ("shift", "sums", "row_weight", "dx", "d_weight", "d_bias")),
    )


def forward(x: Tensor, weight: Tensor, bias: Tensor, row_id: Tensor, item_id: Tensor) -> Tensor:
    """log Σ exp of each row: [Q]."""
    of_kept = bias[bias > -torch.inf]
    highest, are_close = blocked.highest_logit(x, weight, of_kept) if len(of_kept) else (bias, False)
    if not are_close or not _fits(x):
        return blocked.forward(x, weight, bias, row_id, item_id)
    _, of_tiles = _num_groups(x, weight)
    sums = x.new_zeros(of_tiles, len(x))
    _run("softmax_sums", x, weight, bias, row_id, item_id, shift=highest, sums=sums)
    return highest + sums.sum(0).log_()


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, row_id: Tensor, item_id: Tensor, normaliser: Tensor, negligible: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias; nothing is neglected."""
    if not _fits(x):
        return blocked.backward(grad, x, weight, bias, row_id, item_id, normaliser, negligible)
    of_rows, of_tiles = _num_groups(x, weight)
    dx, d_weight, d_bias = (of.new_zeros(groups, *of.shape) for groups, of in ((of_tiles, x), (of_rows, weight), (of_rows, bias)))
    # a row without items has the normaliser −inf; its softmax is zero everywhere
    shift = normaliser.masked_fill(normaliser == -torch.inf, torch.inf)
    learned = {"dx": dx, "d_weight": d_weight, "d_bias": d_bias}
    _run("softmax_gradients", x, weight, bias, row_id, item_id, shift=shift, row_weight=grad, **learned)
    return _total(dx), _total(d_weight), _total(d_bias)


def _fits(x: Tensor) -> bool:
    return x.shape[1] % native.LANES == 0 and 0 < x.shape[1] <= MOST_DIM


def _num_groups(x: Tensor, weight: Tensor) -> tuple[int, int]:
    """Of rows, of tiles: one of them is 1."""
    if len(x) > len(weight):
        return -(-len(x) // _rows_a_group(x)), 1
    return 1, max(1, min(GROUPS, -(-len(weight) // TILE)))


def _rows_a_group(x: Tensor) -> int:
    return -(-len(x) // (GROUPS * ROWS)) * ROWS


def _total(of_groups: Tensor) -> Tensor:
    return of_groups.sum(0) if len(of_groups) > 1 else of_groups[0]


def _run(function: str, x: Tensor, weight: Tensor, bias: Tensor, row_id: Tensor, item_id: Tensor, **others: Tensor) -> None:
    (num_rows, dim), num_items = x.shape, len(weight)
    of_rows, of_tiles = _num_groups(x, weight)
    told = _Softmax(
        num_rows=num_rows,
        num_items=num_items,
        dim=dim,
        num_groups=max(of_rows, of_tiles),
        rows_a_group=_rows_a_group(x) if of_rows > 1 else 0,
        num_threads=native.threads(num_rows * num_items * dim / OPERATIONS_WORTH_A_THREAD),
    )
    named = {"x": x, "weight": weight, "bias": bias, **others}
    if len(item_id):
        named |= {"row_id": row_id.to(torch.int32), "item_id": item_id.to(torch.int32)}
    native.call("linear_cross_entropy", function, told, {name: tensor.contiguous() for name, tensor in named.items()})
