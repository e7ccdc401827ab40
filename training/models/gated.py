"""Our own: what the ablations of others reward, in one block.

BSARec (Shin et al., AAAI 2024) mixes attention with a filter, always in one proportion; here each token chooses it for each channel, by a
gate that starts at BSARec's. Gated layers are what ranking transformers of industry gained most from (LiGR: Borisyuk et al., "From Features
to Transformers: Redefining Ranking for Scalable Impact", 2025), so the feed-forward layer is gated too (SwiGLU: Shazeer, "GLU Variants
Improve Transformer", 2020). Places and times between steps bias attention as in HSTU.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.gap_bias import GapTables
from training.models.bsarec import Filter
from training.models.dropout import Dropout
from training.models.rows import Rows, Stack, StackedEncoder
from training.models.sasrec import Attention
from training.settings import Chance, Count, Share

HIDDEN = 8 / 3  # of the width: as many weights as a plain layer of four times the width


class Gated(StackedEncoder):
    """dim, num_blocks, num_heads, dropout as in SASRec. alpha: the filter's share beside attention's at first; reach: as in BSARec."""

    def __init__(self, *, dim: Count, num_blocks: Count, num_heads: Count, dropout: Share, alpha: Chance, reach: Count) -> None:
        super().__init__()
        blocks = [Block(dim, num_heads, dropout, alpha, reach) for _ in range(num_blocks)]
        self.stack = Stack(blocks, dim=dim, num_heads=num_heads)


class Block(nn.Module):
    """Filter and attention, mixed by a gate; then a gated feed-forward layer. Each beside a residual, and before a norm."""

    def __init__(self, dim: int, num_heads: int, dropout: float, alpha: float, reach: int) -> None:
        super().__init__()
        self.filter, self.attention = Filter(dim, reach), Attention(dim, num_heads)
        self.gate = nn.Linear(dim, dim)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, torch.logit(torch.tensor(alpha), eps=1e-3).item())
        hidden = math.ceil(HIDDEN * dim / 8) * 8
        self.to_hidden, self.from_hidden = nn.Linear(dim, 2 * hidden), nn.Linear(hidden, dim)
        self.norm_mixed, self.norm_forward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x_TD: Tensor, rows: Rows, gaps: GapTables, *, answers: Tensor | None = None) -> Tensor:
        """[T, D]; or, of the tokens `answers` alone, [Q, D]: behind the last attention nobody reads the others."""
        own = x_TD if answers is None else x_TD.index_select(0, answers)
        share = self.gate(own).sigmoid()
        mixed = torch.lerp(self.attention(x_TD, rows, gaps, answers=answers), self.filter(x_TD, rows, answers=answers), share)
        x = self.norm_mixed(own + self.dropout(mixed))
        gate, value = self.to_hidden(x).chunk(2, -1)
        return self.norm_forward(x + self.dropout(self.from_hidden(F.silu(gate) * value)))
