"""Steps and questions of each customer as one row of tokens, as the attention operators of `kernels` read them.

A question stands behind all steps of its customer, sees those at or before its moment, and is seen by nothing. A question that is nothing
but its latest step is that step: rows are half as long then. No padding anywhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kernels import dispatch, ragged
from kernels.gap_bias import HOUR, GapTables
from kernels.jagged_attention.tiles import share_of_padding
from training.errors import ConfigError
from training.models.encoder import Encoder
from training.models.tokens import Tokens, past_of_questions, past_of_steps

NUM_PLACES = 12  # knots at 0, 1, 3, 7, ... 2,047 steps back
NUM_HOURS = 16  # knots at 0, 1, 3, 7, ... 32,767 hours back, which is more than three years


@dataclass
class Rows:
    """x [T, D]; offsets int64 [B + 1]; sees: how many steps of its row each token sees; moment µs [T], None where only the order is known.

    questions: where they stand [Q].
    """

    x: Tensor
    offsets: Tensor
    sees: Tensor
    moment: Tensor | None
    questions: Tensor


class Stack(nn.Module):
    """Blocks over rows, the answers normed. A block takes `(x, rows, gaps, answers=)` as SASRec's does.

    num_positions: for how many places, counted from the oldest step that is read, a token is told by a learned vector where it stands,
    besides how far it is from others; what is behind them stands at the last. Raises ConfigError for sizes that don't fit.
    """

    def __init__(self, blocks: Sequence[nn.Module], *, dim: int, num_heads: int, num_positions: int = 0) -> None:
        super().__init__()
        if dim % num_heads:
            raise ConfigError(f"expected dim to be a multiple of encoder.num_heads, received {dim} and {num_heads}; change either")
        if not blocks:
            raise ConfigError("expected encoder.num_blocks to be 1 or more, received 0; correct it")
        self.num_heads = num_heads
        self.gaps = Gaps(num_heads)
        self.positions = nn.Parameter(torch.zeros(num_positions, dim)) if num_positions else None
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim)

    def forward(self, steps: Tokens, questions: Tokens) -> Tensor:
        """[Q, D]."""
        rows = rows_of(steps, questions)
        x_TD, gaps = rows.x, self.gaps(rows)
        if self.positions is not None:
            x_TD = x_TD + self.positions.index_select(0, rows.sees.clamp(max=len(self.positions) - 1))
        for block in self.blocks[:-1]:
            x_TD = block(x_TD, rows, gaps)
        return self.norm(self.blocks[-1](x_TD, rows, gaps, answers=rows.questions))


class StackedEncoder(Encoder):
    """An encoder that is a stack of blocks. attends_by: the operator of `kernels` that its blocks attend by."""

    stack: Stack
    attends_by = "jagged_attention"

    def forward(self, steps: Tokens, questions: Tokens) -> Tensor:
        return self.stack(steps, questions)

    def share_of_padding(self, offsets: Tensor) -> float:
        """Only tiles of rows that are batched pad anything."""
        is_tiled = dispatch.choose(self.attends_by, self.stack.norm.weight) == "blocked"
        return share_of_padding(offsets, self.stack.num_heads) if is_tiled else 0.0


class Gaps(nn.Module):
    """What each head makes of the number of steps, and of the time, between two tokens: learned tables that start as even slopes.

    The first head starts indifferent, the last weighs down what is far away by the logarithm of either distance (as in ALiBi, Press et
    al., ICLR 2022). Of distances alone a history cut at its old end looks like a shorter history, as it doesn't of absolute positions.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        slope = -math.log(2) * torch.linspace(0.0, 1.0, num_heads)[:, None]
        self.positions = nn.Parameter(slope * torch.arange(NUM_PLACES))
        self.times = nn.Parameter(slope / math.log(25) * torch.arange(NUM_HOURS))

    def forward(self, rows: Rows) -> GapTables:
        return GapTables(self.positions, self.times, rows.moment, HOUR)


def rows_of(steps: Tokens, questions: Tokens) -> Rows:
    """One row a customer: the steps, then the questions; where questions are steps, the steps alone."""
    if questions.latest is not None:
        return _rows_of_steps(steps, questions.latest)

    def joined(of_steps: Tensor, of_questions: Tensor) -> Tensor:
        return ragged.concatenate(of_steps, steps.offsets, of_questions, questions.offsets)[0]

    num_questions = questions.x.shape[0]
    behind = steps.offsets[1:][ragged.row_of_value(questions.offsets, num_questions)]
    return Rows(
        joined(steps.x, questions.x),
        steps.offsets + questions.offsets,
        joined(past_of_steps(steps), past_of_questions(steps, questions)),
        joined(steps.time, questions.time),
        torch.arange(num_questions, device=behind.device) + behind,
    )


def _rows_of_steps(steps: Tokens, latest: Tensor) -> Rows:
    """Each question stands where its step does; those without one share a row of their own, behind the customers'."""

    def with_none(values: Tensor) -> Tensor:
        return torch.cat([values, values.new_zeros(1, *values.shape[1:])])

    offsets = torch.cat([steps.offsets, steps.offsets[-1:] + 1])
    return Rows(with_none(steps.x), offsets, with_none(past_of_steps(steps)), None, latest)
