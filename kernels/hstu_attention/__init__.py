"""Pointwise attention over rows of different lengths: each weight is a SiLU of its own logit, with no softmax across the row.

How much a history says about something is kept, where a softmax would normalise it away. Zhai et al., "Actions Speak Louder than Words:
Trillion-Parameter Sequential Transducers for Generative Recommendations", ICML 2024. Neither the weights nor the bias are ever held whole.
"""

import torch
from torch import Tensor

from kernels import dispatch, ragged
from kernels.gap_bias import GapTables
from kernels.hstu_attention import reference
from kernels.jagged_attention import check_attention, tensors_of

__all__ = ["hstu_attention"]


def hstu_attention(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, *, norm: float, sees: Tensor | None = None, gaps: GapTables | None = None
) -> Tensor:
    """Σ over visible j of silu(q_i·k_j / √D + bias_ij) v_j / norm: [T, H, D].

    Arguments as in `jagged_attention`; norm keeps sums over long rows in range, usually the longest length expected. It is a constant, so
    that a row's result can't depend on its neighbours in the batch. Differentiable in q, k, v and the tables.
    ValueError: shapes or types that don't fit, a norm that is not positive.
    """
    check_attention(q, k, v, offsets, sees, gaps)
    if not norm > 0:
        raise ValueError(f"expected norm above 0; received {norm}")
    if sees is None:
        sees = ragged.place_in_row(offsets, q.shape[0])
    path = dispatch.choose("hstu_attention", q)
    if path == "reference":
        return reference.hstu_attention(q, k, v, offsets, sees, gaps, norm)
    return _forward(q, k, v, offsets, sees, *tensors_of(gaps, q), norm, path)


@torch.library.custom_op("revisit::hstu_attention", mutates_args=())
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
    norm: float,
    path: str,
) -> Tensor:
    return dispatch.load("hstu_attention", path).forward(q, k, v, offsets, sees, positions, times, moment, unit, norm)


@_forward.register_fake
def _(q, k, v, offsets, sees, positions, times, moment, unit, norm, path):  # type: ignore[no-untyped-def]
    return torch.empty_like(q, memory_format=torch.contiguous_format)


@torch.library.custom_op("revisit::hstu_attention_backward", mutates_args=())
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
    unit: float,
    norm: float,
    path: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v [T, H, D] and of both tables [H, P], [H, K]."""
    return dispatch.load("hstu_attention", path).backward(grad, q, k, v, offsets, sees, positions, times, moment, unit, norm)


@_backward.register_fake
def _(grad, q, k, v, offsets, sees, positions, times, moment, unit, norm, path):  # type: ignore[no-untyped-def]
    return tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v, positions, times))


def _save(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, ctx.unit, ctx.norm, ctx.path = inputs
    ctx.save_for_backward(*tensors)


def _pull(ctx, grad):  # type: ignore[no-untyped-def]
    dq, dk, dv, d_positions, d_times = _backward(grad.contiguous(), *ctx.saved_tensors, ctx.unit, ctx.norm, ctx.path)
    return dq, dk, dv, None, None, d_positions, d_times, None, None, None, None


_forward.register_autograd(_pull, setup_context=_save)
