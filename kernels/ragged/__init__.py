"""Rows of different lengths as values plus offsets. Everything here exports to ONNX with every size dynamic.

Row `b` of `values` [T, ...] is `values[offsets[b]:offsets[b + 1]]`; offsets are int64 [B + 1], start at 0 and end at T.
"""

from typing import cast

import torch
from torch import Tensor

__all__ = [
    "append",
    "concatenate",
    "keep_last",
    "longest",
    "offsets_of_lengths",
    "pad",
    "pair_up",
    "place_in_row",
    "row_of_value",
    "size_of",
    "unpad",
]


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


def pad(values: Tensor, offsets: Tensor, length: int, *, fill: float = 0.0) -> Tensor:
    """[T, ...] to [B, length, ...], each row from the left, `fill` behind it. `length` must hold the longest row."""
    num_rows = offsets.shape[0] - 1
    padded = values.new_full((num_rows * length, *values.shape[1:]), fill)
    return padded.index_copy(0, _slot(offsets, values.shape[0], length), values).unflatten(0, (num_rows, length))


def unpad(padded: Tensor, offsets: Tensor, num_values: int) -> Tensor:
    """[B, length, ...] back to [T, ...]: the inverse of `pad`."""
    return padded.flatten(0, 1).index_select(0, _slot(offsets, num_values, padded.shape[1]))


def concatenate(left: Tensor, left_offsets: Tensor, right: Tensor, right_offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Row b of the left, then row b of the right: values [T_left + T_right, ...] and their offsets. Both have B rows and values of one shape."""
    shift_left, shift_right = right_offsets[:-1], left_offsets[1:]  # how many values of the other side stand before a row's own
    slot = torch.cat([_shifted(left_offsets, left.shape[0], shift_left), _shifted(right_offsets, right.shape[0], shift_right)])
    values = torch.cat([left, right])
    return torch.empty_like(values).index_copy(0, slot, values), left_offsets + right_offsets


def keep_last(values: Tensor, offsets: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The last `n` values of each row, or all of a row that has fewer: values [T', ...] and their offsets."""
    kept = offsets_of_lengths((offsets[1:] - offsets[:-1]).clamp(max=n))
    source = _shifted(kept, size_of(kept[-1]), offsets[1:] - kept[1:])
    return values.index_select(0, source), kept


def append(values: Tensor, offsets: Tensor, one: Tensor) -> tuple[Tensor, Tensor]:
    """One more value at the end of each row: `one` [B, ...] behind values [T, ...] gives [T + B, ...] and their offsets."""
    return concatenate(values, offsets, one, torch.arange(offsets.shape[0], device=offsets.device))


def pair_up(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Every value of row b on the left with every value of row b on the right: two int64 [P], P = Σ_b |left_b|·|right_b|, left rising."""
    num_left = size_of(left[-1])
    row = row_of_value(left, num_left)
    pairs = offsets_of_lengths((right[1:] - right[:-1])[row])
    num_pairs = size_of(pairs[-1])
    index_left = row_of_value(pairs, num_pairs)
    index_right = right[row[index_left]] + torch.arange(num_pairs, device=left.device) - pairs[index_left]
    return index_left, index_right


def _slot(offsets: Tensor, num_values: int, length: int) -> Tensor:
    """Where each value stands in the padded rows laid end to end: int64 [T]."""
    row = row_of_value(offsets, num_values)
    return row * length + torch.arange(num_values, device=offsets.device) - offsets[row]


def _shifted(offsets: Tensor, num_values: int, shift: Tensor) -> Tensor:
    """Each value's own place among all values, moved by its row's `shift` [B]: int64 [T]."""
    return torch.arange(num_values, device=offsets.device) + shift[row_of_value(offsets, num_values)]
