"""The k best items for each query by inner product, over a catalogue too large to hold all scores.

A million items and 256 queries have 1 GB of scores, of which ten a query are wanted.
"""

import torch
from torch import Tensor

from kernels import dispatch
from kernels.topk_inner_product import reference

__all__ = ["topk_inner_product"]

TYPES = (torch.float32, torch.bfloat16)


def topk_inner_product(
    queries: Tensor, items: Tensor, k: int, *, bias: Tensor | None = None, excluded: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """The k highest queries_q · items_i + bias_i, falling, of equal scores the lower id first: scores float32 [Q, k], ids int64 [Q, k].

    queries [Q, D], items [V, D], float32 or bfloat16 (summed in float32); bias [V], −∞ leaves an item out for all; excluded: values int64
    [E] and offsets int64 [Q + 1], the ids that each query must not get, in any order (an id that no item has is without effect).
    Where fewer than k items are left: −∞ and id −1. An item whose score is NaN is left out.
    Not differentiable: going backward raises. ValueError: shapes or types that don't fit.
    """
    _check(queries, items, k, bias)
    values, offsets = _excluded(queries, excluded)
    if torch.compiler.is_exporting():
        return reference.forward(queries, items, bias, values, offsets, k)
    return _topk(queries, items, bias, values, offsets, k, dispatch.choose("topk_inner_product", queries))


def _check(queries: Tensor, items: Tensor, k: int, bias: Tensor | None) -> None:
    if queries.ndim != 2 or items.ndim != 2 or queries.shape[1] != items.shape[1]:
        raise ValueError(f"expected queries [Q, D] and items [V, D]; received {[*queries.shape]} and {[*items.shape]}")
    if queries.dtype not in TYPES or items.dtype != queries.dtype:
        raise ValueError(f"expected queries and items both float32 or both bfloat16; received {queries.dtype} and {items.dtype}")
    if k < 1:
        raise ValueError(f"expected k of at least 1; received {k}")
    if bias is not None and (bias.shape != items.shape[:1] or not bias.is_floating_point()):
        raise ValueError(f"expected bias of floats [{items.shape[0]}]; received {bias.dtype} {[*bias.shape]}")


def _excluded(queries: Tensor, excluded: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    num_offsets = queries.shape[0] + 1
    if excluded is None:
        return queries.new_empty(0, dtype=torch.int64), queries.new_zeros(num_offsets, dtype=torch.int64)
    values, offsets = excluded
    if values.ndim != 1 or offsets.ndim != 1 or offsets.shape[0] != num_offsets or not values.dtype == offsets.dtype == torch.int64:
        received = f"{values.dtype} {[*values.shape]} and {offsets.dtype} {[*offsets.shape]}"
        raise ValueError(f"expected excluded values int64 [E] and offsets int64 [{num_offsets}]; received {received}")
    return values, offsets


@torch.library.custom_op("revisit::topk_inner_product", mutates_args=())
def _topk(
    queries: Tensor, items: Tensor, bias: Tensor | None, excluded_values: Tensor, excluded_offsets: Tensor, k: int, path: str
) -> tuple[Tensor, Tensor]:
    """Scores and ids [Q, k]."""
    return dispatch.load("topk_inner_product", path).forward(queries, items, bias, excluded_values, excluded_offsets, k)


@_topk.register_fake
def _(queries, items, bias, excluded_values, excluded_offsets, k, path):  # type: ignore[no-untyped-def]
    shape = (queries.shape[0], k)
    return queries.new_empty(shape, dtype=torch.float32), queries.new_empty(shape, dtype=torch.int64)


def _refuse(ctx, *grads):  # type: ignore[no-untyped-def]
    raise NotImplementedError("topk_inner_product has no gradient: choose items with it, then score the chosen ones, items[ids], again")


_topk.register_autograd(_refuse)
