"""Attention over ragged rows in Triton language, forward and backward: for softmax weights, and for the SiLU weights of `hstu_attention`.

A program treats one block of tokens of one row and head. It begins with what each token is to itself, so that all it then meets, block by
block, is strictly before it (or behind it), and one comparison with `sees` says what is visible. The host's part is at the end.

M, N: tokens of a tile of queries and of keys. D: head size, padded to BD. H: heads. T: tokens of the batch.
"""

import inspect
import itertools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from kernels.gap_bias.fused import MOST_KNOTS, knots, read, spread
from kernels.launch import Launch

PRECISION = tl.constexpr("tf32x3")  # float32 on tensor cores: three products of tf32, with nearly all of float32's digits
SIZES = ["num_heads", "num_positions", "num_times"]  # no compilation of their own for 1 or for multiples of 16


@triton.jit(do_not_specialize=SIZES)
def attend(  # type: ignore[no-untyped-def]
    q, k, v, blocks, sees, positions, times, moment, out, log_normaliser,
    stride_T, stride_H, num_heads, dim, num_positions, num_times, scale, inverse_unit, share,
    SOFTMAX: tl.constexpr, HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """The results of one block of queries."""
    start, length, first, head = _place(blocks)
    row = start * stride_T + head * stride_H
    q, k, v, positions, times = q + row, k + row, v + row, positions + head * num_positions, times + head * num_times
    i = first + tl.arange(0, BLOCK)
    sees_i = tl.load(sees + start + i, mask=i < length, other=0).to(tl.int32)
    if HAS_BIAS:
        moment_i = tl.load(moment + start + i, mask=i < length, other=0)

    q_MD = _load(q, i, length, stride_T, dim, BD)
    out_MD = _load(v, i, length, stride_T, dim, BD).to(tl.float32)
    itself = _itself(q_MD, _load(k, i, length, stride_T, dim, BD), scale, positions, times, HAS_BIAS)
    greatest, total = itself, tl.full([BLOCK], 1.0, tl.float32)
    if not SOFTMAX:
        out_MD *= (itself * tl.sigmoid(itself))[:, None]

    seen = tl.max(sees_i)
    for n in range(0, seen, BLOCK):
        j = n + tl.arange(0, BLOCK)
        k_ND = _load(k, j, seen, stride_T, dim, BD)
        v_ND = _load(v, j, seen, stride_T, dim, BD)
        logit_MN = tl.dot(q_MD, tl.trans(k_ND), input_precision=PRECISION) * scale
        if HAS_BIAS:
            moment_j = tl.load(moment + start + j, mask=j < seen, other=0)[None, :]
            place_knot, time_knot = knots(sees_i[:, None], j[None, :], moment_i[:, None], moment_j, inverse_unit, num_positions, num_times)
            logit_MN += read(positions, place_knot, num_positions) + read(times, time_knot, num_times)
        visible = j[None, :] < sees_i[:, None]
        if SOFTMAX:
            logit_MN = tl.where(visible, logit_MN, float("-inf"))
            greater = tl.maximum(greatest, tl.max(logit_MN, 1))
            shrink = tl.exp(greatest - greater)
            weight_MN = tl.exp(logit_MN - greater[:, None])
            total = total * shrink + tl.sum(weight_MN, 1)
            out_MD *= shrink[:, None]
            greatest = greater
        else:
            logit_MN = tl.where(visible, logit_MN, 0.0)
            weight_MN = logit_MN * tl.sigmoid(logit_MN)
        out_MD += tl.dot(weight_MN.to(v_ND.dtype), v_ND, input_precision=PRECISION)

    if SOFTMAX:
        out_MD /= total[:, None]
        tl.store(log_normaliser + (start + i) * num_heads + head, greatest + tl.log(total), mask=i < length)
    _store(out + (start * num_heads + head) * dim, out_MD * share, i, length, num_heads * dim, dim, BD)


@triton.jit(do_not_specialize=SIZES)
def pull_queries(  # type: ignore[no-untyped-def]
    q, k, v, blocks, sees, positions, times, moment, grad, out, log_normaliser, delta, dq, d_positions, d_times,
    stride_T, stride_H, num_heads, dim, num_positions, num_times, scale, inverse_unit, share,
    SOFTMAX: tl.constexpr, HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """The gradient of one block of queries, its part of the gradients of both tables, and delta = Σ out·grad for `pull_keys`."""
    start, length, first, head = _place(blocks)
    row, own = start * stride_T + head * stride_H, (start * num_heads + head) * dim
    q, k, v, positions, times = q + row, k + row, v + row, positions + head * num_positions, times + head * num_times
    i = first + tl.arange(0, BLOCK)
    sees_i = tl.load(sees + start + i, mask=i < length, other=0).to(tl.int32)
    if HAS_BIAS:
        moment_i = tl.load(moment + start + i, mask=i < length, other=0)

    q_MD = _load(q, i, length, stride_T, dim, BD)
    k_MD = _load(k, i, length, stride_T, dim, BD)
    v_MD = _load(v, i, length, stride_T, dim, BD)
    grad_MD = _load(grad + own, i, length, num_heads * dim, dim, BD)
    normaliser_i, delta_i = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    if SOFTMAX:
        statistic = (start + i) * num_heads + head
        normaliser_i = tl.load(log_normaliser + statistic, mask=i < length, other=0.0)
        delta_i = _dot_rows(grad_MD, _load(out + own, i, length, num_heads * dim, dim, BD))
        tl.store(delta + statistic, delta_i, mask=i < length)
    itself = _itself(q_MD, k_MD, scale, positions, times, HAS_BIAS)
    grad_i = _weigh(itself, _dot_rows(grad_MD, v_MD), i < length, normaliser_i, delta_i, SOFTMAX)[1]
    dq_MD = grad_i[:, None] * k_MD.to(tl.float32)
    place_total = tl.where(tl.arange(0, MOST_KNOTS) == 0, tl.sum(grad_i), 0.0)
    time_total = place_total

    seen = tl.max(sees_i)
    for n in range(0, seen, BLOCK):
        j = n + tl.arange(0, BLOCK)
        k_ND = _load(k, j, seen, stride_T, dim, BD)
        v_ND = _load(v, j, seen, stride_T, dim, BD)
        logit_MN = tl.dot(q_MD, tl.trans(k_ND), input_precision=PRECISION) * scale
        if HAS_BIAS:
            moment_j = tl.load(moment + start + j, mask=j < seen, other=0)[None, :]
            place_knot, time_knot = knots(sees_i[:, None], j[None, :], moment_i[:, None], moment_j, inverse_unit, num_positions, num_times)
            logit_MN += read(positions, place_knot, num_positions) + read(times, time_knot, num_times)
        pull_MN = tl.dot(grad_MD, tl.trans(v_ND), input_precision=PRECISION)
        visible = j[None, :] < sees_i[:, None]
        grad_MN = _weigh(logit_MN, pull_MN, visible, normaliser_i[:, None], delta_i[:, None], SOFTMAX)[1]
        if HAS_BIAS:
            place_total = spread(place_total, grad_MN, place_knot)
            time_total = spread(time_total, grad_MN, time_knot)
        dq_MD += tl.dot(grad_MN.to(k_ND.dtype), k_ND, input_precision=PRECISION)

    _store(dq + own, dq_MD * (scale * share), i, length, num_heads * dim, dim, BD)
    if HAS_BIAS:
        knot, part = tl.arange(0, MOST_KNOTS), tl.program_id(0) * num_heads + head
        tl.store(d_positions + part * num_positions + knot, place_total * share, mask=knot < num_positions)
        tl.store(d_times + part * num_times + knot, time_total * share, mask=knot < num_times)


@triton.jit(do_not_specialize=SIZES)
def pull_keys(  # type: ignore[no-untyped-def]
    q, k, v, blocks, sees, positions, times, moment, grad, log_normaliser, delta, dk, dv,
    stride_T, stride_H, num_heads, dim, num_positions, num_times, scale, inverse_unit, share,
    SOFTMAX: tl.constexpr, HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """The gradients of one block of keys and values: what is behind its first token in the row may see it."""
    start, length, first, head = _place(blocks)
    row, own = start * stride_T + head * stride_H, (start * num_heads + head) * dim
    q, k, v, positions, times = q + row, k + row, v + row, positions + head * num_positions, times + head * num_times
    grad, log_normaliser, delta = grad + own, log_normaliser + start * num_heads + head, delta + start * num_heads + head
    j = first + tl.arange(0, BLOCK)
    if HAS_BIAS:
        moment_j = tl.load(moment + start + j, mask=j < length, other=0)[:, None]

    k_ND = _load(k, j, length, stride_T, dim, BD)
    v_ND = _load(v, j, length, stride_T, dim, BD)
    q_ND = _load(q, j, length, stride_T, dim, BD)
    grad_ND = _load(grad, j, length, num_heads * dim, dim, BD)
    normaliser, of_out = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    if SOFTMAX:
        normaliser = tl.load(log_normaliser + j * num_heads, mask=j < length, other=0.0)
        of_out = tl.load(delta + j * num_heads, mask=j < length, other=0.0)
    itself = _itself(q_ND, k_ND, scale, positions, times, HAS_BIAS)
    weight_j, grad_j = _weigh(itself, _dot_rows(grad_ND, v_ND), j < length, normaliser, of_out, SOFTMAX)
    dk_ND = grad_j[:, None] * q_ND.to(tl.float32)
    dv_ND = weight_j[:, None] * grad_ND.to(tl.float32)

    for m in range(first, length, BLOCK):
        i = m + tl.arange(0, BLOCK)
        sees_i = tl.load(sees + start + i, mask=i < length, other=0).to(tl.int32)[None, :]
        q_MD = _load(q, i, length, stride_T, dim, BD)
        grad_MD = _load(grad, i, length, num_heads * dim, dim, BD)
        logit_NM = tl.dot(k_ND, tl.trans(q_MD), input_precision=PRECISION) * scale
        if HAS_BIAS:
            moment_i = tl.load(moment + start + i, mask=i < length, other=0)[None, :]
            place_knot, time_knot = knots(sees_i, j[:, None], moment_i, moment_j, inverse_unit, num_positions, num_times)
            logit_NM += read(positions, place_knot, num_positions) + read(times, time_knot, num_times)
        if SOFTMAX:
            normaliser = tl.load(log_normaliser + i * num_heads, mask=i < length, other=0.0)
            of_out = tl.load(delta + i * num_heads, mask=i < length, other=0.0)
        pull_NM = tl.dot(v_ND, tl.trans(grad_MD), input_precision=PRECISION)
        visible = j[:, None] < sees_i
        weight_NM, grad_NM = _weigh(logit_NM, pull_NM, visible, normaliser[None, :], of_out[None, :], SOFTMAX)
        dv_ND += tl.dot(weight_NM.to(grad_MD.dtype), grad_MD, input_precision=PRECISION)
        dk_ND += tl.dot(grad_NM.to(q_MD.dtype), q_MD, input_precision=PRECISION)

    _store(dk + own, dk_ND * (scale * share), j, length, num_heads * dim, dim, BD)
    _store(dv + own, dv_ND * share, j, length, num_heads * dim, dim, BD)


@triton.jit
def _place(blocks):  # type: ignore[no-untyped-def]
    """Of this program: its row's start in the batch and length, its block's first place in the row, and its head."""
    block = blocks + tl.program_id(0) * 3
    return tl.load(block), tl.load(block + 1).to(tl.int32), tl.load(block + 2).to(tl.int32), tl.program_id(1)


@triton.jit
def _load(x, place, length, stride, dim, BD: tl.constexpr):  # type: ignore[no-untyped-def]
    """These places of one row and head: [places, BD]; zeros from place `length` and from `dim` on."""
    d = tl.arange(0, BD)
    return tl.load(x + place[:, None] * stride + d[None, :], mask=(place[:, None] < length) & (d[None, :] < dim), other=0.0)


@triton.jit
def _store(x, value, place, length, stride, dim, BD: tl.constexpr):  # type: ignore[no-untyped-def]
    d = tl.arange(0, BD)
    mask = (place[:, None] < length) & (d[None, :] < dim)
    tl.store(x + place[:, None] * stride + d[None, :], value.to(x.dtype.element_ty), mask=mask)


@triton.jit
def _dot_rows(a, b):  # type: ignore[no-untyped-def]
    return tl.sum(a.to(tl.float32) * b.to(tl.float32), 1)


@triton.jit
def _itself(q, k, scale, positions, times, HAS_BIAS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The logit of each token with itself: no gap lies between."""
    logit = _dot_rows(q, k) * scale
    if HAS_BIAS:
        logit += tl.load(positions) + tl.load(times)
    return logit


@triton.jit
def _weigh(logit, pull, visible, log_normaliser, delta, SOFTMAX: tl.constexpr):  # type: ignore[no-untyped-def]
    """The weight of each pair and, where `pull` is the gradient of that weight, the gradient of its logit: zeros where not visible."""
    if SOFTMAX:
        weight = tl.exp(tl.where(visible, logit - log_normaliser, float("-inf")))
        grad = weight * (pull - delta)
    else:
        logit = tl.where(visible, logit, 0.0)
        open = tl.sigmoid(logit)
        weight = logit * open
        grad = pull * open * (1.0 + logit - weight)
    return weight, tl.where(visible, grad, 0.0)


def forward(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, sees: Tensor, positions: Tensor, times: Tensor, moment: Tensor, unit: float,
    norm: float | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The result [T, H, D] and the logarithm of each token's normaliser, float32 [T, H]; with `norm`, of SiLU weights, which have none."""
    inputs, sizes, grid, options = _prepare(q, k, v, offsets, sees, positions, times, moment, unit, norm)
    out = q.new_empty(inputs[0].shape)
    log_normaliser = q.new_empty(q.shape[:2] if norm is None else 0, dtype=torch.float32)
    attend[grid](*inputs, out, log_normaliser, *sizes, **options)
    return _narrow(out, q), log_normaliser


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, sees: Tensor, positions: Tensor, times: Tensor, moment: Tensor,
    out: Tensor, log_normaliser: Tensor, unit: float, norm: float | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k, v [T, H, D] and of both tables [H, P], [H, K]. With `norm`, `log_normaliser` is not read, nor is `out`."""
    inputs, sizes, grid, options = _prepare(q, k, v, offsets, sees, positions, times, moment, unit, norm)
    dq, dk, dv = (q.new_empty(inputs[0].shape) for _ in range(3))
    grad, out = _wide(grad), _wide(out)
    d_positions, d_times = (q.new_empty((grid[0], *table.shape), dtype=torch.float32) for table in (positions, times))
    delta = torch.empty_like(log_normaliser)
    pull_queries[grid](*inputs, grad, out, log_normaliser, delta, dq, d_positions, d_times, *sizes, **options)
    pull_keys[grid](*inputs, grad, log_normaliser, delta, dk, dv, *sizes, **options)
    dq, dk, dv = (_narrow(x, q) for x in (dq, dk, dv))
    of_times = d_times.sum(0).to(times.dtype) if len(moment) else torch.zeros_like(times)
    return dq, dk, dv, d_positions.sum(0).to(positions.dtype), of_times


def options_of(dim: int, dtype: torch.dtype, has_bias: bool, softmax: bool) -> dict[str, Any]:
    """What the kernels are compiled with for this head size.

    Rows are short, a shop's median is about 20 tokens: of a tile of 64 most would be masked. Heads are padded to 64 at least, for with 32
    the warps of such a tile repeat each other's work. Eight warps keep all within their registers, but for float32 heads of 128.
    """
    padded = 64 if dim <= 64 else 128
    block, num_warps = (16, 4) if dtype == torch.float32 and padded == 128 else (32, 8)
    return {"SOFTMAX": softmax, "HAS_BIAS": has_bias, "BLOCK": block, "BD": padded, "num_warps": num_warps, "num_stages": 2}


def blocks_of(offsets: Tensor, num_tokens: int, size: int) -> Tensor:
    """The start of each block's row, the row's length, and the block's first place in it: int64 [N, 3].

    N is the most blocks that so many tokens in so many rows can make, so that the device is not asked how many they are. What is left over
    lies behind the last row's end.
    """
    if offsets.shape[0] == 1:
        return offsets.new_empty(0, 3)
    lengths = offsets.diff()
    counts = (lengths + size - 1) // size
    ends = counts.cumsum(0)
    block = torch.arange(num_tokens // size + len(lengths), device=offsets.device)
    row = torch.searchsorted(ends, block, right=True).clamp(max=len(lengths) - 1)
    return torch.stack([offsets[row], lengths[row], (block - ends[row] + counts[row]) * size], 1)


def _prepare(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, sees: Tensor, positions: Tensor, times: Tensor, moment: Tensor, unit: float,
    norm: float | None,
) -> tuple[tuple[Tensor, ...], tuple[float, ...], tuple[int, int], dict[str, Any]]:  # fmt: skip
    """What every kernel takes: tensors first, numbers last; the grid; the options."""
    num_tokens, num_heads, dim = q.shape
    num_positions, num_times = positions.shape[1], times.shape[1]
    if q.dtype not in (torch.float32, torch.bfloat16) or not q.dtype == k.dtype == v.dtype or dim > 128:
        raise ValueError(f"expected q, k, v in float32 or bfloat16, heads of at most 128; received {q.dtype}, {k.dtype}, {v.dtype}, {dim}")
    if max(num_positions, num_times) > MOST_KNOTS.value:
        raise ValueError(f"expected tables of at most {MOST_KNOTS.value} knots; received {num_positions} and {num_times}")
    q, k, v = _wide(q), _wide(k), _wide(v)
    alike = q.stride() == k.stride() == v.stride() and q.stride(2) == 1 and q.stride(0) % 16 == q.stride(1) % 16 == 0
    if not alike:  # parts of one packed tensor are, and stay where they are
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    options = options_of(dim, q.dtype, num_positions > 0, norm is None)
    blocks = blocks_of(offsets, num_tokens, options["BLOCK"])
    if not len(moment):  # no time between any two tokens, and nothing that it says
        times, moment = torch.zeros_like(times), torch.zeros_like(sees)
    tables = positions.float().contiguous(), times.float().contiguous()
    share = 1.0 if norm is None else 1.0 / norm
    sizes = (q.stride(0), q.stride(1), num_heads, q.shape[2], num_positions, num_times, dim**-0.5, 1.0 / unit, share)
    return (q, k, v, blocks, sees.contiguous(), *tables, moment.contiguous()), sizes, (len(blocks), num_heads), options


def _wide(x: Tensor) -> Tensor:
    """Zeros behind heads that are no multiple of 16, so that every load is a wide one, compiled for no other size."""
    spare = -x.shape[-1] % 16
    return F.pad(x, (0, spare)) if spare else x


def _narrow(x: Tensor, like: Tensor) -> Tensor:
    return x[..., : like.shape[-1]].contiguous()


def launches(softmax: bool = True) -> list[Launch]:
    """Every kernel in float32 and bfloat16, for every padded head size, with and without tables."""
    choices = itertools.product((attend, pull_queries, pull_keys), (torch.float32, torch.bfloat16), (64, 128), (False, True))
    return [_launch(kernel, dtype, dim, has_bias, softmax) for kernel, dtype, dim, has_bias in choices]


def _launch(kernel: Any, dtype: torch.dtype, dim: int, has_bias: bool, softmax: bool) -> Launch:
    constexprs = options_of(dim, dtype, has_bias, softmax)
    num_warps, num_stages = constexprs.pop("num_warps"), constexprs.pop("num_stages")
    number = {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]
    type_of = {
        **dict.fromkeys(("q", "k", "v", "grad", "out", "dq", "dk", "dv"), f"*{number}"),
        **dict.fromkeys(("positions", "times", "log_normaliser", "delta", "d_positions", "d_times"), "*fp32"),
        **dict.fromkeys(("blocks", "sees", "moment"), "*i64"),
        **dict.fromkeys(("stride_T", "stride_H", "dim", *SIZES), "i32"),
        **dict.fromkeys(("scale", "inverse_unit", "share"), "fp32"),
        **dict.fromkeys(constexprs, "constexpr"),
    }
    signature = {name: type_of[name] for name in inspect.signature(kernel.fn).parameters}
    divisible = tuple(name for name, kind in signature.items() if kind.startswith("*") or name in ("stride_T", "stride_H", "dim"))
    name = f"{kernel.__name__}-{number}-{dim}{'-bias' if has_bias else ''}"
    return Launch(name, kernel, signature, constexprs, num_warps, num_stages, tensor_cores=True, divisible=divisible)
