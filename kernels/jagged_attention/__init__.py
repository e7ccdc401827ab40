"""Causal softmax attention over rows of different lengths, without padding and without the L×L bias in memory.

Token i of a row attends to the first `sees[i]` tokens of its row, and to itself. With sees[i] = its own place, the default, that is causal
attention. With smaller values a row may end in questions: each sees the steps before its moment and itself, and nothing sees it.
"""

import torch
from torch import Tensor

from kernels import dispatch, ragged
from kernels.gap_bias import GapTables
from kernels.jagged_attention import reference

__all__ = ["check_attention", "jagged_attention"]


def jagged_attention(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, *, sees: Tensor | None = None, gaps: GapTables | None = None
) -> Tensor:
    """softmax over visible j of (q_i·k_j / √D + bias_ij), times v: [T, H, D].

    q, k, v [T, H, D]; offsets int64 [B + 1]; sees int64 [T], at most each token's own place in its row; gaps: biases by places and time
    between i and j, where the distance in places is sees[i] − j. Differentiable in q, k, v and the tables.
    ValueError: shapes or types that don't fit.
    """
    check_attention(q, k, v, offsets, sees, gaps)
    if sees is None:
        sees = ragged.place_in_row(offsets, q.shape[0])
    path = dispatch.choose("jagged_attention", q)
    if path == "reference":
        return reference.jagged_attention(q, k, v, offsets, sees, gaps)
    out, _ = _forward(q, k, v, offsets, sees, *tensors_of(gaps, q), path)
    return out


def check_attention(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, sees: Tensor | None, gaps: GapTables | None) -> None:
    """ValueError with what was expected and what came, for shapes and types; values are not looked at."""
    if q.ndim != 3 or q.shape != k.shape or q.shape != v.shape:
        raise ValueError(f"expected q, k, v of one shape [T, H, D]; received {[*q.shape]}, {[*k.shape]}, {[*v.shape]}")
    if offsets.ndim != 1 or offsets.dtype != torch.int64 or offsets.shape[0] < 1:
        raise ValueError(f"expected offsets int64 [B + 1]; received {offsets.dtype} {[*offsets.shape]}")
    for name, tensor in (("sees", sees), ("gaps.moment", None if gaps is None else gaps.moment)):
        if tensor is not None and (tensor.shape != q.shape[:1] or tensor.dtype != torch.int64):
            raise ValueError(f"expected {name} int64 [{q.shape[0]}]; received {tensor.dtype} {[*tensor.shape]}")
    if gaps is not None and not gaps.positions.shape[0] == gaps.times.shape[0] == q.shape[1]:
        raise ValueError(f"expected tables for {q.shape[1]} heads; received {gaps.positions.shape[0]} and {gaps.times.shape[0]}")


def tensors_of(gaps: GapTables | None, like: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
    """positions, times, moment, unit. A registered operator's gradients can't be None: no bias has no knots, [H, 0]; no moments are [0]."""
    no_moment = torch.empty(0, dtype=torch.int64, device=like.device)
    if gaps is None:
        none = like.new_empty(like.shape[1], 0)
        return none, none.clone(), no_moment, 1.0
    return gaps.positions, gaps.times, no_moment if gaps.moment is None else gaps.moment, gaps.unit


@torch.library.custom_op("revisit::jagged_attention", mutates_args=())
def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offsets: Tensor,
    sees: Tensor,
    positions: Tensor,
    times: Tensor,
    moment: Tensor,
    unit: float,
    path: str,
) -> tuple[Tensor, Tensor]:
    """The result [T, H, D] and, for the way back, the logarithm of each token's normaliser, float32 or wider [T, H]."""
    return dispatch.load("jagged_attention", path).forward(q, k, v, offsets, sees, positions, times, moment, unit)


@_forward.register_fake
def _(q, k, v, offsets, sees, positions, times, moment, unit, path):  # type: ignore[no-untyped-def]
    log_normaliser = q.new_empty(q.shape[:2], dtype=torch.promote_types(q.dtype, torch.float32))
    return torch.empty_like(q, memory_format=torch.contiguous_format), log_normaliser


@torch.library.custom_op("revisit::jagged_attention_backward", mutates_args=())
def _backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offsets: Tensor,
    sees: Tensor,
    positions: Tensor,
    times: Tensor,
    moment: Tensor,
    out: Tensor,
    log_normaliser: Tensor,
    unit: float,
    path: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v [T, H, D] and of both tables [H, P], [H, K]."""
    module = dispatch.load("jagged_attention", path)
    return module.backward(grad, q, k, v, offsets, sees, positions, times, moment, out, log_normaliser, unit)


@_backward.register_fake
def _(grad, q, k, v, offsets, sees, positions, times, moment, out, log_normaliser, unit, path):  # type: ignore[no-untyped-def]
    return tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v, positions, times))


def _save(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, ctx.unit, ctx.path = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.mark_non_differentiable(output[1])


def _pull(ctx, grad, _):  # type: ignore[no-untyped-def]
    dq, dk, dv, d_positions, d_times = _backward(grad.contiguous(), *ctx.saved_tensors, ctx.unit, ctx.path)
    return dq, dk, dv, None, None, d_positions, d_times, None, None, None


_forward.register_autograd(_pull, setup_context=_save)
