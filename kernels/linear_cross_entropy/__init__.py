"""A softmax over a large catalogue, forward and backward, without ever holding all the logits.

A loss over V items and Q questions would hold Q·V logits several times over: 16 GB for 60,000 questions and 68,000 items. Only their
log-sum-exp is needed, and the gradient of that is the softmax, which is computed again, a tile at a time, on the way back.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import dispatch
from kernels.linear_cross_entropy import one_pass, reference

__all__ = ["linear_cross_entropy", "linear_logsumexp", "sampled_cross_entropy", "weighted_logsumexp"]


def linear_logsumexp(x: Tensor, weight: Tensor, bias: Tensor, *, negligible: float = 0.0) -> Tensor:
    """log Σ_v exp(x · weight_v + bias_v) for each row of x: [Q], float32 at least.

    x [Q, D], weight [V, D] (taken in x's type), bias [V] (−inf leaves an item out). Differentiable in all three.
    negligible: on the way back, tiles in which no item has a probability that high may be skipped, as in Cut Your Losses
    (Wijmans et al., ICLR 2025), which takes 2^-12. 0 skips nothing: the gradient is exact.
    ValueError: shapes or types that don't fit.
    """
    _check_catalogue(x, weight, bias, negligible)
    path = dispatch.choose("linear_cross_entropy", x)
    if path == "reference":
        return reference.linear_logsumexp(x, weight, bias)
    nothing = torch.empty(0, dtype=torch.int64, device=x.device)
    return _normaliser(x, weight.to(x.dtype), bias, nothing, nothing.clone(), negligible, path)


def weighted_logsumexp(x: Tensor, weight: Tensor, bias: Tensor, row_weight: Tensor) -> Tensor:
    """Σ_q row_weight_q · log Σ_v exp(x_q · weight_v + bias_v), a scalar, float32 at least.

    As linear_logsumexp, and a quarter cheaper on the blocked path: since it is known how much each row counts, the gradients are made
    together with the value. row_weight [Q] is a constant: no gradient reaches it.
    ValueError: shapes or types that don't fit.
    """
    _check_catalogue(x, weight, bias, 0.0)
    if row_weight.shape != x.shape[:1]:
        raise ValueError(f"expected row_weight {[*x.shape[:1]]}; received {[*row_weight.shape]}")
    row_weight = row_weight.detach()
    learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, weight, bias))
    if dispatch.choose("linear_cross_entropy", x) == "blocked" and learns and one_pass.suits(weight.shape[0]):
        return _total(x, weight.to(x.dtype), bias, row_weight)[0]
    return (row_weight * linear_logsumexp(x, weight, bias)).sum()


def linear_cross_entropy(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    *,
    bias: Tensor | None = None,
    negligible: float = 0.0,
    reduction: Literal["none", "sum", "mean"] = "none",
) -> Tensor:
    """−log of the target's probability in a softmax over the whole catalogue, for each row of x, [Q], or their sum or mean.

    x [Q, D], weight [V, D], target int64 [Q], bias [V]; float32 at least. Differentiable in x, weight and bias; `negligible` as in
    linear_logsumexp. A sum or a mean may be cheaper than the rows one by one (weighted_logsumexp says why); of it nothing is neglected.
    ValueError: shapes or types that don't fit. IndexError: a target outside the catalogue.
    """
    bias = weight.new_zeros(weight.shape[:1]) if bias is None else bias
    _check_catalogue(x, weight, bias, negligible)
    _check_ids("target", target, x.shape[0])
    if reduction not in ("none", "sum", "mean"):
        raise ValueError(f"expected reduction none, sum or mean; received {reduction!r}")
    if dispatch.choose("linear_cross_entropy", x) == "reference":
        return reference.linear_cross_entropy(x, weight, target, bias, reduction)
    of_target = _dot(x, F.embedding(target, weight)) + bias[target]
    if reduction == "none":
        return linear_logsumexp(x, weight, bias, negligible=negligible) - of_target
    total = weighted_logsumexp(x, weight, bias, torch.ones_like(of_target)) - of_target.sum()
    return total / x.shape[0] if reduction == "mean" else total


def sampled_cross_entropy(
    x: Tensor,
    target_weight: Tensor,
    negative_weight: Tensor,
    target: Tensor,
    negatives: Tensor,
    log_q: Tensor,
    *,
    target_bias: Tensor | None = None,
    negative_bias: Tensor | None = None,
) -> Tensor:
    """−log of the target's probability, the catalogue being judged by a sample of it that all rows share: [Q], float32 at least.

    x [Q, D]; target and negatives: item ids, int64 [Q] and [N]; target_weight [Q, D], negative_weight [N, D]: their rows of the item
    table, which the caller looks up, so that a step costs what the sample costs however large the catalogue (with
    `nn.Embedding(sparse=True)` in the optimiser too). log_q [N]: logarithm of the probability with which a draw gives that negative.

    The normaliser is exp(own logit) + Σ_n exp(logit_n − log_q_n) / N over the negatives that are not the row's own target: without bias
    the one over the whole catalogue, if negatives are drawn with replacement (Bengio and Senécal, 2003). Differentiable in x, both weights
    and both biases [Q], [N].
    ValueError: shapes or types that don't fit.
    """
    target_bias = x.new_zeros(x.shape[:1]) if target_bias is None else target_bias
    negative_bias = x.new_zeros(negatives.shape[:1]) if negative_bias is None else negative_bias
    _check_catalogue(x, negative_weight, negative_bias, 0.0)
    _check_ids("target", target, x.shape[0])
    _check_ids("negatives", negatives, negative_weight.shape[0])
    if target_weight.shape != x.shape or target_bias.shape != x.shape[:1] or log_q.shape != negatives.shape:
        raise ValueError(
            f"expected target_weight {[*x.shape]}, target_bias {[*x.shape[:1]]}, log_q {[*negatives.shape]}; "
            f"received {[*target_weight.shape]}, {[*target_bias.shape]}, {[*log_q.shape]}"
        )
    path = dispatch.choose("linear_cross_entropy", x)
    if path == "reference":
        return reference.sampled_cross_entropy(x, target_weight, negative_weight, target, negatives, log_q, target_bias, negative_bias)
    of_target = _dot(x, target_weight) + target_bias
    corrected = negative_bias - log_q - math.log(negatives.shape[0])
    others = _normaliser(x, negative_weight.to(x.dtype), corrected, target, negatives, 0.0, path)
    return torch.logaddexp(of_target, others) - of_target


def _dot(x: Tensor, weight: Tensor) -> Tensor:
    return (x.to(reference.wide(x)) * weight).sum(-1)


def _check_catalogue(x: Tensor, weight: Tensor, bias: Tensor, negligible: float) -> None:
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1] or bias.shape != weight.shape[:1] or weight.shape[0] < 1:
        raise ValueError(
            f"expected x [Q, D], weight [V, D], bias [V] with V at least 1; received {[*x.shape]}, {[*weight.shape]}, {[*bias.shape]}"
        )
    if not 0 <= negligible < 1:
        raise ValueError(f"expected negligible, a probability, from 0 to less than 1; received {negligible}")


def _check_ids(name: str, ids: Tensor, size: int) -> None:
    if ids.shape != (size,) or ids.dtype != torch.int64:
        raise ValueError(f"expected {name} int64 [{size}]; received {ids.dtype} {[*ids.shape]}")


@torch.library.custom_op("revisit::linear_logsumexp", mutates_args=())
def _normaliser(x: Tensor, weight: Tensor, bias: Tensor, row_id: Tensor, item_id: Tensor, negligible: float, path: str) -> Tensor:
    """log Σ exp over the items, without those whose id is the row's: [Q]. row_id int64 [Q] and item_id int64 [V], or both [0]."""
    return dispatch.load("linear_cross_entropy", path).forward(x, weight, bias, row_id, item_id)


@_normaliser.register_fake
def _(x, weight, bias, row_id, item_id, negligible, path):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[:1], dtype=reference.wide(x))


