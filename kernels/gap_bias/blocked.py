"""The bias of one tile of logits at a time, and what the tables learn from it. Used inside of attention's blocked paths."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from kernels.gap_bias.reference import gap_bias


@dataclass(frozen=True)
class Gaps:
    """Of each pair of a tile. distance: in places, int32 [rows, I, J], or [1, I, J] where all rows have the same.

    time: the knot below, int32, and how far behind it, each flat [rows · I · J]; None where no time is known.
    """

    distance: Tensor
    time: tuple[Tensor, Tensor] | None


class TileBias:
    """Both tables, made ready for many tiles: positions [H, P] as a value for each whole distance up to `longest`, times [H, K] as it is.

    What is added to the logits is the bias times `scale`; gradients are those of an unscaled bias.
    """

    def __init__(self, positions: Tensor, times: Tensor, unit: float, *, longest: int, scale: float = 1.0) -> None:
        self._hats = hats(positions.shape[1], longest, positions.dtype, positions.device)
        self._unit = unit
        self._by_distance = positions @ self._hats * scale
        self._height, self._rise = times * scale, times.diff() * scale
        self._d_distance, self._d_times = torch.zeros_like(self._by_distance), torch.zeros_like(times)

    def gaps(self, distance: Tensor, moment: Tensor | None, first: int) -> Gaps:
        """What `write` and `learn` need to know of a tile.

        distance [rows or 1, I, J], negative counts as none; moment int64 µs [rows, L]; the tile's queries are I from `first` on.
        """
        places = distance.clamp(min=0).to(torch.int32)
        return Gaps(places, None if moment is None else self._time(distance, moment, first))

    def _time(self, distance: Tensor, moment: Tensor, first: int) -> tuple[Tensor, Tensor]:
        queries, keys = distance.shape[1:]
        gap = (moment[:, first : first + queries, None] - moment[:, None, :keys]).to(distance.dtype)
        # log2 of 1 + x: where x is so small that log1p differs, the difference is below the last digit of the bias
        knot = gap.mul_(1 / self._unit).clamp_(min=0).add_(1).log2_().clamp_(max=self._rise.shape[1]).flatten()
        below = knot.to(torch.int32).clamp_(max=self._rise.shape[1] - 1)
        return below, knot.sub_(below)

    def write(self, bias: Tensor, gaps: Gaps) -> None:
        """Into bias [H, rows, I, J]."""
        for head, out in enumerate(bias.unbind()):
            by_distance = self._by_distance[head].index_select(0, gaps.distance.flatten()).view_as(gaps.distance)
            if gaps.time is None:
                out.copy_(by_distance)
                continue
            below, share = gaps.time
            torch.index_select(self._rise[head], 0, below, out=out.view(-1))
            out.view(-1).mul_(share).add_(self._height[head].index_select(0, below))
            out.add_(by_distance)

    def learn(self, gradient: Tensor, gaps: Gaps) -> None:
        """From the gradient of a tile's bias [H, rows, I, J]."""
        num_distances, num_knots = self._d_distance.shape[1], self._d_times.shape[1]
        for head, weights in enumerate(gradient.unbind()):
            of_distance = weights.sum_to_size(gaps.distance.shape).flatten()
            self._d_distance[head] += torch.bincount(gaps.distance.flatten(), of_distance, num_distances)
            if gaps.time is None:
                continue
            below, share = gaps.time
            above = weights.flatten() * share
            self._d_times[head] += torch.bincount(below, weights.flatten() - above, num_knots)
            self._d_times[head, 1:] += torch.bincount(below, above, num_knots)[:-1]

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Of the tables positions [H, P] and times [H, K], from all that was learned."""
        return self._d_distance @ self._hats.T, self._d_times


@lru_cache(maxsize=16)
def hats(num_knots: int, longest: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """How much of each knot's value counts at each whole distance: [num_knots, longest + 1]."""
    return gap_bias(torch.eye(num_knots, dtype=dtype, device=device), torch.arange(longest + 1, device=device))
