"""The path that is taken on the CPU: a tile of scores at a time, of which only the promising parts are looked at closely.

A tile's items are put into groups. The best score of each, its champion, is one cheap pass; only groups whose champion beats the k-th
best of all tiles before can change the answer, and after the first tiles there are few. Of those no more matter than the k best, since
k champions at least as good stand before anything in the others.
"""

import torch
from torch import Tensor

from kernels import ragged
from kernels.topk_inner_product.keys import EMPTY, answer_of, keys_of, scores_of

GROUP = 16
TILE_SCORES, TILE_QUERIES, TILE_ITEMS = 2**22, 256, 2**16


def forward(
    queries: Tensor, items: Tensor, bias: Tensor | None, excluded_values: Tensor, excluded_offsets: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    row = ragged.row_of_value(excluded_offsets, excluded_values.shape[0])
    excluded, order = excluded_values.sort()
    blocks = []
    for start in range(0, queries.shape[0], TILE_QUERIES):
        block = queries[start : start + TILE_QUERIES].float()
        mine = (row[order] >= start) & (row[order] < start + len(block))
        blocks.append(_best_of_all(block, items, bias, excluded[mine], row[order][mine] - start, k))
    return answer_of(torch.cat([queries.new_empty(0, k, dtype=torch.int64), *blocks]))


def _best_of_all(queries: Tensor, items: Tensor, bias: Tensor | None, excluded: Tensor, row: Tensor, k: int) -> Tensor:
    """Keys [Q, k], falling. excluded, row: what is excluded for which query, by rising id."""
    num_items = min(TILE_ITEMS, TILE_SCORES // len(queries) // GROUP * GROUP)
    buffer = queries.new_empty(len(queries) * num_items)
    best = torch.full((len(queries), k), EMPTY)
    starts = range(0, len(items), num_items)
    cuts = torch.searchsorted(excluded, torch.tensor([*starts, len(items)])).tolist()
    for number, start in enumerate(starts):
        tile = items[start : start + num_items].float()
        scores = buffer[: len(queries) * len(tile)].view(len(queries), len(tile))
        torch.mm(queries, tile.T, out=scores)
        if bias is not None:
            scores += bias[start : start + num_items]
        inside = slice(cuts[number], cuts[number + 1])
        scores[row[inside], excluded[inside] - start] = -torch.inf
        best = _with_tile(best, scores, start)
    return best


def _with_tile(best: Tensor, scores: Tensor, start: int) -> Tensor:
    """The best so far and those of a tile that begins with item `start`, merged."""
    k, length = best.shape[1], scores.shape[1]
    if length % GROUP:
        scores = torch.nn.functional.pad(scores, (0, -length % GROUP), value=-torch.inf)
    num_groups = scores.shape[1] // GROUP
    # items j, j + num_groups, j + 2·num_groups, ... are a group: the maximum then runs along memory
    champions = scores.view(len(scores), GROUP, num_groups).amax(1)
    if champions.numel() and champions.amax().isnan():
        return _with_tile(best, scores.masked_fill_(scores.isnan(), -torch.inf), start)
    threshold = scores_of(best[:, -1:])
    group = _best_columns(champions, threshold, k)
    if group.shape[1] == 0:
        return best
    column = (group[:, :, None] + num_groups * torch.arange(GROUP)).flatten(1)
    candidates = scores.gather(1, column)
    chosen = _best_columns(candidates, threshold, k)
    return torch.cat([best, keys_of(candidates.gather(1, chosen), start + column.gather(1, chosen))], 1).topk(k).values


def _best_columns(scores: Tensor, threshold: Tensor, k: int) -> Tensor:
    """Columns [Q, m] that hold, in each row, all scores above the threshold [Q, 1] and not below the row's k-th best: with all its equals.

    Above, not equal: items come by rising id, and of equals the lower id wins.
    """
    wanted = scores > threshold
    most = int(wanted.sum(1).max())
    if most > k:
        best = scores.topk(k)
        most = int((wanted & (scores >= best.values[:, -1:])).sum(1).max())
        if most == k:
            return best.indices
    return scores.topk(most).indices
