"""The path that is taken on a GPU: tiles of logits that live in registers only.

A program treats a block of rows and passes over a chunk of the items; what the chunks give is added up afterwards in a fixed order, so
that many programs run however few rows there are, and the result is the same bit for bit. On the way back one kernel serves both sides: the
softmax is as much a matrix over rows and items as over items and rows, only the roles of normaliser and bias change.

M: of a tile, what the program keeps. N: what it passes over. D: width, padded to 32, 64 or 128. Logits are in base 2 inside the kernels.
"""

import math
from collections.abc import Mapping
from itertools import product

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from kernels.launch import Launch

PRECISION = tl.constexpr("tf32x3")  # float32 on the tensor cores, as three products of tf32: a logit's error is exponentiated
LOG2_E = tl.constexpr(math.log2(math.e))
LOWEST = tl.constexpr(-1e30)  # below every logit, and finite: −inf less −inf is no number
WIDTHS = (32, 64, 128)
PROGRAMS = 264  # two for each of an H100's 132 multiprocessors


def forward(x: Tensor, weight: Tensor, bias: Tensor, row_id: Tensor, item_id: Tensor) -> Tensor:
    """log Σ exp of each row: float32 [Q]."""
    _check_type(x)
    x_MD, weight_ND = _padded(x), _padded(weight)
    tile = tiles(x_MD.shape[1], x.dtype)
    chunk, num_chunks = _chunks(len(x), len(weight), tile)
    part = x.new_empty(num_chunks, len(x), dtype=torch.float32)
    if len(x):
        normalise[triton.cdiv(len(x), tile["BM"]), num_chunks](
            x_MD, weight_ND, bias.float().contiguous(), row_id, item_id, part, len(x), len(weight), chunk,
            HAS_IDS=len(item_id) > 0, D=x_MD.shape[1], **tile,
        )  # fmt: skip
    return part.logsumexp(0)


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, row_id: Tensor, item_id: Tensor, normaliser: Tensor, negligible: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias."""
    _check_type(x)
    rows, items = (_padded(x), -normaliser, row_id), (_padded(weight), bias.float().contiguous(), item_id)
    # a row without items has the normaliser −inf; its softmax is zero everywhere
    rows[1].masked_fill_(normaliser == -math.inf, -math.inf)
    grad_x, _ = _pulled(rows, items, torch.ones_like(items[1]), negligible)
    grad_weight, grad_bias = _pulled(items, rows, grad, negligible)
    grad_x *= grad[:, None]
    return _cut(grad_x, x), _cut(grad_weight, weight), grad_bias.to(bias.dtype)


def _pulled(a: tuple[Tensor, ...], b: tuple[Tensor, ...], factor: Tensor, negligible: float) -> tuple[Tensor, Tensor]:
    """Σ_n softmax_mn factor_n b_n and Σ_n softmax_mn factor_n for each m: float32 [M, D] and [M]."""
    (a_MD, a_shift, a_id), (b_ND, b_shift, b_id) = a, b
    num_a, dim = a_MD.shape
    if not num_a or not len(b_ND):
        return a_shift.new_zeros(num_a, dim), a_shift.new_zeros(num_a)
    tile = tiles(dim, a_MD.dtype)
    chunk, num_chunks = _chunks(num_a, len(b_ND), tile)
    pulled, total = a_shift.new_empty(num_chunks, num_a, dim), a_shift.new_empty(num_chunks, num_a)
    pull[triton.cdiv(num_a, tile["BM"]), num_chunks](
        a_MD, b_ND, a_shift, b_shift, factor, a_id, b_id, pulled, total, num_a, len(b_ND), chunk, negligible,
        HAS_IDS=len(a_id) > 0, SKIPS=negligible > 0, D=dim, **tile,
    )  # fmt: skip
    return (pulled[0], total[0]) if num_chunks == 1 else (pulled.sum(0), total.sum(0))


def _check_type(x: Tensor) -> None:
    if x.dtype not in (torch.float32, torch.bfloat16) or x.shape[1] > WIDTHS[-1]:
        raise ValueError(f"the fused path takes float32 or bfloat16 of at most {WIDTHS[-1]} columns; received {x.dtype} {[*x.shape]}")


def _padded(matrix: Tensor) -> Tensor:
    width = next(width for width in WIDTHS if matrix.shape[1] <= width)
    return F.pad(matrix, (0, width - matrix.shape[1])).contiguous()


def _cut(grad: Tensor, like: Tensor) -> Tensor:
    return grad[:, : like.shape[1]].to(like.dtype).contiguous()


def _chunks(num_a: int, num_b: int, tile: dict[str, int]) -> tuple[int, int]:
    """How many of the b's a program passes over, and how many programs it takes for them all."""
    wanted = triton.cdiv(PROGRAMS, max(triton.cdiv(num_a, tile["BM"]), 1))
    chunk = triton.cdiv(triton.cdiv(num_b, tile["BN"]), wanted) * tile["BN"]
    return chunk, triton.cdiv(num_b, chunk)