@torch.library.custom_op("revisit::linear_logsumexp_backward", mutates_args=())
def _backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    row_id: Tensor,
    item_id: Tensor,
    normaliser: Tensor,
    negligible: float,
    path: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias."""
    module = dispatch.load("linear_cross_entropy", path)
    return module.backward(grad, x, weight, bias, row_id, item_id, normaliser, negligible)


@_backward.register_fake
def _(grad, x, weight, bias, row_id, item_id, normaliser, negligible, path):  # type: ignore[no-untyped-def]
    return tuple(torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (x, weight, bias))


def _save(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, ctx.negligible, ctx.path = inputs
    ctx.save_for_backward(*tensors, output)


def _pull(ctx, grad):  # type: ignore[no-untyped-def]
    return *_backward(grad.contiguous(), *ctx.saved_tensors, ctx.negligible, ctx.path), None, None, None, None


_normaliser.register_autograd(_pull, setup_context=_save)


@torch.library.custom_op("revisit::weighted_logsumexp", mutates_args=())
def _total(x: Tensor, weight: Tensor, bias: Tensor, row_weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The weighted sum, and its gradients of x, weight and bias."""
    return one_pass.total_with_gradients(x, weight, bias, row_weight)


@_total.register_fake
def _(x, weight, bias, row_weight):  # type: ignore[no-untyped-def]
    gradients = (torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (x, weight, bias))
    return x.new_empty((), dtype=reference.wide(x)), *gradients


def _keep_gradients(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)  # zeros as large as the gradients would be made for nothing
    ctx.save_for_backward(*output[1:])


def _scale(ctx, grad, *_):  # type: ignore[no-untyped-def]
    if grad is None:
        return (None,) * 4
    return *((grad * of_one).to(of_one.dtype) for of_one in ctx.saved_tensors), None


_total.register_autograd(_scale, setup_context=_keep_gradients)
