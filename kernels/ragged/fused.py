"""Triton language: one kernel copies spans of rows, for every call of `kernels.ragged` and its gradient.

Values are copied as bits, so that a type of the same width is the same compilation. A place finds its row by a binary search in the rows'
starts, which stay in the cache: the grid needs no length from the device, and one long row among short ones spreads over many programs.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.launch import Launch

BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def copy(values: Tensor, source: Tensor, target: Tensor, count: Tensor, size: int, fill: float) -> Tensor:
    """The spans of `values`, and `fill` in every slot that none of them covers."""
    out = values.new_empty((size, *values.shape[1:]))
    bits = torch.tensor(fill, dtype=values.dtype).view(BITS[values.itemsize]).item()
    _launch(values, out, target, source, count, int(bits), fetch=True)
    return out


def concatenate(left: Tensor, left_offsets: Tensor, right: Tensor, right_offsets: Tensor) -> Tensor:
    """Each side sends its values to their slots: between them they cover all."""
    out = left.new_empty((left.shape[0] + right.shape[0], *left.shape[1:]))
    start, num_left = left_offsets[:-1] + right_offsets[:-1], left_offsets.diff()
    _launch(left, out, left_offsets[:-1], start, num_left, 0, fetch=False)
    _launch(right, out, right_offsets[:-1], start + num_left, right_offsets.diff(), 0, fetch=False)
    return out


def _launch(values: Tensor, out: Tensor, here: Tensor, there: Tensor, count: Tensor, fill: int, *, fetch: bool) -> None:
    width = math.prod(out.shape[1:])
    num_places = (out if fetch else values).shape[0]
    if num_places * width == 0:
        return
    block_places, block_width = tile(width, values.itemsize)
    bits, num_rows = BITS[values.itemsize], here.shape[0]
    starts = (here.contiguous(), there.contiguous(), count.contiguous())
    grid = (triton.cdiv(num_places, block_places), triton.cdiv(width, block_width))
    arguments = (values.contiguous().view(bits), out.view(bits), *starts, num_rows, num_rows.bit_length(), num_places, width, fill)
    _copy_spans[grid](*arguments, FETCH=fetch, BLOCK_PLACES=block_places, BLOCK_WIDTH=block_width, num_warps=4, num_stages=1)


def tile(width: int, itemsize: int) -> tuple[int, int]:
    """Places, and numbers of each, that one program copies. Single numbers (items, moments) have a shape of their own, not short types."""
    return (1024, 1) if width == 1 and itemsize >= 4 else (32, 64)


@triton.jit
def _copy_spans(  # type: ignore[no-untyped-def]
    values, out, here, there, count, num_rows, num_bits, num_places, width, fill: tl.int64, FETCH: tl.constexpr,
    BLOCK_PLACES: tl.constexpr, BLOCK_WIDTH: tl.constexpr,
):  # fmt: skip
    """Place p of row b, `here[b]` being where the row starts on the side that the grid runs over and `there[b]` on the other: with FETCH it
    is a slot that fetches its value, without it is a value that is sent to its slot."""
    place = tl.program_id(0).to(tl.int64) * BLOCK_PLACES + tl.arange(0, BLOCK_PLACES)
    inside = place < num_places
    row = tl.full((BLOCK_PLACES,), -1, tl.int32)  # the last row that starts at or before the place
    for bit in range(num_bits):
        later = row + (1 << (num_bits - 1 - bit))
        is_row = later < num_rows
        row = tl.where(is_row & (tl.load(here + later, mask=is_row, other=0) <= place), later, row)
    in_row = place - tl.load(here + row, mask=row >= 0, other=0)
    in_span = inside & (row >= 0) & (in_row < tl.load(count + row, mask=row >= 0, other=0))
    other = tl.load(there + row, mask=in_span, other=0) + in_row

    column = tl.program_id(1) * BLOCK_WIDTH + tl.arange(0, BLOCK_WIDTH)
    has_column = (column < width)[None, :]
    copied = in_span[:, None] & has_column
    at_place = place[:, None] * width + column[None, :]
    at_other = other[:, None] * width + column[None, :]
    if FETCH:
        value = tl.load(values + at_other, mask=copied, other=0)
        value = tl.where(copied, value, fill.to(value.dtype))
        tl.store(out + at_place, value, mask=inside[:, None] & has_column)
    else:
        tl.store(out + at_other, tl.load(values + at_place, mask=copied, other=0), mask=copied)


def launches() -> list[Launch]:
    """Each width of a number, single numbers and vectors, both directions."""
    kinds = [(itemsize, width) for itemsize in BITS for width in (1, 64) if tile(width, itemsize)[1] == width]
    return [_launch_of(itemsize, width, fetch) for itemsize, width in kinds for fetch in (True, False)]


def _launch_of(itemsize: int, width: int, fetch: bool) -> Launch:
    block_places, block_width = tile(width, itemsize)
    values, single = f"i{8 * itemsize}", width == 1
    pointers = {"values": f"*{values}", "out": f"*{values}", "here": "*i64", "there": "*i64", "count": "*i64"}
    numbers = {"num_rows": "i32", "num_bits": "i32", "num_places": "i32", "width": "constexpr" if single else "i32", "fill": "i64"}
    constexprs = {"FETCH": fetch, "BLOCK_PLACES": block_places, "BLOCK_WIDTH": block_width}
    return Launch(
        name=f"copy_{values}_{'numbers' if single else 'vectors'}_{'fetch' if fetch else 'send'}",
        kernel=_copy_spans,
        signature=pointers | numbers | dict.fromkeys(constexprs, "constexpr"),
        constexprs=constexprs | ({"width": 1} if single else {}),  # Triton compiles an argument that is 1 in
        num_warps=4,
        num_stages=1,
        tensor_cores=False,
        divisible=(*pointers,) if single else (*pointers, "width"),
    )
