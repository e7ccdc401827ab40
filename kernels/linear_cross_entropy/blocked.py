"""The path that is taken on the CPU: tiles of logits small enough to stay in a core's cache.

The bias rides along as one more column of the weights (and, on the way back, the normaliser as another), so that a tile is one matrix
product followed by one exponential. Where the lengths of the vectors already say that all logits of a row are close to each other, as they
are unless training goes astray, no tile is searched for its maximum. Logits are in base 2: exp2 takes as long for −inf as for any other
number, exp 30 times as long. Items that are left out altogether are taken off the catalogue first, and cost nothing.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from kernels.linear_cross_entropy.reference import wide

TILE_ROWS, TILE_ITEMS, TILE = 4096, 512, 1 << 20  # tall tiles are fastest; of few rows, as many items as make a tile worth its calls
LOG2_E = math.log2(math.e)
LOWEST = -1e30  # below every logit, and finite: −inf less −inf is no number
CLOSE = 60.0  # e^-60 of the highest, divided by the sum over any catalogue, is still far from the least float32
VANISHING = -100.0  # 2^-100 adds nothing to a sum, and matrices of denormal numbers are multiplied 30 times slower


def forward(x: Tensor, weight: Tensor, bias: Tensor, row_id: Tensor, item_id: Tensor) -> Tensor:
    """log Σ exp of each row, [Q], adding tile after tile what stands above the highest logit so far."""
    kept = items_kept(bias)
    if len(kept) < len(bias):
        return forward(x, weight[kept], bias[kept], row_id, item_id[kept] if len(item_id) else item_id)
    highest, are_close = highest_logit(x, weight, bias)
    top = highest * LOG2_E if are_close else torch.full_like(highest, LOWEST)
    total = torch.zeros_like(top)
    rows_QK = columns(x, 1.0, -highest if are_close else 0.0)
    for rows, _, logit in _tiles(rows_QK, columns(weight, bias, 1.0) * LOG2_E, row_id, item_id):
        if not are_close:
            higher = torch.maximum(top[rows], logit.amax(1))
            total[rows] *= (top[rows] - higher).exp2_()
            logit.sub_(higher[:, None])
            top[rows] = higher
        total[rows] += logit.exp2_().sum(1)
    return (top + total.log2()) / LOG2_E


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, row_id: Tensor, item_id: Tensor, normaliser: Tensor, negligible: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias: the softmax of each tile once more, exp(logit − normaliser), and two products with it."""
    kept = items_kept(bias)
    if len(kept) < len(bias):
        ids = item_id[kept] if len(item_id) else item_id
        grad_x, of_weight, of_bias = backward(grad, x, weight[kept], bias[kept], row_id, ids, normaliser, negligible)
        return grad_x, spread(of_weight, kept, len(bias)), spread(of_bias, kept, len(bias))
    _, are_close = highest_logit(x, weight, bias)
    rows_QK, items_VK = columns(x, 1.0, -normaliser), columns(weight, bias, 1.0)
    flat = weight.to(wide(x)).contiguous()  # not items_VK without its last columns: a product reads rows that lie apart half as fast
    pulled_KQ = (columns(x, 1.0) * grad[:, None]).T
    grad_x, grad_items = torch.zeros_like(rows_QK[:, :-2]), x.new_zeros(len(pulled_KQ), len(weight), dtype=wide(x))
    for rows, items, logit in _tiles(rows_QK, items_VK * LOG2_E, row_id, item_id):
        if negligible > 0 and logit.max() < math.log2(negligible):
            continue
        softmax = (logit if are_close else torch.threshold_(logit, VANISHING, -math.inf)).exp2_()
        grad_x[rows].addmm_(softmax, flat[items])
        grad_items[:, items].addmm_(pulled_KQ[:, rows], softmax)
    grad_x *= grad[:, None]
    return grad_x.to(x.dtype), grad_items[:-1].T.to(weight.dtype).contiguous(), grad_items[-1].to(bias.dtype, copy=True)


def _tiles(rows_QK: Tensor, items_VK: Tensor, row_id: Tensor, item_id: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Each tile of rows @ items.T and where it stands, all in one buffer; −inf where the ids of row and item are the same."""
    num_items = max(TILE_ITEMS, TILE // max(1, min(TILE_ROWS, len(rows_QK))))
    buffer = rows_QK.new_empty(min(TILE_ROWS, len(rows_QK)) * num_items)
    same_row, same_item = same(row_id, item_id) if len(item_id) else (row_id, item_id)
    for first in range(0, len(rows_QK), TILE_ROWS):
        rows = slice(first, first + TILE_ROWS)
        for start in range(0, len(items_VK), num_items):
            items = slice(start, start + num_items)
            left, right = rows_QK[rows], items_VK[items]
            tile = torch.mm(left, right.T, out=buffer[: len(left) * len(right)].view(len(left), len(right)))
            if len(same_row):
                inside = (same_row // TILE_ROWS * TILE_ROWS == first) & (same_item // num_items * num_items == start)
                tile[same_row[inside] - first, same_item[inside] - start] = -math.inf
            yield rows, items, tile


def same(row_id: Tensor, item_id: Tensor) -> tuple[Tensor, Tensor]:
    """The places of all pairs (row, item) with the same id: two int64 [P]. Few as a rule, and so not looked for in every pair."""
    sorted_id, place = item_id.sort()
    first, behind = (torch.searchsorted(sorted_id, row_id, right=right) for right in (False, True))
    counts = behind - first
    row = torch.arange(len(row_id), device=row_id.device).repeat_interleave(counts)
    number = torch.arange(len(row), device=row_id.device) - (counts.cumsum(0) - counts)[row]
    return row, place[first[row] + number]


def highest_logit(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, bool]:
    """What no logit of a row exceeds, [Q], by Cauchy and Schwarz; and whether for the same reason none is far below it."""
    if not len(x) or not len(weight):
        return x.new_zeros(len(x), dtype=wide(x)), False
    reach = x.to(wide(x)).norm(dim=1) * weight.to(wide(x)).norm(dim=1).max()
    return reach + bias.max(), bool(2 * reach.max() + bias.max() - bias.min() < CLOSE)


def columns(matrix: Tensor, *columns: Tensor | float) -> Tensor:
    """The matrix with more columns to its right."""
    like = matrix.to(wide(matrix))
    return torch.cat([like, *(torch.as_tensor(column, dtype=like.dtype).expand(len(like))[:, None] for column in columns)], 1)


def items_kept(bias: Tensor) -> Tensor:
    return (bias != -math.inf).nonzero()[:, 0]


def spread(part: Tensor, places: Tensor, size: int) -> Tensor:
    return part.new_zeros(size, *part.shape[1:]).index_copy_(0, places, part)
