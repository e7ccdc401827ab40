"""The kernels of ragged SiLU attention against the specification. They are those of softmax attention: what both share is tried there."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from helpers_attention import NORM, Rows, assert_same_results, poisoned, results, rows_of, silu_attention
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import hstu_attention, jagged_attention

fused = pytest.importorskip("kernels.jagged_attention.fused", reason="needs Triton")
interpreted = pytest.mark.skipif(torch.cuda.is_available(), reason="the interpreter is for machines without a card; the gpu tests run here")

ERROR = {"rtol": 1e-4, "atol": 2e-5}  # float32 beside float64, over sums of up to 1025 products


@pytest.fixture(autouse=True)
def _poisoned() -> Iterator[None]:
    with poisoned():
        yield


def assert_fused_is_the_specification(rows: Rows) -> None:
    expected = [x.to(torch.float32) for x in results(silu_attention, rows, "reference")]
    assert_same_results(results(silu_attention, rows.to(torch.float32), "fused"), expected, **ERROR)


@interpreted
@pytest.mark.parametrize("lengths", [[0, 2, 0, 5, 0], [63, 1, 200]], ids=["empty rows first, between and last", "1, 63 and 200"])
def test_fused_is_the_specification(lengths: list[int]) -> None:
    assert_fused_is_the_specification(rows_of(lengths, heads=1))


@interpreted
@pytest.mark.parametrize("gaps", [True, False], ids=["gaps", "no gaps"])
@pytest.mark.parametrize("dim", [32, 50, 64, 128])
def test_fused_for_every_width(dim: int, gaps: bool) -> None:
    assert_fused_is_the_specification(rows_of([35, 0, 1], heads=1, dim=dim, gaps=gaps))


@interpreted
def test_fused_on_a_long_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """In larger tiles than a card would take: the interpreter's time goes by their number."""
    options_of = fused.options_of
    monkeypatch.setattr(fused, "options_of", lambda *arguments: options_of(*arguments) | {"BLOCK": 256})
    assert_fused_is_the_specification(rows_of([1025], heads=1))


@interpreted
@settings(max_examples=4, deadline=None, derandomize=True, database=None)
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=3), dim=st.integers(1, 40), gaps=st.booleans(), questions=st.booleans())
def test_fused_on_any_rows(lengths: list[int], dim: int, gaps: bool, questions: bool) -> None:
    assert_fused_is_the_specification(rows_of(lengths, heads=1, dim=dim, gaps=gaps, questions=questions, seed=sum(lengths)))


@interpreted
@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # of the hidden step's logit with itself
def test_later_steps_change_nothing() -> None:
    rows = rows_of([34], heads=1, questions=False, dtype=torch.float32)
    k, v = (x.index_fill(0, torch.tensor([33]), 1e30) for x in (rows.k, rows.v))
    grad = torch.ones_like(rows.q).index_fill(0, torch.tensor([33]), 0.0)
    plain = results(silu_attention, rows, "fused", grad=grad)
    other = results(silu_attention, replace(rows, k=k, v=v), "fused", grad=grad)
    assert other[0][:33].equal(plain[0][:33])
    for one, same in zip(other[1:4], plain[1:4], strict=True):
        assert one[:33].equal(same[:33])


@interpreted
def test_twice_is_the_same_to_the_last_bit() -> None:
    rows = rows_of([50, 3], heads=1, dtype=torch.float32)
    for one, other in zip(results(silu_attention, rows, "fused"), results(silu_attention, rows, "fused"), strict=True):
        assert one.equal(other)


@interpreted
def test_opcheck() -> None:
    rows = rows_of([3, 0, 5], heads=1, dtype=torch.float32)
    torch.library.opcheck(hstu_attention._forward, (*arguments_of(rows), NORM, "fused"))


def arguments_of(rows: Rows) -> list[Tensor | float]:
    arguments = [rows.q, rows.k, rows.v, rows.offsets, rows.sees, *jagged_attention.tensors_of(rows.gaps, rows.q)]
    return [x.requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x for x in arguments]


# On a card


@pytest.mark.gpu
@pytest.mark.parametrize("gaps", [True, False], ids=["gaps", "no gaps"])
@pytest.mark.parametrize("dim", [32, 50, 64, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_card_is_as_good_as_plain_torch(dtype: torch.dtype, dim: int, gaps: bool) -> None:
    """Three times the error of the specification in the same type is allowed, and some units of the last digit where it has none."""
    rows = rows_of([63, 0, 200, 1, 1025], dim=dim, gaps=gaps)
    exact = results(silu_attention, rows, "reference")
    given = on_card(rows.to(dtype))
    ours, plain = (results(silu_attention, given, path) for path in ("fused", "reference"))
    for one, other, truth in zip(ours, plain, exact, strict=True):
        allowed = 3 * (other.cpu().double() - truth).abs().amax() + 8 * torch.finfo(dtype).eps * truth.abs().amax()
        assert (one.cpu().double() - truth).abs().amax() <= allowed


@pytest.mark.gpu
def test_opcheck_on_a_card() -> None:
    rows = on_card(rows_of([3, 0, 70], dim=32, dtype=torch.bfloat16))
    torch.library.opcheck(hstu_attention._forward, (*arguments_of(rows), NORM, "fused"))


def on_card(rows: Rows) -> Rows:
    rows = rows.with_leaves([x.cuda() for x in rows.leaves()])
    return replace(rows, offsets=rows.offsets.cuda(), sees=rows.sees.cuda(), moment=rows.moment.cuda())
