"""Whole batches at once in stock operators: the path that is taken on the CPU, and what an exported graph holds."""

import torch
from torch import Tensor

from kernels.ragged.rows import offsets_of_lengths, row_of_value, size_of


def pad(values: Tensor, offsets: Tensor, length: int, fill: float) -> Tensor:
    num_rows = offsets.shape[0] - 1
    padded = values.new_full((num_rows * length, *values.shape[1:]), fill)
    return padded.index_copy(0, _slot(offsets, values.shape[0], length), values).unflatten(0, (num_rows, length))


def unpad(padded: Tensor, offsets: Tensor, num_values: int) -> Tensor:
    return padded.flatten(0, 1).index_select(0, _slot(offsets, num_values, padded.shape[1]))


def concatenate(left: Tensor, left_offsets: Tensor, right: Tensor, right_offsets: Tensor) -> Tensor:
    shift_left, shift_right = right_offsets[:-1], left_offsets[1:]  # how many values of the other side stand before a row's own
    slot = torch.cat([_shifted(left_offsets, left.shape[0], shift_left), _shifted(right_offsets, right.shape[0], shift_right)])
    values = torch.cat([left, right])
    return torch.empty_like(values).index_copy(0, slot, values)


def keep_last(values: Tensor, offsets: Tensor, n: int) -> tuple[Tensor, Tensor]:
    kept = offsets_of_lengths((offsets[1:] - offsets[:-1]).clamp(max=n))
    source = _shifted(kept, size_of(kept[-1]), offsets[1:] - kept[1:])
    return values.index_select(0, source), kept


def _slot(offsets: Tensor, num_values: int, length: int) -> Tensor:
    """Where each value stands in the padded rows laid end to end: int64 [T]."""
    row = row_of_value(offsets, num_values)
    return row * length + torch.arange(num_values, device=offsets.device) - offsets[row]


def _shifted(offsets: Tensor, num_values: int, shift: Tensor) -> Tensor:
    """Each value's own place among all values, moved by its row's `shift` [B]: int64 [T]."""
    return torch.arange(num_values, device=offsets.device) + shift[row_of_value(offsets, num_values)]
