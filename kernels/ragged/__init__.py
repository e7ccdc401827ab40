"""Rows of different lengths as values plus offsets. Everything here exports to ONNX with every size dynamic.

Row `b` of `values` [T, ...] is `values[offsets[b]:offsets[b + 1]]`; offsets are int64 [B + 1], start at 0 and end at T.
What moves values is differentiable and takes values of any type.
"""

from types import ModuleType

import torch
from torch import Tensor

from kernels import dispatch
from kernels.ragged import blocked, registered
from kernels.ragged.rows import longest, offsets_of_lengths, pair_up, place_in_row, row_of_value, size_of

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


def pad(values: Tensor, offsets: Tensor, length: int, *, fill: float = 0.0) -> Tensor:
    """[T, ...] to [B, length, ...], each row from the left, `fill` behind it. `length` must hold the longest row."""
    return _path(values).pad(values, offsets, length, fill)


def unpad(padded: Tensor, offsets: Tensor, num_values: int) -> Tensor:
    """[B, length, ...] back to [T, ...]: the inverse of `pad`."""
    return _path(padded).unpad(padded, offsets, num_values)


def concatenate(left: Tensor, left_offsets: Tensor, right: Tensor, right_offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Row b of the left, then row b of the right: values [T_left + T_right, ...] and their offsets.

    ValueError: different numbers of rows, or values of different shapes or types.
    """
    if left_offsets.shape != right_offsets.shape or left.shape[1:] != right.shape[1:] or left.dtype != right.dtype:
        sides = [f"{x.dtype} {[*x.shape]} with offsets {[*o.shape]}" for x, o in ((left, left_offsets), (right, right_offsets))]
        raise ValueError(f"expected as many rows on both sides and values of one shape and type; received {' and '.join(sides)}")
    return _path(left).concatenate(left, left_offsets, right, right_offsets), left_offsets + right_offsets


def keep_last(values: Tensor, offsets: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The last `n` values of each row, or all of a row that has fewer: values [T', ...] and their offsets."""
    return _path(values).keep_last(values, offsets, n)


def append(values: Tensor, offsets: Tensor, one: Tensor) -> tuple[Tensor, Tensor]:
    """One more value at the end of each row: `one` [B, ...] behind values [T, ...] gives [T + B, ...] and their offsets."""
    return concatenate(values, offsets, one, torch.arange(one.shape[0] + 1, device=offsets.device))


def _path(values: Tensor) -> ModuleType:
    return registered if dispatch.choose("ragged", values) == "fused" else blocked