def tiles(dim: int, dtype: torch.dtype) -> dict[str, int]:
    """Tile sizes, warps and stages: of those that keep to the registers of an A100 and an H100, those that read the b's least often."""
    if dtype == torch.bfloat16:
        return {"BM": 128, "BN": 64, "num_warps": 8, "num_stages": 3}
    rows, others = {32: (32, 32), 64: (32, 64), 128: (16, 32)}[dim]  # tf32x3 holds each operand twice
    return {"BM": rows, "BN": others, "num_warps": 4, "num_stages": 2}


@triton.jit
def _rows(matrix, place, size, D: tl.constexpr):  # type: ignore[no-untyped-def]
    """[places, D]; zeros from `size` on."""
    where = place.to(tl.int64)[:, None] * D + tl.arange(0, D)[None, :]
    return tl.load(matrix + where, mask=place[:, None] < size, other=0.0)


@triton.jit
def _logits(a_MD, b_ND, m, n, a_id, b_id, num_a, num_b, HAS_IDS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of a tile, in base 2; −inf where the ids are the same."""
    logit = tl.dot(a_MD, tl.trans(b_ND), input_precision=PRECISION) * LOG2_E
    if HAS_IDS:
        id_M = tl.load(a_id + m, mask=m < num_a, other=-1)
        id_N = tl.load(b_id + n, mask=n < num_b, other=-1)
        logit = tl.where(id_M[:, None] == id_N[None, :], float("-inf"), logit)
    return logit


@triton.jit(do_not_specialize=["num_rows", "num_items", "chunk"])
def normalise(  # type: ignore[no-untyped-def]
    x, weight, bias, row_id, item_id, part, num_rows, num_items, chunk,
    HAS_IDS: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """log Σ exp of one block of rows over one chunk of items."""
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    x_MD = _rows(x, m, num_rows, D)
    greatest, total = tl.full([BM], LOWEST, tl.float32), tl.zeros([BM], tl.float32)
    first = tl.program_id(1) * chunk
    for start in range(first, min(first + chunk, num_items), BN):
        n = start + tl.arange(0, BN)
        bias_N = tl.load(bias + n, mask=n < num_items, other=float("-inf")) * LOG2_E
        weight_ND = _rows(weight, n, num_items, D)
        logit = _logits(x_MD, weight_ND, m, n, row_id, item_id, num_rows, num_items, HAS_IDS) + bias_N[None, :]
        greater = tl.maximum(greatest, tl.max(logit, 1))
        total = total * tl.exp2(greatest - greater) + tl.sum(tl.exp2(logit - greater[:, None]), 1)
        greatest = greater
    is_empty = total == 0.0
    result = tl.where(is_empty, float("-inf"), (greatest + tl.log2(tl.where(is_empty, 1.0, total))) / LOG2_E)
    tl.store(part + tl.program_id(1).to(tl.int64) * num_rows + m, result, mask=m < num_rows)


@triton.jit(do_not_specialize=["num_a", "num_b", "chunk", "negligible"])
def pull(  # type: ignore[no-untyped-def]
    a, b, a_shift, b_shift, b_factor, a_id, b_id, pulled, total, num_a, num_b, chunk, negligible,
    HAS_IDS: tl.constexpr, SKIPS: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Σ_n softmax_mn factor_n b_n and Σ_n softmax_mn factor_n of one block of m over one chunk of n."""
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    a_MD = _rows(a, m, num_a, D)
    shift_M = tl.load(a_shift + m, mask=m < num_a, other=float("-inf")) * LOG2_E
    pulled_MD = tl.zeros([BM, D], tl.float32)
    total_M = tl.zeros([BM], tl.float32)
    first = tl.program_id(1) * chunk
    for start in range(first, min(first + chunk, num_b), BN):
        n = start + tl.arange(0, BN)
        b_ND = _rows(b, n, num_b, D)
        shift_N = tl.load(b_shift + n, mask=n < num_b, other=float("-inf")) * LOG2_E
        logit = _logits(a_MD, b_ND, m, n, a_id, b_id, num_a, num_b, HAS_IDS)
        softmax = tl.exp2(logit + (shift_M[:, None] + shift_N[None, :]))
        factor_N = tl.load(b_factor + n, mask=n < num_b, other=0.0)
        if SKIPS:
            if tl.max(tl.max(softmax, 1), 0) >= negligible:
                weight_MN = softmax * factor_N[None, :]
                pulled_MD += tl.dot(weight_MN.to(b_ND.dtype), b_ND, input_precision=PRECISION)
                total_M += tl.sum(weight_MN, 1)
        else:
            weight_MN = softmax * factor_N[None, :]
            pulled_MD += tl.dot(weight_MN.to(b_ND.dtype), b_ND, input_precision=PRECISION)
            total_M += tl.sum(weight_MN, 1)
    place = tl.program_id(1).to(tl.int64) * num_a + m
    tl.store(total + place, total_M, mask=m < num_a)
    tl.store(pulled + place[:, None] * D + tl.arange(0, D)[None, :], pulled_MD, mask=m[:, None] < num_a)


def launches() -> list[Launch]:
    """Every width and type; ids for the sampled loss, skipping for the whole catalogue."""
    found = []
    for (name, dtype), dim in product({"fp32": torch.float32, "bf16": torch.bfloat16}.items(), WIDTHS):
        tile = tiles(dim, dtype)
        sizes = {"D": dim, "BM": tile["BM"], "BN": tile["BN"]}
        for kernel, flags in (
            (normalise, {"HAS_IDS": False}),
            (normalise, {"HAS_IDS": True}),
            (pull, {"HAS_IDS": False, "SKIPS": False}),
            (pull, {"HAS_IDS": False, "SKIPS": True}),
            (pull, {"HAS_IDS": True, "SKIPS": False}),
        ):
            constexprs = {**flags, **sizes}
            signature = _signature(kernel.arg_names, name, constexprs)
            mark = "".join(f"_{flag.lower()}" for flag, is_set in flags.items() if is_set)
            found.append(
                Launch(
                    name=f"{kernel.__name__}_{name}_d{dim}{mark}",
                    kernel=kernel,
                    signature=signature,
                    constexprs=constexprs,
                    num_warps=tile["num_warps"],
                    num_stages=tile["num_stages"],
                    tensor_cores=True,
                    divisible=tuple(argument for argument, kind in signature.items() if kind.startswith("*")),
                )
            )
    return found


def _signature(arguments: list[str], dtype: str, constexprs: Mapping[str, object]) -> dict[str, str]:
    kinds = dict.fromkeys(("x", "weight", "a", "b"), f"*{dtype}") | dict.fromkeys(("row_id", "item_id", "a_id", "b_id"), "*i64")
    kinds |= dict.fromkeys(("num_rows", "num_items", "num_a", "num_b", "chunk"), "i32") | {"negligible": "fp32"}
    return {name: "constexpr" if name in constexprs else kinds.get(name, "*fp32") for name in arguments}
