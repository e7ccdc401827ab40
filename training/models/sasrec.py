"""Causal self-attention over a customer's steps (SASRec: Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018).

Pre-norm blocks on rows of different lengths; relative places and times (`training.models.rows`), the paper's positions if wanted.
"""

from torch import Tensor, nn

from kernels.gap_bias import GapTables
from kernels.jagged_attention import jagged_attention
from training.models.dropout import Dropout
from training.models.feed_forward import FeedForward
from training.models.rows import Rows, Stack, StackedEncoder
from training.settings import Count, Share, Whole


class SASRec(StackedEncoder):
    """dim: width of a token; num_blocks, num_heads, dropout as usual. num_positions: see `Stack`."""

    def __init__(self, *, dim: Count, num_blocks: Count, num_heads: Count, dropout: Share, num_positions: Whole = 0) -> None:
        super().__init__()
        blocks = [Block(dim, num_heads, dropout) for _ in range(num_blocks)]
        self.stack = Stack(blocks, dim=dim, num_heads=num_heads, num_positions=num_positions)


class Block(nn.Module):
    """Attention, then a feed-forward layer, each behind a norm and beside a residual."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(dim, num_heads)
        self.norm_attention, self.norm_forward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, x_TD: Tensor, rows: Rows, gaps: GapTables, *, answers: Tensor | None = None) -> Tensor:
        """[T, D]; or, of the tokens `answers` alone, [Q, D]: behind the last attention nobody reads the others."""
        attended = self.attention(self.norm_attention(x_TD), rows, gaps, answers=answers)
        x_TD = (x_TD if answers is None else x_TD.index_select(0, answers)) + self.dropout(attended)
        return x_TD + self.dropout(self.feed_forward(self.norm_forward(x_TD)))


class Attention(nn.Module):
    """What each token, or each of the answers, takes from those it sees."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_qkv, self.to_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x_TD: Tensor, rows: Rows, gaps: GapTables, *, answers: Tensor | None) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in self.to_qkv(x_TD).chunk(3, -1))
        attended = jagged_attention(q, k, v, rows.offsets, sees=rows.sees, gaps=gaps).flatten(1)
        return self.to_out(attended if answers is None else attended.index_select(0, answers))
