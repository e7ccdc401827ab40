"""The specification: all the scores at once, sorted."""

import torch
from torch import Tensor

from kernels import ragged


def forward(
    queries: Tensor, items: Tensor, bias: Tensor | None, excluded_values: Tensor, excluded_offsets: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    scores = queries.float() @ items.float().T
    if bias is not None:
        scores = scores + bias.float()
    scores = torch.where(scores.isnan(), -torch.inf, scores)
    scores = _without(scores, excluded_values, ragged.row_of_value(excluded_offsets, excluded_values.shape[0]))
    scores, ids = _first(torch.nn.functional.pad(scores, (0, k), value=-torch.inf), k)
    return scores, torch.where(scores == -torch.inf, -1, ids)


def _first(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest, of equals the lower column first. ONNX's TopK promises that; torch's does not, and its stable sort does not export."""
    if torch.compiler.is_exporting():
        return scores.topk(k)
    scores, ids = scores.sort(dim=1, descending=True, stable=True)
    return scores[:, :k], ids[:, :k]


def _without(scores: Tensor, ids: Tensor, row: Tensor) -> Tensor:
    """−∞ where (row, id) is excluded. An id that no item has lands in a column of its own, which is dropped."""
    num_items = scores.shape[1]
    column = torch.where((ids >= 0) & (ids < num_items), ids, num_items)
    widened = torch.nn.functional.pad(scores, (0, 1))
    return widened.index_put((row, column), scores.new_full((), -torch.inf))[:, :num_items]
