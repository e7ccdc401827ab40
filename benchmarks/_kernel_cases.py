"""The jobs on which operators are priced: our call, the plain PyTorch expression of the same maths, and what else a card offers."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels import dispatch, ragged
from kernels.feed_forward import feed_forward
from kernels.gap_bias import HOUR, GapTables
from kernels.hstu_attention import hstu_attention
from kernels.jagged_attention import jagged_attention
from kernels.linear_cross_entropy import linear_cross_entropy
from kernels.topk_inner_product import topk_inner_product

Run = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """The two programs. operations, bytes: what the maths must do and move at the least, each input read and each result written once."""

    operations: float
    bytes: float
    ours: Run
    plain: Run
    on_cards: dict[str, Run] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What is priced. `make` is called only when it is measured: a large job should not lie in memory beside the others."""

    name: str
    operator: str
    make: Callable[[], Case]


def jobs(device: str) -> list[Job]:
    """All jobs, on tensors of `device`."""
    return [
        Job("cross entropy, 12,101 items", "linear_cross_entropy", lambda: _cross_entropy(12_101, device)),
        Job("cross entropy, 100,000 items", "linear_cross_entropy", lambda: _cross_entropy(100_000, device)),
        Job("softmax attention", "jagged_attention", lambda: _attention(device, biased=False)),
        Job("softmax attention, biased", "jagged_attention", lambda: _attention(device, biased=True)),
        Job("SiLU attention", "hstu_attention", lambda: _hstu(device, biased=False)),
        Job("SiLU attention, biased", "hstu_attention", lambda: _hstu(device, biased=True)),
        Job("feed-forward layers", "feed_forward", lambda: _feed_forward(device)),
        Job("top 100 of 1,000,000", "topk_inner_product", lambda: _top(1_000_000, device)),
    ]


def _cross_entropy(num_items: int, device: str, *, num_rows: int = 4096, dim: int = 64) -> Case:
    x, weight, bias = (0.3 * torch.randn(*shape, device=device) for shape in ((num_rows, dim), (num_items, dim), (num_items,)))
    target = torch.randint(num_items, (num_rows,), device=device)
    leaves = [tensor.requires_grad_() for tensor in (x, weight, bias)]

    def plain() -> Tensor:
        return F.cross_entropy(F.linear(x, weight, bias), target)

    others = {"torch.compile": _trained(torch.compile(plain), leaves)}
    if importlib.util.find_spec("liger_kernel"):
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        liger = LigerFusedLinearCrossEntropyLoss()
        others["Liger"] = _trained(lambda: liger(weight, x, target, bias), leaves)
    return Case(
        operations=3 * 2 * num_rows * num_items * dim,
        bytes=4 * 2 * sum(tensor.numel() for tensor in leaves),
        ours=_trained(lambda: linear_cross_entropy(x, weight, target, bias=bias, reduction="mean"), leaves),
        plain=_trained(plain, leaves),
        on_cards=others,
    )


def _feed_forward(device: str, *, num_tokens: int = 8192, dim: int = 64) -> Case:
    shapes = (num_tokens, dim), (4 * dim, dim), (4 * dim,), (dim, 4 * dim), (dim,)
    x, inner, inner_bias, outer, outer_bias = leaves = [torch.randn(shape, device=device).div_(8).requires_grad_() for shape in shapes]

    def plain() -> Tensor:
        return F.linear(F.dropout(F.gelu(F.linear(x, inner, inner_bias)), 0.2), outer, outer_bias).sum()

    return Case(
        operations=3 * 2 * 2 * num_tokens * 4 * dim**2,
        bytes=4 * 2 * sum(tensor.numel() for tensor in leaves),
        ours=_trained(lambda: feed_forward(x, inner, inner_bias, outer, outer_bias, dropped=51, seed=1).sum(), leaves),
        plain=_trained(plain, leaves),
    )


@dataclass(frozen=True)
class Rows:
    """Ragged queries, keys and values [T, H, D] of a realistic mix of lengths: median 20, longest 200."""

    q: Tensor
    k: Tensor
    v: Tensor
    offsets: Tensor
    gaps: GapTables | None

    @property
    def leaves(self) -> list[Tensor]:
        return [self.q, self.k, self.v, *((self.gaps.positions, self.gaps.times) if self.gaps else ())]

    @property
    def pairs(self) -> float:
        """How many pairs of tokens see each other, over all heads."""
        lengths = self.offsets.diff().to(torch.float64)
        return float((lengths * (lengths + 1) / 2).sum()) * self.q.shape[1]


