"""The specification: all the logits at once, in float32 at least."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def linear_logsumexp(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _logits(x, weight, bias).logsumexp(-1)


def linear_cross_entropy(x: Tensor, weight: Tensor, target: Tensor, bias: Tensor, reduction: str = "none") -> Tensor:
    return F.cross_entropy(_logits(x, weight, bias), target, reduction=reduction)


def sampled_cross_entropy(
    x: Tensor,
    target_weight: Tensor,
    negative_weight: Tensor,
    target: Tensor,
    negatives: Tensor,
    log_q: Tensor,
    target_bias: Tensor,
    negative_bias: Tensor,
) -> Tensor:
    of_target = (x.to(wide(x)) * target_weight.to(wide(x))).sum(-1) + target_bias
    of_negatives = _logits(x, negative_weight, negative_bias) - log_q - math.log(len(negatives))
    hits = target[:, None] == negatives
    logits = torch.cat([of_target[:, None], of_negatives.masked_fill(hits, -math.inf)], 1)
    return logits.logsumexp(-1) - of_target


def wide(x: Tensor) -> torch.dtype:
    """Sums over a catalogue are taken in float32 at least."""
    return torch.promote_types(x.dtype, torch.float32)


def _logits(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.to(wide(x)) @ weight.to(wide(x)).T + bias
