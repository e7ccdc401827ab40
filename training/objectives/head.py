"""What reads a question for an outcome: the representation and, beside it, the customer's rhythm, number by number.

What a table of recency, frequency and money would know need not pass through an encoder that other objectives pull at too.
"""

import torch
from torch import Tensor, nn

from training.models.dropout import Dropout
from training.models.facts import Facts
from training.models.rhythm import rhythm_size
from training.models.stairs import NUM_CURVES, Curves, Stairs
from training.objectives.objective import Context


class Head(nn.Module):
    """`size` numbers a question."""

    def __init__(self, size: int, *, facts: Facts, dim: int, dropout: float) -> None:
        super().__init__()
        told = rhythm_size(facts)
        mixed = nn.Linear(told * NUM_CURVES, dim)
        self.from_rhythm = nn.Sequential(Stairs(told), Curves(told), mixed, nn.GELU(), Dropout(dropout))
        self.layers = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), Dropout(dropout), nn.Linear(dim, size))

    def start_at(self, *values: float) -> "Head":
        """Let the answers begin near these, one for each number or one for all."""
        bias = self.layers[-1].bias
        assert isinstance(bias, nn.Parameter)
        with torch.no_grad():
            bias.copy_(torch.tensor(values).expand_as(bias))
        return self

    def start_with(self, *values: float) -> "Head":
        """Let the answers begin at exactly these, the same for every question."""
        weight = self.layers[-1].weight
        assert isinstance(weight, nn.Parameter)
        nn.init.zeros_(weight)
        return self.start_at(*values)

    def forward(self, context: Context) -> Tensor:
        """[Q, size]."""
        return self.layers(torch.cat([context.representation, self.from_rhythm(context.rhythm)], -1))
