"""The specification of `kernels.ragged`: one row at a time."""

from itertools import accumulate, pairwise

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


def concatenate(left: Tensor, left_offsets: Tensor, right: Tensor, right_offsets: Tensor) -> tuple[Tensor, Tensor]:
    return _laid_end_to_end([torch.cat(both) for both in zip(_rows(left, left_offsets), _rows(right, right_offsets), strict=True)])


def keep_last(values: Tensor, offsets: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return _laid_end_to_end([row[max(0, len(row) - n) :] for row in _rows(values, offsets)])


def append(values: Tensor, offsets: Tensor, one: Tensor) -> tuple[Tensor, Tensor]:
    return _laid_end_to_end([torch.cat([row, last[None]]) for row, last in zip(_rows(values, offsets), one, strict=True)])


def pair_up(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    spans = zip(_spans(left), _spans(right), strict=True)
    pairs = [(i, j) for (i0, i1), (j0, j1) in spans for i in range(i0, i1) for j in range(j0, j1)]
    return torch.tensor([i for i, _ in pairs], dtype=torch.int64), torch.tensor([j for _, j in pairs], dtype=torch.int64)


def _spans(offsets: Tensor) -> list[tuple[int, int]]:
    return list(pairwise(offsets.tolist()))


def _rows(values: Tensor, offsets: Tensor) -> list[Tensor]:
    return [values[start:stop] for start, stop in _spans(offsets)]


def _laid_end_to_end(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    stops = list(accumulate(len(row) for row in rows))
    return torch.cat(rows), torch.tensor([0, *stops], dtype=torch.int64)
