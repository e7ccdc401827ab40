"""The path that is taken on a GPU: each call is a copy of spans, one registered operator whose gradient is the copy back.

A span is a piece of a row that is copied whole: values source[b] … source[b] + count[b] go to slots target[b] … target[b] + count[b].
"""

import torch
from torch import Tensor

from kernels import dispatch
from kernels.ragged.rows import offsets_of_lengths, size_of


def pad(values: Tensor, offsets: Tensor, length: int, fill: float) -> Tensor:
    num_rows = offsets.shape[0] - 1
    padded = _copy(values, offsets[:-1], _every(length, offsets), _lengths(offsets), num_rows * length, fill)
    return padded.unflatten(0, (num_rows, length))


def unpad(padded: Tensor, offsets: Tensor, num_values: int) -> Tensor:
    return _copy(padded.flatten(0, 1), _every(padded.shape[1], offsets), offsets[:-1], _lengths(offsets), num_values, 0.0)


def concatenate(left: Tensor, left_offsets: Tensor, right: Tensor, right_offsets: Tensor) -> Tensor:
    return _concatenate(left, left_offsets, right, right_offsets)


def keep_last(values: Tensor, offsets: Tensor, n: int) -> tuple[Tensor, Tensor]:
    count = _lengths(offsets).clamp(max=n)
    kept = offsets_of_lengths(count)
    return _copy(values, offsets[1:] - count, kept[:-1], count, size_of(kept[-1]), 0.0), kept


def _lengths(offsets: Tensor) -> Tensor:
    return offsets[1:] - offsets[:-1]


def _every(length: int, offsets: Tensor) -> Tensor:
    """Where each padded row starts: int64 [B]."""
    return torch.arange(offsets.shape[0] - 1, device=offsets.device) * length


@torch.library.custom_op("revisit::ragged_copy", mutates_args=())
def _copy(values: Tensor, source: Tensor, target: Tensor, count: Tensor, size: int, fill: float) -> Tensor:
    """Spans of values [T, ...] to [size, ...], `fill` in between. source, target, count int64 [B]; spans rise and do not overlap."""
    return dispatch.load("ragged", "fused").copy(values, source, target, count, size, fill)


@_copy.register_fake
def _(values, source, target, count, size, fill):  # type: ignore[no-untyped-def]
    return values.new_empty((size, *values.shape[1:]))


def _save_copy(ctx, inputs, output):  # type: ignore[no-untyped-def]
    values, source, target, count, _, _ = inputs
    ctx.num_values = values.shape[0]
    ctx.save_for_backward(source, target, count)


def _pull_copy(ctx, grad):  # type: ignore[no-untyped-def]
    source, target, count = ctx.saved_tensors
    return _copy(grad, target, source, count, ctx.num_values, 0.0), None, None, None, None, None


_copy.register_autograd(_pull_copy, setup_context=_save_copy)


@torch.library.custom_op("revisit::ragged_concatenate", mutates_args=())
def _concatenate(left: Tensor, left_offsets: Tensor, right: Tensor, right_offsets: Tensor) -> Tensor:
    """Row by row: left [T, ...] and right [S, ...] to [T + S, ...]."""
    return dispatch.load("ragged", "fused").concatenate(left, left_offsets, right, right_offsets)


@_concatenate.register_fake
def _(left, left_offsets, right, right_offsets):  # type: ignore[no-untyped-def]
    return left.new_empty((left.shape[0] + right.shape[0], *left.shape[1:]))


def _save_concatenate(ctx, inputs, output):  # type: ignore[no-untyped-def]
    left, left_offsets, right, right_offsets = inputs
    ctx.num_left, ctx.num_right = left.shape[0], right.shape[0]
    ctx.save_for_backward(left_offsets, right_offsets)


def _pull_concatenate(ctx, grad):  # type: ignore[no-untyped-def]
    left, right = ctx.saved_tensors
    start = left[:-1] + right[:-1]
    grad_left = _copy(grad, start, left[:-1], _lengths(left), ctx.num_left, 0.0)
    grad_right = _copy(grad, start + _lengths(left), right[:-1], _lengths(right), ctx.num_right, 0.0)
    return grad_left, None, grad_right, None


_concatenate.register_autograd(_pull_concatenate, setup_context=_save_concatenate)
