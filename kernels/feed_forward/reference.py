"""The specification."""

from torch import Tensor
from torch.nn import functional as F

from kernels.dropout import dropout


def feed_forward(x: Tensor, weight_in: Tensor, bias_in: Tensor, weight_out: Tensor, bias_out: Tensor, dropped: int, seed: int) -> Tensor:
    return F.linear(dropout(F.gelu(F.linear(x, weight_in, bias_in)), dropped, seed), weight_out, bias_out)
