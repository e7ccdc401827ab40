"""The bias of one tile of logits at a time, and what the tables learn from it. Used inside of attention's blocked paths."""

import torch
from torch import Tensor

from kernels.gap_bias.reference import gap_bias

Gaps = tuple[Tensor, Tensor, Tensor]  # of each pair of a tile, flat: the distance in places, the knot below its time, how far behind it


class TileBias:
    """Both tables, made ready for many tiles: positions [H, P] as a value for each whole distance up to `longest`, times [H, K] as it is.

    What is added to the logits is the bias times `scale`; gradients are those of an unscaled bias.
    """

    def __init__(self, positions: Tensor, times: Tensor, unit: float, *, longest: int, scale: float = 1.0) -> None:
        distances = torch.arange(longest + 1, device=positions.device)
        self._hats = gap_bias(torch.eye(positions.shape[1], dtype=positions.dtype, device=positions.device), distances)  # [P, distances]
        self._unit = unit
        self._by_distance = positions @ self._hats * scale
        self._height, self._rise = times * scale, times.diff() * scale
        self._d_distance, self._d_times = torch.zeros_like(self._by_distance), torch.zeros_like(times)

    def gaps(self, distance: Tensor, moment: Tensor, first: int) -> Gaps:
        """What `write` and `learn` need to know of a tile.

        distance [rows, I, J], negative counts as none; moment int64 µs [rows, L]; the tile's queries are I from `first` on.
        """
        queries, keys = distance.shape[1:]
        gap = (moment[:, first : first + queries, None] - moment[:, None, :keys]).to(distance.dtype)
        # log2 of 1 + x: where x is so small that log1p differs, the difference is below the last digit of the bias
        knot = gap.mul_(1 / self._unit).clamp_(min=0).add_(1).log2_().clamp_(max=self._rise.shape[1]).flatten()
        below = knot.to(torch.int32).clamp_(max=self._rise.shape[1] - 1)
        return distance.clamp(min=0).to(torch.int32).flatten(), below, knot.sub_(below)

    def write(self, bias: Tensor, gaps: Gaps) -> None:
        """Into bias [H, rows, I, J]."""
        distance, below, share = gaps
        for head, out in enumerate(bias.flatten(1).unbind()):
            torch.index_select(self._rise[head], 0, below, out=out)
            out.mul_(share).add_(self._height[head].index_select(0, below)).add_(self._by_distance[head].index_select(0, distance))

    def learn(self, gradient: Tensor, gaps: Gaps) -> None:
        """From the gradient of a tile's bias [H, rows, I, J]."""
        distance, below, share = gaps
        num_distances, num_knots = self._d_distance.shape[1], self._d_times.shape[1]
        for head, weights in enumerate(gradient.flatten(1).unbind()):
            self._d_distance[head] += torch.bincount(distance, weights, num_distances)
            above = weights * share
            self._d_times[head] += torch.bincount(below, weights - above, num_knots)
            self._d_times[head, 1:] += torch.bincount(below, above, num_knots)[:-1]

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Of the tables positions [H, P] and times [H, K], from all that was learned."""
        return self._d_distance @ self._hats.T, self._d_times
