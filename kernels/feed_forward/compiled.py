"""The path that is taken on a CPU whose machine has a C compiler: some tokens at a time through both layers (compiled.c)."""

import ctypes

import torch
from torch import Tensor

from kernels import native

PANEL, CHUNK = 32, 32  # as in compiled.c
MOST_PAIRS, PAIR = 8, 768  # of groups of chunks, each with gradients of its own until all are added up; tokens worth two: of an even
# number two threads get equal parts
MOST_NUMBERS = 1 << 16  # of a weight: two of them, and their gradients, are to stay in a core's own cache
OPERATIONS_WORTH_A_THREAD = 1 << 20

_Pointer, _Number = ctypes.c_void_p, ctypes.c_int64


class _FeedForward(ctypes.Structure):
    """As the structure of that name in compiled.c."""

    _fields_ = (
        *((name, _Number) for name in ("num_tokens", "dim", "hidden", "num_groups", "num_threads", "dropped")),
        ("seed", ctypes.c_uint64),
        *((name, _Pointer) for name in ("x", "bias_in", "bias_out", "panels_in", "turned_out", "panels_out", "weight_in")),
        *((name, _Pointer) for name in ("before", "out", "grad", "dx", "d_in", "d_turned_out", "d_bias_in", "d_bias_out")),
    )


def fits(hidden: int, dim: int) -> bool:
    """Whether layers of that size are whole vectors, and small enough to gain by it."""
    return hidden % PANEL == 0 and dim % native.LANES == 0 and hidden * dim <= MOST_NUMBERS


def forward(
    x: Tensor, weight_in: Tensor, bias_in: Tensor, weight_out: Tensor, bias_out: Tensor, dropped: int, seed: int
) -> tuple[Tensor, Tensor]:
    """The result [T, D], and what GELU was given [T, F]."""
    out, before = x.new_empty(x.shape), x.new_empty(len(x), len(weight_in))
    weights = {"panels_in": _panels(weight_in.T), "turned_out": weight_out.T}
    _run("feed_forward", weight_in.shape, dropped, seed, x=x, bias_in=bias_in, bias_out=bias_out, before=before, out=out, **weights)
    return out, before


def backward(
    grad: Tensor, x: Tensor, weight_in: Tensor, weight_out: Tensor, before: Tensor, dropped: int, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight_in, bias_in, weight_out and bias_out."""
    (hidden, dim), groups = weight_in.shape, _num_groups(len(x))
    dx, d_in, d_turned_out = x.new_empty(x.shape), x.new_zeros(groups, hidden, dim), x.new_zeros(groups, hidden, dim)
    learned = {"dx": dx, "d_in": d_in, "d_turned_out": d_turned_out}
    learned |= {"d_bias_in": x.new_zeros(groups, hidden), "d_bias_out": x.new_zeros(groups, dim)}
    weights = {"panels_out": _panels(weight_out), "weight_in": weight_in}
    _run("feed_forward_backward", weight_in.shape, dropped, seed, x=x, before=before, grad=grad, **weights, **learned)
    return dx, d_in.sum(0), learned["d_bias_in"].sum(0), d_turned_out.sum(0).T.contiguous(), learned["d_bias_out"].sum(0)


def _run(function: str, shape: torch.Size, dropped: int, seed: int, **tensors: Tensor) -> None:
    (hidden, dim), num_tokens = shape, len(tensors["x"])
    told = _FeedForward(
        num_tokens=num_tokens,
        dim=dim,
        hidden=hidden,
        num_groups=_num_groups(num_tokens),
        num_threads=native.threads(2 * num_tokens * hidden * dim / OPERATIONS_WORTH_A_THREAD),
        dropped=dropped,
        seed=seed % 2**64,
    )
    native.call("feed_forward", function, told, {name: tensor.contiguous() for name, tensor in tensors.items()})


def _num_groups(num_tokens: int) -> int:
    return 2 * max(1, min(MOST_PAIRS, -(-num_tokens // PAIR)))


def _panels(matrix: Tensor) -> Tensor:
    """[D, F] in panels of columns that stand together: [F / PANEL, D, PANEL]."""
    return matrix.unflatten(1, (-1, PANEL)).transpose(0, 1)
