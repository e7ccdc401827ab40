"""The kernels of ragged softmax attention, in Triton's interpreter or on a card, against the specification: outputs and every gradient.

What both attentions share (the walk over tiles, the tables, who sees whom) is tried here; `test_kernels_hstu_attention_fused.py` tries what
is its own.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from helpers_attention import (
    LENGTHS,
    Rows,
    assert_same_results,
    assert_unseen_changes_nothing,
    poisoned,
    results,
    rows_of,
    softmax_attention,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import dispatch, jagged_attention

fused = pytest.importorskip("kernels.jagged_attention.fused", reason="needs Triton")
interpreted = pytest.mark.skipif(torch.cuda.is_available(), reason="the interpreter is for machines without a card; the gpu tests run here")

ERROR = {"rtol": 1e-4, "atol": 2e-5}  # float32 beside float64, over sums of up to 1025 products


@pytest.fixture(autouse=True)
def _poisoned() -> Iterator[None]:
    with poisoned():
        yield


def assert_fused_is_the_specification(rows: Rows) -> None:
    expected = [x.to(torch.float32) for x in results(softmax_attention, rows, "reference")]
    assert_same_results(results(softmax_attention, rows.to(torch.float32), "fused"), expected, **ERROR)


@interpreted
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
def test_fused_is_the_specification(lengths: list[int]) -> None:
    assert_fused_is_the_specification(rows_of(lengths, heads=1))


@interpreted
@pytest.mark.parametrize("gaps", [True, False], ids=["gaps", "no gaps"])
@pytest.mark.parametrize("dim", [32, 50, 64, 128])
def test_fused_for_every_width(dim: int, gaps: bool) -> None:
    assert_fused_is_the_specification(rows_of([35, 0, 1], heads=1, dim=dim, gaps=gaps))


@interpreted
def test_fused_with_steps_alone() -> None:
    assert_fused_is_the_specification(rows_of([40, 3], questions=False))


@interpreted
def test_fused_without_moments() -> None:
    assert_fused_is_the_specification(replace(rows_of([36, 5]), moment=None))


@interpreted
def test_fused_on_a_long_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """In larger tiles than a card would take: the interpreter's time goes by their number."""
    options_of = fused.options_of
    monkeypatch.setattr(fused, "options_of", lambda *arguments: options_of(*arguments) | {"BLOCK": 256})
    assert_fused_is_the_specification(rows_of([1025], heads=1))


@interpreted
@settings(max_examples=5, deadline=None, derandomize=True, database=None)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    dim=st.integers(1, 40),
    gaps=st.booleans(),
    questions=st.booleans(),
)
def test_fused_on_any_rows(lengths: list[int], dim: int, gaps: bool, questions: bool) -> None:
    assert_fused_is_the_specification(rows_of(lengths, heads=1, dim=dim, gaps=gaps, questions=questions, seed=sum(lengths)))


@interpreted
def test_a_batch_of_no_rows() -> None:
    assert [x.shape for x in results(softmax_attention, rows_of([], dtype=torch.float32), "fused")] == [(0, 2, 4)] * 4 + [(2, 5), (2, 7)]


@interpreted
def test_parts_of_one_packed_tensor_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of([33, 4], dim=16, gaps=False, dtype=torch.float32)
    q, k, v = torch.stack([rows.q, rows.k, rows.v], 1).unbind(1)
    expected = results(softmax_attention, rows, "fused")[0]
    monkeypatch.setattr(Tensor, "contiguous", lambda x: x if x.is_contiguous() else pytest.fail("copied"))
    with dispatch.using("fused"):
        assert softmax_attention(replace(rows, q=q, k=k, v=v)).equal(expected)


@interpreted
def test_strides_that_differ_are_read_rightly() -> None:
    rows = rows_of([33, 4], dim=16, gaps=False, dtype=torch.float32)
    v = torch.cat([rows.v, rows.v], -1)[..., :16]
    with dispatch.using("fused"):
        assert softmax_attention(replace(rows, v=v)).equal(softmax_attention(rows))


