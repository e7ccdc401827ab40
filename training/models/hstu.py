"""Pointwise attention over a customer's steps (HSTU: Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential
Transducers for Generative Recommendations", ICML 2024).

One projection makes gates, values, queries and keys, all through a SiLU; what attention gathers is normed, gated and projected back.
There is no softmax, so that how much of a history speaks for something is kept, and no feed-forward layer: the gate does its work.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from kernels.gap_bias import GapTables
from kernels.hstu_attention import hstu_attention
from training.errors import ConfigError
from training.models.dropout import Dropout
from training.models.rows import Rows, Stack, StackedEncoder
from training.settings import Count, Positive, Share


class HSTU(StackedEncoder):
    """dim, num_blocks, num_heads, dropout as in SASRec. usual_length: what sums over a history are divided by, to keep them in range."""

    attends_by = "hstu_attention"

    def __init__(self, *, dim: Count, num_blocks: Count, num_heads: Count, dropout: Share, usual_length: Positive) -> None:
        super().__init__()
        if not usual_length > 0:
            raise ConfigError(f"expected encoder.usual_length to be above 0, received {usual_length!r}; correct it")
        self.stack = Stack([Block(dim, num_heads, dropout, usual_length) for _ in range(num_blocks)], dim=dim, num_heads=num_heads)


class Block(nn.Module):
    """Attention behind a norm, gated, beside a residual."""

    def __init__(self, dim: int, num_heads: int, dropout: float, usual_length: float) -> None:
        super().__init__()
        self.num_heads, self.usual_length = num_heads, usual_length
        self.norm_input, self.norm_attended = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_uvqk, self.to_out = nn.Linear(dim, 4 * dim), nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x_TD: Tensor, rows: Rows, gaps: GapTables, *, answers: Tensor | None = None) -> Tensor:
        """[T, D]; or, of the tokens `answers` alone, [Q, D]: behind the last attention nobody reads the others."""
        gate, *vqk = F.silu(self.to_uvqk(self.norm_input(x_TD))).chunk(4, -1)
        v, q, k = (part.unflatten(-1, (self.num_heads, -1)) for part in vqk)
        attended = hstu_attention(q, k, v, rows.offsets, norm=self.usual_length, sees=rows.sees, gaps=gaps).flatten(1)
        if answers is not None:
            x_TD, gate, attended = (tokens.index_select(0, answers) for tokens in (x_TD, gate, attended))
        return x_TD + self.to_out(self.dropout(self.norm_attended(attended) * gate))
