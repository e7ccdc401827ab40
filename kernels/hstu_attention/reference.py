"""The specification: every row padded to the longest, every pair of tokens weighed."""

from torch import Tensor
from torch.nn import functional as F

from kernels import ragged
from kernels.gap_bias import GapTables
from kernels.jagged_attention.reference import padded_logits


def hstu_attention(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, sees: Tensor, gaps: GapTables | None, norm: float) -> Tensor:
    logits, visible, values = padded_logits(q, k, v, offsets, sees, gaps)
    out_BHLD = F.silu(logits).masked_fill(~visible, 0.0) @ values / norm
    return ragged.unpad(out_BHLD.transpose(1, 2), offsets, q.shape[0])