def _rows(device: str, *, biased: bool, num_rows: int = 256, heads: int = 2, dim: int = 32) -> Rows:
    lengths = torch.exp(torch.randn(num_rows) * 0.9 + 3.0).clamp(1, 200).to(torch.int64)
    lengths[0] = 200
    offsets = ragged.offsets_of_lengths(lengths)
    size = int(offsets[-1])
    q, k, v = (torch.randn(size, heads, dim, device=device, requires_grad=True) for _ in range(3))
    moment = torch.rand(size).cumsum(0).mul(30 * HOUR).to(torch.int64).to(device)
    positions, times = (torch.randn(heads, knots, device=device, requires_grad=True) for knots in (12, 16))
    return Rows(q, k, v, offsets.to(device), GapTables(positions, times, moment) if biased else None)


def _attention(device: str, *, biased: bool) -> Case:
    rows = _rows(device, biased=biased)

    def plain() -> Tensor:
        if biased:
            with dispatch.using("reference"):
                return jagged_attention(rows.q, rows.k, rows.v, rows.offsets, gaps=rows.gaps).sum()
        q, k, v = (ragged.pad(x, rows.offsets, 200).transpose(1, 2) for x in (rows.q, rows.k, rows.v))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return ragged.unpad(out.transpose(1, 2), rows.offsets, len(rows.q)).sum()

    def ours() -> Tensor:
        return jagged_attention(rows.q, rows.k, rows.v, rows.offsets, gaps=rows.gaps).sum()

    others = {} if biased else {"FlashAttention, half precision": _flash(rows)}
    return _attention_case(rows, ours, plain, others)


def _hstu(device: str, *, biased: bool) -> Case:
    rows = _rows(device, biased=biased)

    def ours() -> Tensor:
        return hstu_attention(rows.q, rows.k, rows.v, rows.offsets, gaps=rows.gaps, norm=200.0).sum()

    def plain() -> Tensor:
        with dispatch.using("reference"):
            return ours()

    return _attention_case(rows, ours, plain, {})


def _attention_case(rows: Rows, ours: Any, plain: Any, others: dict[str, Run]) -> Case:
    """Two matrix products forward and, since the weights are computed again, five backward, each over the pairs that see each other."""
    return Case(
        operations=7 * 2 * rows.pairs * rows.q.shape[-1],
        bytes=4 * rows.q.numel() * (4 + 8),
        ours=_trained(ours, rows.leaves),
        plain=_trained(plain, rows.leaves),
        on_cards={"torch.compile": _trained(torch.compile(plain), rows.leaves), **others},
    )


def _flash(rows: Rows) -> Run:
    """PyTorch's FlashAttention over rows of different lengths: it takes half precision only, and no bias."""

    def run() -> Tensor:
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (x.to(torch.bfloat16) for x in (rows.q, rows.k, rows.v))
        offsets = rows.offsets.to(torch.int32)
        attended = varlen_attn(q, k, v, offsets, offsets, 200, 200, window_size=(-1, 0))  # which is to say causal
        assert isinstance(attended, Tensor)
        return attended.sum()

    return _trained(run, rows.leaves)


def _top(num_items: int, device: str, *, num_queries: int = 256, dim: int = 64, k: int = 100) -> Case:
    queries, items = torch.randn(num_queries, dim, device=device), torch.randn(num_items, dim, device=device)

    def plain() -> object:
        return torch.topk(queries @ items.T, k)

    return Case(
        operations=2 * num_queries * num_items * dim,
        bytes=4 * (queries.numel() + items.numel()) + num_queries * k * 12,
        ours=lambda: topk_inner_product(queries, items, k),
        plain=plain,
        on_cards={"torch.compile": torch.compile(plain)},
    )


def _trained(loss: Callable[[], Tensor], leaves: list[Tensor]) -> Run:
    """Forward and backward."""
    return lambda: torch.autograd.grad(loss(), leaves)
