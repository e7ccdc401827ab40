"""Rows of different lengths cut into tiles of logits that a core's cache holds, with hardly any padding.

Rows are sorted by length; a *chunk* is some rows of nearly one length, each padded to the longest of them, and a *tile* is a block of its
queries against the keys that they may see. The tokens of all chunks stand end to end as *slots*, per chunk [heads, rows, length], so that
every tile's queries and keys are views. Padding is a row's last token once more: a number like any other that nobody reads.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels import ragged
from kernels.jagged_attention.latest import Latest

TILE = 1 << 18  # logits: a MiB of float32
BLOCK = 128  # queries of a row
SLACK = 0.75  # the shortest row of a chunk, as a share of the longest; or shorter, as long as all of them pad less than this:
SPARE = 1 << 15  # logits, which cost about as much as the dozens of calls that a tile is made of


@dataclass(frozen=True)
class Tile:
    """Queries first … last of `num_rows` rows, against the keys before `last`: num_heads · num_rows = N matrices [I, J].

    sees int64 [num_rows, I], or [1, I] where it is the same in all rows, and moment int64 [num_rows, length] (or None) of the tokens;
    start: the chunk's first slot.
    """

    start: int
    num_rows: int
    num_heads: int
    length: int
    first: int
    last: int
    sees: Tensor
    moment: Tensor | None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the logits: heads, rows, queries, keys."""
        return self.num_heads, self.num_rows, self.last - self.first, self.last

    def queries(self, slots: Tensor) -> Tensor:
        """[S, D] → [N, I, D], a view."""
        return self._rows(slots, self.first)

    def keys(self, slots: Tensor) -> Tensor:
        """[S, D] → [N, J, D], a view."""
        return self._rows(slots, 0)

    def distance(self, dtype: torch.dtype) -> Tensor:
        """sees[i] − j, as a number that arithmetic is fast on: [rows or 1, I, J]. A token is seen where that is above 0, and by itself."""
        return self.sees.to(dtype)[:, :, None] - torch.arange(self.last, dtype=dtype, device=self.sees.device)

    def ceiling(self, distance: Tensor, unseen: float, seen: float) -> Tensor:
        """`seen` where a token is seen, `unseen` elsewhere: a minimum with it hides a logit, however large. Overwrites `distance`."""
        ceiling = distance.sub_(0.5).mul_(torch.inf).clamp_(unseen, seen)
        ceiling.diagonal(self.first, 1, 2).fill_(seen)
        return ceiling

    def _rows(self, slots: Tensor, first: int) -> Tensor:
        """Tokens `first` … last of each row and head, by one call instead of three: a tile is looked at a dozen times."""
        width = slots.shape[1]
        size = self.num_heads * self.num_rows, self.last - first, width
        return slots.as_strided(size, (self.length * width, width, 1), (self.start + first) * width)


