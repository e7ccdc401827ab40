"""Causal self-attention over a customer's steps (SASRec: Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018).

Pre-norm blocks. Instead of absolute positions each head weighs down what lies many steps or a long time back, by a learned slope for
either, so that a history cut at its old end looks like a shorter history.
A question is one more token at the end that sees every step before its moment, and that nothing sees.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels import ragged
from training.errors import ConfigError
from training.models import clock
from training.models.encoder import Encoder
from training.models.features import Tokens


class SASRec(Encoder):
    """dim: width of a token; num_blocks, num_heads, dropout as usual."""

    def __init__(self, *, dim: int, num_blocks: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        if dim % num_heads:
            raise ConfigError(f"expected dim to be a multiple of encoder.num_heads, received {dim} and {num_heads}; change either")
        self.bias = GapBias(num_heads)
        self.blocks = nn.ModuleList(Block(dim, num_heads, dropout) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(dim)

    def forward(self, steps: Tokens, questions: Tokens) -> Tensor:
        num_steps, num_questions = ragged.longest(steps.offsets), ragged.longest(questions.offsets)
        x_BLD = torch.cat([ragged.pad(steps.x, steps.offsets, num_steps), ragged.pad(questions.x, questions.offsets, num_questions)], 1)
        step_time = ragged.pad(steps.time, steps.offsets, num_steps)
        time_BL = torch.cat([step_time, ragged.pad(questions.time, questions.offsets, num_questions)], 1)
        position = torch.arange(num_steps, device=x_BLD.device)
        real_BS = position < (steps.offsets[1:] - steps.offsets[:-1])[:, None]
        # a question stands behind the steps that it may see
        seen_BQ = (real_BS[:, None, :] & (step_time[:, None, :] <= time_BL[:, num_steps:, None])).to(torch.int64).sum(-1)
        place_BL = torch.cat([position.expand_as(step_time), seen_BQ], 1)
        bias_BHLL = self.bias(place_BL, time_BL).masked_fill(~visible(place_BL, real_BS, num_questions)[:, None], -torch.inf)
        for block in self.blocks:
            x_BLD = block(x_BLD, bias_BHLL)
        return self.norm(ragged.unpad(x_BLD[:, num_steps:], questions.offsets, questions.x.shape[0]))


def visible(place_BL: Tensor, real_BS: Tensor, num_questions: int) -> Tensor:
    """Who may look at whom: bool [B, L, L]. Steps look at themselves and back, questions at the steps before them and at themselves."""
    num_steps = real_BS.shape[1]
    is_step = F.pad(real_BS, (0, num_questions))
    index = torch.arange(num_steps + num_questions, device=real_BS.device)
    is_question = index >= num_steps
    before = place_BL[:, None, :] < place_BL[:, :, None] + (~is_question)[:, None].to(torch.int64)
    return (before & is_step[:, None, :]) | (index[:, None] == index)


class GapBias(nn.Module):
    """A learned slope a head for how many steps, and one for how much time, lie between two tokens, both on logarithmic scales.

    Slopes (as in ALiBi, Press et al., ICLR 2022) rather than tables: nothing to look up for each pair, and no far end to run out of.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.by_steps = nn.Parameter(-torch.linspace(0.0, 1.0, num_heads))
        self.by_time = nn.Parameter(-torch.linspace(0.0, 1.0, num_heads))

    def forward(self, place_BL: Tensor, time_BL: Tensor) -> Tensor:
        """[B, heads, L, L]."""
        steps_BLL = (place_BL[:, :, None] - place_BL[:, None, :]).clamp(min=0).to(torch.float32).log1p()
        time_BLL = clock.log_days(time_BL[:, :, None] - time_BL[:, None, :])
        return steps_BLL[:, None] * self.by_steps[:, None, None] + time_BLL[:, None] * self.by_time[:, None, None]


class Block(nn.Module):
    """Attention, then a feed-forward layer, each behind a norm and beside a residual."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_attention, self.norm_forward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_qkv, self.to_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor, bias_BHLL: Tensor) -> Tensor:
        x_BLD = x_BLD + self.dropout(self._attend(self.norm_attention(x_BLD), bias_BHLL))
        return x_BLD + self.dropout(self.feed_forward(self.norm_forward(x_BLD)))

    def _attend(self, x_BLD: Tensor, bias_BHLL: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in self.to_qkv(x_BLD).chunk(3, -1))
        return self.to_out(attention(q, k, v, bias_BHLL).transpose(1, 2).flatten(2))


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """softmax(q·k/√d + bias)·v. Written out while exporting: the fused operator's own checks can't follow sizes known only at run time."""
    if torch.compiler.is_exporting():
        return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
