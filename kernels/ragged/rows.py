"""Index arithmetic of rows: stock operators on every device."""

from typing import cast

import torch
from torch import Tensor


def row_of_value(offsets: Tensor, num_values: int) -> Tensor:
    """The row that each value belongs to: int64 [T]. Empty rows own nothing."""
    starts = offsets[1:-1]
    marks = torch.zeros(num_values + 1, dtype=torch.int64, device=offsets.device)
    return marks.scatter_add(0, starts, torch.ones_like(starts)).cumsum(0)[:num_values]


def place_in_row(offsets: Tensor, num_values: int) -> Tensor:
    """How many values of the same row stand before each value: int64 [T]."""
    return torch.arange(num_values, device=offsets.device) - offsets[row_of_value(offsets, num_values)]


def offsets_of_lengths(lengths: Tensor) -> Tensor:
    """Row lengths [B] to offsets [B + 1]."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def longest(offsets: Tensor) -> int:
    """The length of the longest row, at least 1, so that a batch of empty rows still has a shape."""
    return size_of((offsets[1:] - offsets[:-1]).max().clamp(min=1))


def size_of(count: Tensor) -> int:
    """A count held in a tensor as a size that shapes may use, also while a graph is exported."""
    size = cast(int, count.item())  # not int(...): that asks for a number while a graph is exported, where there is only a symbol
    torch._check(size >= 0)
    return size


def pair_up(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Every value of row b on the left with every value of row b on the right: two int64 [P], P = Σ_b |left_b|·|right_b|, left rising."""
    num_left = size_of(left[-1])
    row = row_of_value(left, num_left)
    pairs = offsets_of_lengths((right[1:] - right[:-1])[row])
    num_pairs = size_of(pairs[-1])
    index_left = row_of_value(pairs, num_pairs)
    index_right = right[row[index_left]] + torch.arange(num_pairs, device=left.device) - pairs[index_left]
    return index_left, index_right
