"""The specification of `kernels.ragged`: one row at a time."""

from itertools import pairwise

import torch
from torch import Tensor


def row_of_value(offsets: Tensor, num_values: int) -> Tensor:
    rows = [row for row, (start, stop) in enumerate(_spans(offsets)) for _ in range(start, stop)]
    assert len(rows) == num_values
    return torch.tensor(rows, dtype=torch.int64)


def pad(values: Tensor, offsets: Tensor, length: int, *, fill: float = 0.0) -> Tensor:
    rows = []
    for start, stop in _spans(offsets):
        rest = values.new_full((length - (stop - start), *values.shape[1:]), fill)
        rows.append(torch.cat([values[start:stop], rest]))
    return torch.stack(rows)


def unpad(padded: Tensor, offsets: Tensor, num_values: int) -> Tensor:
    values = torch.cat([padded[row, : stop - start] for row, (start, stop) in enumerate(_spans(offsets))])
    assert len(values) == num_values
    return values


def pair_up(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    spans = zip(_spans(left), _spans(right), strict=True)
    pairs = [(i, j) for (i0, i1), (j0, j1) in spans for i in range(i0, i1) for j in range(j0, j1)]
    return torch.tensor([i for i, _ in pairs], dtype=torch.int64), torch.tensor([j for _, j in pairs], dtype=torch.int64)


def _spans(offsets: Tensor) -> list[tuple[int, int]]:
    return list(pairwise(offsets.tolist()))
