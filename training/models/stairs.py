"""Numbers of very different scales to how far each has climbed between quantiles of what training saw of it.

A line over stairs bends at every quantile, as trees split there; a line over the numbers themselves is ruled by the largest of them. As a
network's input it is the piecewise linear encoding of Gorishniy, Rubachev and Babenko, "On Embeddings for Numerical Features in Tabular
Deep Learning", NeurIPS 2022; with a small layer for each number behind it, before any two are mixed, what they call Q-LR.
"""

import math

import torch
from torch import Tensor, nn

NUM_STAIRS = 8
NUM_CURVES = 8  # that are drawn over each number
LOWEST, HIGHEST = 0.0, 12.0  # of logarithms of numbers and hours: where stairs lie that were never fitted
NARROWEST = 0.05  # below it a stair would turn float noise into steps


class Stairs(nn.Module):
    """[Q, size] to [Q, size * NUM_STAIRS], each in 0..1."""

    low: Tensor
    steepness: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        edges = torch.linspace(LOWEST, HIGHEST, NUM_STAIRS + 1)
        self.register_buffer("low", edges[:-1].repeat(size, 1))
        self.register_buffer("steepness", (1 / edges.diff()).repeat(size, 1))

    def fit(self, seen: Tensor) -> None:
        """Between quantiles of the different values [N, size] of each number: most customers have none of most things."""
        share = torch.linspace(0, 1, NUM_STAIRS + 1)
        edges = torch.stack([torch.quantile(values.unique(), share) for values in seen.T])
        varies = edges[:, -1:] > edges[:, :1]
        self.low.copy_(edges[:, :-1])
        self.steepness.copy_(varies / edges.diff(dim=1).clamp(min=NARROWEST))

    def forward(self, x: Tensor) -> Tensor:
        return ((x[:, :, None] - self.low) * self.steepness).clamp(0.0, 1.0).flatten(1)


class Curves(nn.Module):
    """[Q, size * NUM_STAIRS] to [Q, size * NUM_CURVES], each at least 0: functions of each number alone, which bend at its stairs."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, NUM_CURVES, NUM_STAIRS) / math.sqrt(NUM_STAIRS))
        self.bias = nn.Parameter(torch.zeros(size, NUM_CURVES, 1))

    def forward(self, stairs: Tensor) -> Tensor:
        of_number = stairs.T.unflatten(0, (-1, NUM_STAIRS))
        return (self.weight @ of_number + self.bias).relu().flatten(0, 1).T
