"""The logits of a tile: products of queries and keys, what the gaps between them add, and nothing of what may not be seen."""

from functools import lru_cache

import torch
from torch import Tensor

from kernels.gap_bias.blocked import Gaps, TileBias, hats
from kernels.jagged_attention.tiles import Layout, Tile, room


def bias_of(layout: Layout, positions: Tensor, times: Tensor, unit: float, *, unseen: float, scale: float = 1.0) -> "Band | Pairs":
    """Of tables [H, P] and [H, K], or [H, 0] for none, that count `scale` times; gradients are those of tables that count once.

    unseen: the logit of what is not seen, where pairs are looked at one by one.
    """
    if layout.rows_are_alike:
        return Band(positions, times, height=layout.tallest, longest=layout.longest, scale=scale)
    return Pairs(positions, times, unit, longest=layout.longest, scale=scale, unseen=unseen)


class Band:
    """Where rows differ in nothing but length, bias and mask depend on i − j alone: each tile's are a view of one band of numbers.

    Column c of row i is for the distance i + longest − c, so that a tile whose queries begin later reads it further to the left.
    """

    def __init__(self, positions: Tensor, times: Tensor, *, height: int, longest: int, scale: float) -> None:
        self._longest, self._d_times = longest, torch.zeros_like(times)
        self._distance, is_unseen = _distances(height, longest, positions.device)
        self._hats = hats(max(2, positions.shape[1]), longest, positions.dtype, positions.device)[: positions.shape[1]]
        values = (positions @ self._hats * scale).index_select(1, self._distance).unflatten(1, is_unseen.shape)
        # far below any logit, and so far from the least number that a logit more does not reach it: SiLU makes NaN of −inf
        self._band = values.masked_fill_(is_unseen, torch.finfo(positions.dtype).min / 2)
        self._d_band = torch.zeros_like(self._band)

    def logits(
        self, tile: Tile, queries: Tensor, keys: Tensor, scratch: Tensor, normaliser: Tensor | None = None
    ) -> tuple[Tensor, Gaps | None]:
        """As those of `Pairs`."""
        logits, band = room(scratch, tile), self._part(self._band, tile)[:, None]
        if normaliser is None:
            logits.view(tile.shape).copy_(band)
        else:
            torch.sub(band, tile.queries(normaliser).view(*tile.shape[:3], 1), out=logits.view(tile.shape))
        return logits.baddbmm_(tile.queries(queries), tile.keys(keys).mT), None

    def learn(self, tile: Tile, d_logits: Tensor, _: Gaps | None) -> None:
        self._part(self._d_band, tile).add_(d_logits.view(tile.shape).sum(1))

    def gradients(self) -> tuple[Tensor, Tensor]:
        learned = self._d_band.new_zeros(len(self._d_band), self._longest + 1)
        return learned.index_add_(1, self._distance, self._d_band.flatten(1)) @ self._hats.T, self._d_times

    def _part(self, band: Tensor, tile: Tile) -> Tensor:
        """[H, I, J], a view."""
        start = self._longest - tile.first
        return band[:, : tile.last - tile.first, start : start + tile.last]


@lru_cache(maxsize=4)  # of rows of 20,000 each holds 20 MB
def _distances(height: int, longest: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of a band: what its columns are for, flat and within 0 … longest, and where they are for what is not seen [I, C]."""
    place = torch.arange(height, device=device)[:, None]
    distance = place + longest - torch.arange(longest + height, device=device)
    return distance.clamp(0, longest).flatten(), distance < 0


class Pairs:
    """Where rows see differently, or know their times, each pair of tokens is looked at."""

    def __init__(self, positions: Tensor, times: Tensor, unit: float, *, longest: int, scale: float, unseen: float) -> None:
        self._tables = positions, times
        self._bias = TileBias(positions, times, unit, longest=longest, scale=scale) if positions.shape[1] else None
        self._unseen = unseen

    def logits(
        self, tile: Tile, queries: Tensor, keys: Tensor, scratch: Tensor, normaliser: Tensor | None = None
    ) -> tuple[Tensor, Gaps | None]:
        """queries · keys + bias, or `unseen`: [N, I, J], written into the scratch; and what `learn` needs to know of the tile.

        queries, keys [S, D]. With a normaliser [S, 1], each token's own is subtracted, and no logit is above 0, however it was rounded.
        """
        logits, distance, gaps = room(scratch, tile), tile.distance(queries.dtype), None
        left, right = tile.queries(queries), tile.keys(keys).mT
        if self._bias is not None:
            gaps = self._bias.gaps(distance, tile.moment, tile.first)
            self._bias.write(logits.view(tile.shape), gaps)
            logits.baddbmm_(left, right)
        else:
            torch.bmm(left, right, out=logits)
        if normaliser is not None:
            logits.sub_(tile.queries(normaliser))
        by_head = logits.view(tile.shape)
        torch.minimum(by_head, tile.ceiling(distance, self._unseen, torch.inf if normaliser is None else 0.0), out=by_head)
        return logits, gaps

    def learn(self, tile: Tile, d_logits: Tensor, gaps: Gaps | None) -> None:
        """From the gradient of a tile's logits [N, I, J]."""
        if self._bias is not None and gaps is not None:
            self._bias.learn(d_logits.view(tile.shape), gaps)

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Of the tables, from all that was learned."""
        if self._bias is None:
            positions, times = self._tables
            return torch.zeros_like(positions), torch.zeros_like(times)
        return self._bias.gradients()