@interpreted
def test_what_is_not_seen_changes_nothing() -> None:
    """Later steps and other questions may hold anything, to the last bit of every output and gradient."""
    rows = rows_of([12, 40], heads=1, dtype=torch.float32)
    assert_unseen_changes_nothing(softmax_attention, "fused", rows, [3, 48])  # a step, and a question


@interpreted
def test_nan_stays_where_it_is() -> None:
    """In a row among rows: everywhere else nothing changes. In a question: the row's steps are what they were."""
    rows = rows_of([6, 7, 6], gaps=False, dtype=torch.float32)
    plain = results(softmax_attention, rows, "fused")
    spoilt = rows.with_leaves([x.index_fill(0, torch.arange(6, 13), torch.nan) for x in rows.leaves()])
    for one, same in zip(results(softmax_attention, spoilt, "fused"), plain, strict=True):
        assert one[:6].equal(same[:6])
        assert one[13:].equal(same[13:])
    question = rows.with_leaves([x.index_fill(0, torch.tensor([18]), torch.nan) for x in rows.leaves()])
    assert results(softmax_attention, question, "fused")[0][:18].equal(plain[0][:18])


@interpreted
def test_twice_is_the_same_to_the_last_bit() -> None:
    rows = rows_of([50, 3], heads=1, dtype=torch.float32)
    for one, other in zip(results(softmax_attention, rows, "fused"), results(softmax_attention, rows, "fused"), strict=True):
        assert one.equal(other)


@pytest.mark.parametrize("lengths", [[1], [0, 0], [0, 31, 32, 33, 0], [64, 1, 100]])
@pytest.mark.parametrize("size", [16, 32])
def test_blocks_hold_every_token_once(lengths: list[int], size: int) -> None:
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    blocks = fused.blocks_of(offsets, sum(lengths), size)
    tokens = [start + place for start, length, first in blocks.tolist() for place in range(first, min(first + size, length))]
    assert sorted(tokens) == [*range(sum(lengths))]


@interpreted
def test_opcheck() -> None:
    rows = rows_of([3, 0, 5], heads=1, dtype=torch.float32)
    torch.library.opcheck(jagged_attention._forward, (*arguments_of(rows), "fused"))


@interpreted
def test_what_the_kernels_do_not_take_is_refused() -> None:
    rows = rows_of([3], dim=129, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"heads of at most 128; received .* 129"), dispatch.using("fused"):
        softmax_attention(rows)
    with pytest.raises(ValueError, match=r"expected q, k, v in float32 or bfloat16, .* received torch.float64"), dispatch.using("fused"):
        softmax_attention(rows_of([3]))
    with pytest.raises(ValueError, match="at most 64 knots; received 65 and 7"), dispatch.using("fused"):
        softmax_attention(replace(rows_of([3], dtype=torch.float32), positions=torch.zeros(2, 65)))


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
    exact = results(softmax_attention, rows, "reference")
    given = on_card(rows.to(dtype))
    ours, plain = (results(softmax_attention, given, path) for path in ("fused", "reference"))
    for one, other, truth in zip(ours, plain, exact, strict=True):
        allowed = 3 * (other.cpu().double() - truth).abs().amax() + 8 * torch.finfo(dtype).eps * truth.abs().amax()
        assert (one.cpu().double() - truth).abs().amax() <= allowed


@pytest.mark.gpu
def test_opcheck_on_a_card() -> None:
    rows = on_card(rows_of([3, 0, 70], dim=32, dtype=torch.bfloat16))
    torch.library.opcheck(jagged_attention._forward, (*arguments_of(rows), "fused"))


def on_card(rows: Rows) -> Rows:
    rows = rows.with_leaves([x.cuda() for x in rows.leaves()])
    return replace(rows, offsets=rows.offsets.cuda(), sees=rows.sees.cuda(), moment=rows.moment.cuda())
