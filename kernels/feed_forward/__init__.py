"""Two linear layers with GELU and dropout between them: of what stands between, four times as wide, no more than needed is remembered.

GELU: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
"""

import torch
from torch import Tensor

from kernels import dispatch
from kernels.feed_forward import reference

__all__ = ["feed_forward"]


def feed_forward(
    x: Tensor, weight_in: Tensor, bias_in: Tensor, weight_out: Tensor, bias_out: Tensor, *, dropped: int = 0, seed: int = 0
) -> Tensor:
    """dropout(gelu(x · weight_inᵀ + bias_in)) · weight_outᵀ + bias_out: [T, D].

    x [T, D], weight_in [F, D], bias_in [F], weight_out [D, F], bias_out [D]; dropped and seed as in kernels.dropout, 0 drops nothing.
    Differentiable in all five tensors. ValueError: shapes that don't fit.
    """
    width = x.shape[1:]
    if x.ndim != 2 or weight_in.shape != bias_in.shape + width or weight_out.shape != width + bias_in.shape or bias_out.shape != width:
        received = ", ".join(str([*tensor.shape]) for tensor in (x, weight_in, bias_in, weight_out, bias_out))
        raise ValueError(f"expected x [T, D], weight_in [F, D], bias_in [F], weight_out [D, F], bias_out [D]; received {received}")
    path = dispatch.choose("feed_forward", x)
    if path == "reference" or not dispatch.load("feed_forward", path).fits(*weight_in.shape):
        return reference.feed_forward(x, weight_in, bias_in, weight_out, bias_out, dropped, seed)
    out, _ = _forward(x, weight_in, bias_in, weight_out, bias_out, dropped, seed)
    return out


@torch.library.custom_op("revisit::feed_forward", mutates_args=())
def _forward(
    x: Tensor, weight_in: Tensor, bias_in: Tensor, weight_out: Tensor, bias_out: Tensor, dropped: int, seed: int
) -> tuple[Tensor, Tensor]:
    """The result, and what GELU was given [T, F]."""
    return dispatch.load("feed_forward", "compiled").forward(x, weight_in, bias_in, weight_out, bias_out, dropped, seed)


@_forward.register_fake
def _(x, weight_in, bias_in, weight_out, bias_out, dropped, seed):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape), x.new_empty(x.shape[0], weight_in.shape[0])


@torch.library.custom_op("revisit::feed_forward_backward", mutates_args=())
def _backward(
    grad: Tensor, x: Tensor, weight_in: Tensor, weight_out: Tensor, before: Tensor, dropped: int, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, both weights and both biases, in the order of the arguments."""
    return dispatch.load("feed_forward", "compiled").backward(grad, x, weight_in, weight_out, before, dropped, seed)


@_backward.register_fake
def _(grad, x, weight_in, weight_out, before, dropped, seed):  # type: ignore[no-untyped-def]
    hidden, dim = weight_in.shape
    return tuple(x.new_empty(shape) for shape in (x.shape, (hidden, dim), (hidden,), (dim, hidden), (dim,)))


def _save(ctx, inputs, output):  # type: ignore[no-untyped-def]
    x, weight_in, _, weight_out, _, ctx.dropped, ctx.seed = inputs
    ctx.save_for_backward(x, weight_in, weight_out, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # zeros [T, F] for `before` would cost as much as dropout does


def _pull(ctx, grad, _):  # type: ignore[no-untyped-def]
    if grad is None:
        return (None,) * 7
    return *_backward(grad.contiguous(), *ctx.saved_tensors, ctx.dropped, ctx.seed), None, None


_forward.register_autograd(_pull, setup_context=_save)
