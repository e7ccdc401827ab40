"""The specification: every row padded to the longest, every pair of tokens weighed."""

import torch
from torch import Tensor

from kernels import ragged
from kernels.gap_bias import GapTables, gap_bias


def jagged_attention(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, sees: Tensor, gaps: GapTables | None) -> Tensor:
    logits, visible, values = padded_logits(q, k, v, offsets, sees, gaps)
    out_BHLD = logits.masked_fill(~visible, -torch.inf).softmax(-1) @ values
    return ragged.unpad(out_BHLD.transpose(1, 2), offsets, q.shape[0])


def padded_logits(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, sees: Tensor, gaps: GapTables | None) -> tuple[Tensor, Tensor, Tensor]:
    """q·k/√D + bias [B, H, L, L], who sees whom [B, 1, L, L], and the values [B, H, L, D].

    A place behind a row's end sees itself alone.
    """
    length = ragged.longest(offsets)
    q_BHLD, k_BHLD, v_BHLD = (ragged.pad(x, offsets, length).transpose(1, 2) for x in (q, k, v))
    sees_BL = ragged.pad(sees, offsets, length)
    index = torch.arange(length, device=q.device)
    visible = (index < sees_BL[:, :, None]) | (index == index[:, None])
    logits = q_BHLD @ k_BHLD.transpose(-1, -2) * q.shape[-1] ** -0.5
    if gaps is not None:
        places = sees_BL[:, :, None] - index  # not above 0 between a token and itself, which counts as none
        logits = logits + gap_bias(gaps.positions, places).transpose(0, 1)
        if gaps.moment is not None:
            moment_BL = ragged.pad(gaps.moment, offsets, length)
            logits = logits + gap_bias(gaps.times, moment_BL[:, :, None] - moment_BL[:, None, :], gaps.unit).transpose(0, 1)
    return logits, visible[:, None], v_BHLD
