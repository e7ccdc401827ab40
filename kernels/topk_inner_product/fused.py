"""Triton language: the champion of every group of items for every query, then the champions' groups again, item by item.

The k best items lie in the k groups whose champions are best, by any order without ties. So the first kernel multiplies everything, on the
tensor cores, and writes one key for 128 scores; torch.topk over those keys finds the groups; the second kernel scores k groups a query.
An excluded item may be a champion: the second kernel also finds a new champion for each group that holds one.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import ragged
from kernels.launch import Launch
from kernels.topk_inner_product.keys import EMPTY, answer_of

GROUP, BLOCK_WIDTH, BLOCK_EXCLUDED = 128, 32, 32
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def forward(
    queries: Tensor, items: Tensor, bias: Tensor | None, excluded_values: Tensor, excluded_offsets: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    queries, items = queries.contiguous(), items.contiguous()
    bias = items.new_zeros(items.shape[0], dtype=torch.float32) if bias is None else bias.to(torch.float32).contiguous()
    excluded = (excluded_values.contiguous(), excluded_offsets.contiguous())
    num_queries, num_groups = queries.shape[0], triton.cdiv(items.shape[0], GROUP)
    champions = _champions(queries, items, bias, num_groups)
    owner = ragged.row_of_value(excluded_offsets, excluded_values.shape[0])
    _score_again(queries, items, bias, excluded, owner, excluded_values // GROUP, champions, num_groups, whole=False)

    group = champions.topk(min(k, num_groups), dim=1).indices
    keys = champions.new_empty(num_queries, group.shape[1] * GROUP)
    query = torch.arange(num_queries, device=queries.device)[:, None].expand_as(group)
    _score_again(queries, items, bias, excluded, query.flatten(), group.flatten(), keys, num_groups, whole=True)
    best = keys.topk(min(k, keys.shape[1]), dim=1).values
    return answer_of(torch.nn.functional.pad(best, (0, k - best.shape[1]), value=EMPTY))


def block_queries(num_queries: int) -> tuple[int, int]:
    """Queries that one program multiplies with a group, and its warps: as many as a matrix instruction takes at least, or 64."""
    return (16, 4) if num_queries <= 16 else (64, 8)


def _champions(queries: Tensor, items: Tensor, bias: Tensor, num_groups: int) -> Tensor:
    """The best key of each group for each query, nothing excluded: int64 [Q, groups]."""
    num_queries, width = queries.shape
    keys = torch.empty(num_queries, num_groups, dtype=torch.int64, device=queries.device)
    block, num_warps = block_queries(num_queries)
    if keys.numel():
        grid = (num_groups * triton.cdiv(num_queries, block),)
        arguments = (queries, items, bias, keys, num_queries, items.shape[0], num_groups, width)
        _find_champions[grid](*arguments, GROUP, block, BLOCK_WIDTH, num_warps=num_warps, num_stages=2)
    return keys


def _score_again(
    queries: Tensor, items: Tensor, bias: Tensor, excluded: tuple[Tensor, Tensor], query: Tensor, group: Tensor, keys: Tensor,
    num_groups: int, *, whole: bool,
) -> None:  # fmt: skip
    """Pairs (query, group): all keys of pair p to keys[p], or with whole=False only the best, to keys[query, group]."""
    if query.numel():
        arguments = (queries, items, bias, *excluded, query.contiguous(), group.contiguous(), keys)
        sizes = (items.shape[0], num_groups, queries.shape[1])
        _score_groups[(query.numel(),)](*arguments, *sizes, whole, GROUP, BLOCK_WIDTH, BLOCK_EXCLUDED, num_warps=4, num_stages=2)


@triton.jit
def _find_champions(  # type: ignore[no-untyped-def]
    queries, items, bias, keys, num_queries, num_items, num_groups, width,
    GROUP: tl.constexpr, BLOCK_QUERIES: tl.constexpr, BLOCK_WIDTH: tl.constexpr,
):  # fmt: skip
    """One group for one block of queries. All blocks of a group run side by side, so that its items are read from memory once."""
    num_blocks = tl.cdiv(num_queries, BLOCK_QUERIES)
    group = tl.program_id(0) // num_blocks
    query = (tl.program_id(0) % num_blocks) * BLOCK_QUERIES + tl.arange(0, BLOCK_QUERIES)
    item = group * GROUP + tl.arange(0, GROUP)
    is_query, is_item = query < num_queries, item < num_items
    scores = tl.zeros((BLOCK_QUERIES, GROUP), tl.float32)
    for start in range(0, width, BLOCK_WIDTH):
        column = start + tl.arange(0, BLOCK_WIDTH)
        inside = column < width
        at_query = query[:, None].to(tl.int64) * width + column[None, :]
        at_item = item[None, :].to(tl.int64) * width + column[:, None]
        block = tl.load(queries + at_query, mask=is_query[:, None] & inside[None, :], other=0)
        tile = tl.load(items + at_item, mask=is_item[None, :] & inside[:, None], other=0)
        scores = tl.dot(block, tile, scores, input_precision="tf32x3")
    scores += tl.load(bias + item, mask=is_item, other=float("-inf"))[None, :]
    scores = tl.where(scores == scores, scores, float("-inf"))
    best = tl.max(scores, 1)
    first = tl.min(tl.where(scores == best[:, None], item[None, :], 0x7FFFFFFF), 1)
    tl.store(keys + query.to(tl.int64) * num_groups + group, _key(best, first), mask=is_query)


@triton.jit
def _score_groups(  # type: ignore[no-untyped-def]
    queries, items, bias, excluded, excluded_offsets, query_of, group_of, keys, num_items, num_groups, width,
    WHOLE: tl.constexpr, GROUP: tl.constexpr, BLOCK_WIDTH: tl.constexpr, BLOCK_EXCLUDED: tl.constexpr,
):  # fmt: skip
    """One query with one group, in float32, without what is excluded."""
    pair = tl.program_id(0).to(tl.int64)
    query, group = tl.load(query_of + pair), tl.load(group_of + pair)
    item = group * GROUP + tl.arange(0, GROUP)
    is_item = (item >= 0) & (item < num_items)
    scores = tl.zeros((GROUP,), tl.float32)
    for start in range(0, width, BLOCK_WIDTH):
        column = start + tl.arange(0, BLOCK_WIDTH)
        inside = column < width
        one = tl.load(queries + query * width + column, mask=inside, other=0).to(tl.float32)
        tile = tl.load(items + item[:, None] * width + column[None, :], mask=is_item[:, None] & inside[None, :], other=0)
        scores += tl.sum(tile.to(tl.float32) * one[None, :], 1)
    scores += tl.load(bias + item, mask=is_item, other=float("-inf"))
    last = tl.load(excluded_offsets + query + 1)
    for start in range(tl.load(excluded_offsets + query), last, BLOCK_EXCLUDED):
        place = start + tl.arange(0, BLOCK_EXCLUDED)
        unwanted = tl.load(excluded + place, mask=place < last, other=-1)
        hits = tl.sum((item[:, None] == unwanted[None, :]).to(tl.int32), 1)
        scores = tl.where(hits > 0, float("-inf"), scores)
    scores = tl.where(scores == scores, scores, float("-inf"))
    key = _key(scores, item)
    if WHOLE:
        tl.store(keys + pair * GROUP + tl.arange(0, GROUP), key)
    else:
        tl.store(keys + query * num_groups + group, tl.max(key, 0), mask=(group >= 0) & (group < num_groups))


@triton.jit
def _key(score, item):  # type: ignore[no-untyped-def]
    """As in keys.py."""
    bits = tl.where(score == 0.0, 0.0, score).to(tl.int32, bitcast=True)
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (rising.to(tl.int64) << 32) | (0xFFFFFFFF - item.to(tl.int64))


def launches() -> list[Launch]:
    """Both types; few queries and many; the whole group and its champion."""
    champions = [_champions_launch(dtype, *block_queries(num_queries)) for dtype in TYPES for num_queries in (1, 100)]
    return champions + [_score_launch(dtype, whole) for dtype in TYPES for whole in (True, False)]


def _champions_launch(dtype: str, block: int, num_warps: int) -> Launch:
    pointers = {"queries": f"*{dtype}", "items": f"*{dtype}", "bias": "*fp32", "keys": "*i64"}
    constexprs = {"GROUP": GROUP, "BLOCK_QUERIES": block, "BLOCK_WIDTH": BLOCK_WIDTH}
    numbers = ("num_queries", "num_items", "num_groups", "width")
    return _launch_of(f"champions_{dtype}_{block}", _find_champions, pointers, numbers, constexprs, num_warps, tensor_cores=True)


def _score_launch(dtype: str, whole: bool) -> Launch:
    floats = {"queries": f"*{dtype}", "items": f"*{dtype}", "bias": "*fp32"}
    pointers = floats | dict.fromkeys(("excluded", "excluded_offsets", "query_of", "group_of", "keys"), "*i64")
    constexprs = {"WHOLE": whole, "GROUP": GROUP, "BLOCK_WIDTH": BLOCK_WIDTH, "BLOCK_EXCLUDED": BLOCK_EXCLUDED}
    name = f"score_{dtype}_{'group' if whole else 'champion'}"
    return _launch_of(name, _score_groups, pointers, ("num_items", "num_groups", "width"), constexprs, 4, tensor_cores=False)


def _launch_of(
    name: str, kernel: object, pointers: dict[str, str], numbers: tuple[str, ...], constexprs: dict[str, int], num_warps: int, *,
    tensor_cores: bool,
) -> Launch:  # fmt: skip
    signature = pointers | dict.fromkeys(numbers, "i32") | dict.fromkeys(constexprs, "constexpr")
    return Launch(name, kernel, signature, constexprs, num_warps, 2, tensor_cores, divisible=(*pointers, "width"))
