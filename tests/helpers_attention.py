"""Batches that break attention over ragged rows, and both operators on them, outputs and every gradient."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels import dispatch, ragged
from kernels.gap_bias import HOUR, GapTables
from kernels.hstu_attention import hstu_attention
from kernels.jagged_attention import jagged_attention

NORM = 7.0
GARBAGE = 1e30
LENGTHS = {
    "one token": [1],
    "empty rows first, between and last": [0, 2, 0, 0, 5, 0],
    "all empty": [0, 0, 0],
    "one long among short": [1, 3, 200, 1, 2],
    "1, 63 and 200": [63, 1, 200],
}


@dataclass(frozen=True)
class Rows:
    """Arguments of the operators. positions and times None: no bias. moment None: only that of places."""

    q: Tensor
    k: Tensor
    v: Tensor
    offsets: Tensor
    sees: Tensor | None
    moment: Tensor | None
    positions: Tensor | None
    times: Tensor | None

    def leaves(self) -> list[Tensor]:
        return [x for x in (self.q, self.k, self.v, self.positions, self.times) if x is not None]

    def with_leaves(self, leaves: list[Tensor]) -> "Rows":
        names = ("q", "k", "v", "positions", "times")[: len(leaves)]
        return replace(self, **dict(zip(names, leaves, strict=True)))

    def to(self, dtype: torch.dtype) -> "Rows":
        return self.with_leaves([x.to(dtype) for x in self.leaves()])

    @property
    def gaps(self) -> GapTables | None:
        return GapTables(self.positions, self.times, self.moment, HOUR) if self.positions is not None and self.times is not None else None


def rows_of(
    lengths: list[int],
    *,
    heads: int = 2,
    dim: int = 4,
    gaps: bool = True,
    questions: bool = True,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Rows:
    """Random rows; with `questions` about the last third of each are questions, each about another moment; moments some days apart."""
    generator = torch.Generator().manual_seed(seed)
    offsets = ragged.offsets_of_lengths(torch.tensor(lengths, dtype=torch.int64))
    size, sees, moment = sum(lengths), [], [torch.empty(0, dtype=torch.int64)]
    for length in lengths:
        num_steps = length - length // 3
        steps, asked = torch.arange(num_steps), torch.randint(0, num_steps + 1, (length - num_steps,), generator=generator)
        sees += [steps, asked] if questions else [torch.arange(length)]
        moment.append(torch.randint(0, 400 * HOUR, (length,), generator=generator).sort().values)
    q, k, v = (torch.randn(size, heads, dim, generator=generator, dtype=torch.float64) for _ in range(3))
    tables = [torch.randn(heads, knots, generator=generator, dtype=torch.float64) for knots in (5, 7)] if gaps else [None, None]
    rows = Rows(q, k, v, offsets, torch.cat(sees) if sees else torch.empty(0, dtype=torch.int64), torch.cat(moment), *tables)
    return rows.to(dtype)


def softmax_attention(rows: Rows) -> Tensor:
    return jagged_attention(rows.q, rows.k, rows.v, rows.offsets, sees=rows.sees, gaps=rows.gaps)


def silu_attention(rows: Rows) -> Tensor:
    return hstu_attention(rows.q, rows.k, rows.v, rows.offsets, norm=NORM, sees=rows.sees, gaps=rows.gaps)


Attention = Callable[[Rows], Tensor]
OPERATORS: dict[str, Attention] = {"jagged_attention": softmax_attention, "hstu_attention": silu_attention}
WEIGH = {"jagged_attention": lambda logits: logits.softmax(0), "hstu_attention": lambda logits: F.silu(logits) / NORM}


def results(attention: Attention, rows: Rows, path: str, *, grad: Tensor | None = None) -> list[Tensor]:
    """The output, then the gradient of every leaf for a fixed random gradient of the output."""
    leaves = [x.detach().clone().requires_grad_() for x in rows.leaves()]
    if grad is None:
        grad = torch.randn(rows.q.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(rows.q.dtype)
    with dispatch.using(path):
        out = attention(rows.with_leaves(leaves))
        return [out.detach(), *torch.autograd.grad(out, leaves, grad, materialize_grads=True)]


def assert_same_results(ours: list[Tensor], theirs: list[Tensor], *, rtol: float = 1e-9, atol: float = 1e-9) -> None:
    for name, one, other in zip(("out", "q", "k", "v", "positions", "times"), ours, theirs, strict=False):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol, msg=lambda message, name=name: f"{name}: {message}")


def token_by_token(operator: str, rows: Rows) -> Tensor:
    """The definition, a token and a head at a time."""
    out = [torch.empty(0, *rows.q.shape[1:], dtype=rows.q.dtype)]
    for start, stop in pairwise(rows.offsets.tolist()):
        for i in range(start, stop):
            seen = i - start if rows.sees is None else int(rows.sees[i])
            visible = sorted({*range(start, start + seen), i})
            heads = [_one(operator, rows, head, i, visible, seen + start) for head in range(rows.q.shape[1])]
            out.append(torch.stack(heads)[None])
    return torch.cat(out)


def _one(operator: str, rows: Rows, head: int, i: int, visible: list[int], end: int) -> Tensor:
    logits = []
    for j in visible:
        logit = rows.q[i, head] @ rows.k[j, head] / rows.q.shape[-1] ** 0.5
        if rows.gaps is not None:
            logit = logit + _line(rows.gaps.positions[head], 0 if j == i else end - j)
        if rows.gaps is not None and rows.moment is not None:
            logit = logit + _line(rows.gaps.times[head], max(0, int(rows.moment[i] - rows.moment[j])) / rows.gaps.unit)
        logits.append(logit)
    return WEIGH[operator](torch.stack(logits)) @ rows.v[visible, head]


def _line(table: Tensor, gap: float) -> Tensor:
    """The table at log2(1 + gap)."""
    place = min(torch.tensor(1.0 + gap, dtype=torch.float64).log2().item(), len(table) - 1)
    below = min(int(place), len(table) - 2)
    return table[below] + (table[below + 1] - table[below]) * (place - below)


def assert_unseen_changes_nothing(attention: Attention, path: str, rows: Rows, tokens: Iterable[int]) -> None:
    """Keys and values that a token does not see may be anything, to the last bit of its output and of every gradient that it gives."""
    assert rows.sees is not None
    for token in tokens:
        start = int(rows.offsets[rows.offsets <= token][-1])
        seen = torch.zeros(len(rows.q), dtype=torch.bool)
        seen[start : start + int(rows.sees[token])] = True
        seen[token] = True
        grad = torch.zeros_like(rows.q)
        grad[token] = 1.0
        k, v = (x.masked_fill(~seen[:, None, None], GARBAGE) for x in (rows.k, rows.v))
        plain, other = results(attention, rows, path, grad=grad), results(attention, replace(rows, k=k, v=v), path, grad=grad)
        assert other[0][token].equal(plain[0][token])
        for one, same in zip(other[1:], plain[1:], strict=True):
            assert one.equal(same)


@contextmanager
def poisoned() -> Iterator[None]:
    """Memory that was not written to reads as NaN, and an operation whose result could differ from run to run raises."""
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory
        assert torch.empty(1).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(False)