class Layout:
    """Where the tokens of a batch stand, and its tiles. offsets [B + 1]; sees [T]; moment [T], or of no token at all."""

    def __init__(self, offsets: Tensor, sees: Tensor, moment: Tensor, num_heads: int) -> None:
        lengths, order = offsets.diff().sort(descending=True, stable=True)
        self.chunks = list(_chunks([length for length in lengths.tolist() if length], num_heads))
        self.num_heads, self.longest = num_heads, self.chunks[0][1] if self.chunks else 0
        self.tallest = max((_block(length) for _, length in self.chunks), default=0)  # of its tiles, in queries of a row
        num_rows, length = torch.tensor(self.chunks, dtype=torch.int64, device=offsets.device).reshape(-1, 2).unbind(1)
        size = num_rows * length  # of each chunk, for one head
        row_length = length.repeat_interleave(num_rows)
        real_length, row_start = lengths[: len(row_length)], offsets[order[: len(row_length)]]
        place = torch.arange(int(size.sum()), device=offsets.device)
        place = place - (row_length.cumsum(0) - row_length).repeat_interleave(row_length)
        token = row_start.repeat_interleave(row_length) + place.minimum((real_length - 1).repeat_interleave(row_length))
        self._sees = sees[token]
        # where every token sees those before it, rows differ in nothing but their length: the longest of a chunk speaks for all of them
        self._is_causal = bool((sees == ragged.place_in_row(offsets, len(sees))).all())
        self._moment = moment[token] if len(moment) else None
        self.rows_are_alike = self._is_causal and self._moment is None
        # the slots of a chunk's second head stand behind all those of its first
        head = torch.arange(num_heads, device=offsets.device)
        slot = torch.arange(len(token), device=offsets.device) + ((num_heads - 1) * (size.cumsum(0) - size)).repeat_interleave(size)
        slot_SH = slot[:, None] + head * size.repeat_interleave(size)[:, None]
        is_real = place < real_length.repeat_interleave(row_length)
        self._source = torch.empty_like(slot_SH).flatten()
        self._source[slot_SH.flatten()] = (token[:, None] * num_heads + head).flatten()
        self._token = self._source // num_heads
        self._padding = slot_SH[~is_real].flatten()
        self._target = torch.empty(len(sees), num_heads, dtype=torch.int64, device=offsets.device)
        self._target[token[is_real]] = slot_SH[is_real]

    def spread(self, x_THD: Tensor) -> Tensor:
        """[T, H, D] → slots [S, D]. Queries, keys and values that stand side by side in one projection are read where they stand."""
        num_tokens, num_heads, width = x_THD.shape
        if not num_tokens or x_THD.stride()[1:] != (width, 1) or x_THD.stride(0) % width:
            return x_THD.flatten(0, 1).index_select(0, self._source)
        step = x_THD.stride(0) // width
        rows = x_THD.as_strided(((num_tokens - 1) * step + num_heads, width), (width, 1))
        source = self._source if step == num_heads else self._source + self._token * (step - num_heads)
        return rows.index_select(0, source)

    def spread_gradient(self, x_THD: Tensor) -> Tensor:
        """As `spread`, with zeros as padding: what has no gradient gives none to others."""
        return self.spread(x_THD).index_fill_(0, self._padding, 0.0)

    def collect(self, slots: Tensor) -> Tensor:
        """Slots [S, ...] → [T, H, ...]."""
        return slots.index_select(0, self._target.flatten()).unflatten(0, self._target.shape)

    def tiles(self) -> Iterator[Tile]:
        """Every tile once, those of long rows first."""
        start = 0
        for num_rows, length in self.chunks:
            stop = start + num_rows * length
            sees = self._sees[start:stop].view(num_rows, length)[: 1 if self._is_causal else num_rows]
            moment = None if self._moment is None else self._moment[start:stop].view(num_rows, length)
            block = _block(length)
            for first in range(0, length, block):
                last = min(first + block, length)
                yield Tile(self.num_heads * start, num_rows, self.num_heads, length, first, last, sees[:, first:last], moment)
            start = stop

    def scratch(self, like: Tensor) -> Tensor:
        """Room for the logits of the largest tile."""
        sizes = (num_rows * _block(length) * length for num_rows, length in self.chunks)
        return like.new_empty(self.num_heads * max(sizes, default=0))


_layouts = Latest(Layout)


def layout_of(offsets: Tensor, sees: Tensor, moment: Tensor, num_heads: int) -> Layout:
    """The layout of a batch: of the same tensors as last time the same."""
    return _layouts.of(offsets, sees, moment, settings=(num_heads,))


def share_of_padding(offsets: Tensor, num_heads: int) -> float:
    """Of all the slots of such rows, the share that is padding."""
    lengths = [length for length in offsets.diff().sort(descending=True).values.tolist() if length]
    return 1 - sum(lengths) / max(1, sum(num_rows * length for num_rows, length in _chunks(lengths, num_heads)))


def room(scratch: Tensor, tile: Tile) -> Tensor:
    """A tile's part of the scratch: [N, I, J]."""
    heads, rows, queries, keys = tile.shape
    return scratch[: heads * rows * queries * keys].view(heads * rows, queries, keys)


def multiply(left: Tensor, right: Tensor, out: Tensor) -> None:
    """left @ right into `out`, which may be a view of rows that lie apart: those torch.bmm would fill matrix by matrix."""
    if out.is_contiguous():
        torch.bmm(left, right, out=out)
    else:
        out.copy_(left @ right)


def multiply_add(left: Tensor, right: Tensor, out: Tensor) -> None:
    """As `multiply`, added to what is there."""
    if out.is_contiguous():
        out.baddbmm_(left, right)
    else:
        out.add_(left @ right)


def _chunks(lengths: list[int], num_heads: int) -> Iterator[tuple[int, int]]:
    """Falling lengths, none 0, to (number of rows, length of the longest)."""
    start = 0
    while start < len(lengths):
        length = lengths[start]
        most = max(1, TILE // (num_heads * _block(length) * length))
        stop = min(bisect_right(lengths, -int(SLACK * length), lo=start, key=lambda other: -other), start + most)
        spare = SPARE
        while stop < min(start + most, len(lengths)) and (spare := spare - num_heads * (length**2 - lengths[stop] ** 2)) > 0:
            stop += 1
        yield stop - start, length
        start = stop


def _block(length: int) -> int:
    """Rows are cut into blocks of about one size."""
    num_blocks = -(-length // BLOCK)
    return -(-length // num_blocks)
