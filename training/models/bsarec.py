"""Attention mixed with a frequency filter (BSARec: Shin et al., "An Attentive Inductive Bias for Sequential Recommendation beyond the
Self-Attention", AAAI 2024).

Attention smooths: what is sudden in a history fades with every block. Beside it a filter splits the history into a slow part and the rest,
and gives the rest a weight of its own. The paper's filter is a Fourier transform of the whole sequence, through which the future changes
the past: harmless where a sequence is asked at its end alone, a leak where every position learns. Ours looks back only: the slow part is
a weighted mean over the last few steps, its weights learned for each channel, all above zero, so that it lets slow waves pass.
"""

import torch
from torch import Tensor, nn

from kernels import ragged
from kernels.gap_bias import GapTables
from training.models.dropout import Dropout
from training.models.feed_forward import FeedForward
from training.models.rows import Rows, Stack, StackedEncoder
from training.models.sasrec import Attention
from training.settings import Chance, Count, Share


class BSARec(StackedEncoder):
    """dim, num_blocks, num_heads, dropout as in SASRec. alpha: the filter's share beside attention's.

    reach: the steps that the slow part is a mean of, the present one among them. An even mean over n halves the power of waves 2.3 n long:
    11 cut where the paper's c = 5 cuts its sequences of 50, at waves of 25 steps.
    """

    def __init__(self, *, dim: Count, num_blocks: Count, num_heads: Count, dropout: Share, alpha: Chance, reach: Count) -> None:
        super().__init__()
        blocks = [Block(dim, num_heads, dropout, alpha, reach) for _ in range(num_blocks)]
        self.stack = Stack(blocks, dim=dim, num_heads=num_heads)


class Block(nn.Module):
    """Filter and attention side by side, then a feed-forward layer: each beside a residual, and before a norm as in the paper."""

    def __init__(self, dim: int, num_heads: int, dropout: float, alpha: float, reach: int) -> None:
        super().__init__()
        self.alpha = alpha
        self.filter = Filter(dim, reach)
        self.attention = Attention(dim, num_heads)
        self.feed_forward = FeedForward(dim)
        self.norm_filter, self.norm_attention, self.norm_forward = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x_TD: Tensor, rows: Rows, gaps: GapTables, *, answers: Tensor | None = None) -> Tensor:
        """[T, D]; or, of the tokens `answers` alone, [Q, D]: behind the last attention nobody reads the others."""
        own = x_TD if answers is None else x_TD.index_select(0, answers)
        filtered = self.norm_filter(own + self.dropout(self.filter(x_TD, rows, answers=answers)))
        attended = self.norm_attention(own + self.dropout(self.attention(x_TD, rows, gaps, answers=answers)))
        mixed = self.alpha * filtered + (1 - self.alpha) * attended
        return self.norm_forward(mixed + self.dropout(self.feed_forward(mixed)))


class Filter(nn.Module):
    """The slow part of each channel, and the rest times the square of a learned number."""

    def __init__(self, dim: int, reach: int) -> None:
        super().__init__()
        self.log_taps = nn.Parameter(torch.zeros(reach, dim))
        self.root_of_scale = nn.Parameter(torch.randn(dim))

    def forward(self, x_TD: Tensor, rows: Rows, *, answers: Tensor | None) -> Tensor:
        """[T, D], or [Q, D] of the tokens `answers` alone."""
        own = x_TD if answers is None else x_TD.index_select(0, answers)
        slow = self._slow(own, x_TD, *_window(rows, len(self.log_taps) - 1, answers))
        return slow + self.root_of_scale**2 * (own - slow)

    def _slow(self, own: Tensor, x_TD: Tensor, token: Tensor, is_there: Tensor) -> Tensor:
        """The mean of a token and of those before it that are there; at the beginning of a history, of fewer."""
        own_tap, *_ = taps = self.log_taps.exp()
        before = x_TD.index_select(0, token.flatten()).unflatten(0, token.shape) * is_there[..., None] * taps[1:]
        return (own * own_tap + before.sum(1)) / (own_tap + is_there @ taps[1:])


def _window(rows: Rows, reach: int, answers: Tensor | None) -> tuple[Tensor, Tensor]:
    """The last `reach` steps that each token sees beside itself, latest first, and 1.0 where they exist: two [T, reach]."""
    first, sees = rows.offsets[ragged.row_of_value(rows.offsets, rows.x.shape[0])], rows.sees
    if answers is not None:
        first, sees = first[answers], sees[answers]
    place = sees[:, None] - torch.arange(1, reach + 1, device=sees.device)
    return first[:, None] + place.clamp(min=0), (place >= 0).to(rows.x.dtype)
