"""Softmax attention in C: against the specification, and what holds for every path."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from helpers_attention import (
    LENGTHS,
    Rows,
    assert_unseen_changes_nothing,
    poisoned,
    results,
    rows_of,
    softmax_attention,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import dispatch, jagged_attention, native
from kernels.jagged_attention import compiled

pytestmark = pytest.mark.skipif(
    not native.suits("jagged_attention", torch.float32), reason="no C compiler is found: the path does not exist here"
)
searched = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@pytest.fixture(autouse=True)
def _poisoned() -> Iterator[None]:
    with poisoned():
        yield


def assert_as_good_as_torch(rows: Rows) -> None:
    """Of each result the error against float64 is at most twice that of plain torch in float32, or a few units of the last digit."""
    exact = results(softmax_attention, rows, "reference")
    ours, plain = (results(softmax_attention, rows.to(torch.float32), path) for path in ("compiled", "reference"))
    for one, other, truth in zip(ours, plain, exact, strict=True):
        assert (one.dtype, one.shape) == (torch.float32, truth.shape)
        if truth.numel():
            allowed = 2 * (other - truth).abs().amax() + 4e-6 * max(1.0, truth.abs().amax())
            assert (one - truth).abs().amax() <= allowed


@pytest.mark.parametrize("known", ["places and times", "places", "nothing"])
@pytest.mark.parametrize("questions", [True, False], ids=["questions", "steps alone"])
@pytest.mark.parametrize("lengths", [*LENGTHS.values(), [1025, 2]], ids=[*LENGTHS, "very long"])
def test_it_is_the_specification(lengths: list[int], questions: bool, known: str) -> None:
    rows = rows_of(lengths, questions=questions, gaps=known != "nothing")
    assert_as_good_as_torch(rows if known == "places and times" else replace(rows, moment=None))


@pytest.mark.parametrize("dim", [1, 16, 32, 50, 64, 128, 200])
@pytest.mark.parametrize("heads", [1, 3])
def test_every_width(heads: int, dim: int) -> None:
    assert_as_good_as_torch(rows_of([9, 40, 0, 11], heads=heads, dim=dim))


@searched
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    heads=st.integers(1, 3),
    dim=st.integers(1, 40),
    gaps=st.booleans(),
    questions=st.booleans(),
)
def test_any_rows(lengths: list[int], heads: int, dim: int, gaps: bool, questions: bool) -> None:
    assert_as_good_as_torch(rows_of(lengths, heads=heads, dim=dim, gaps=gaps, questions=questions, seed=sum(lengths)))


def test_more_rows_than_groups() -> None:
    assert_as_good_as_torch(rows_of([n % 7 for n in range(3 * compiled.GROUPS)]))


def test_logits_far_apart() -> None:
    """Weights too small for a float32 count as none; the largest logit may be anywhere."""
    rows = rows_of([30, 7], dim=32)
    assert_as_good_as_torch(replace(rows, q=20 * rows.q, moment=None, positions=None, times=None))


def test_a_batch_of_no_rows() -> None:
    assert [x.shape for x in results(softmax_attention, rows_of([], dtype=torch.float32), "compiled")] == [(0, 2, 4)] * 4 + [(2, 5), (2, 7)]


def test_parts_of_one_projection_are_read_in_place() -> None:
    rows = rows_of([4, 9], dim=5, dtype=torch.float32)
    q, k, v = (x.unflatten(-1, (2, 5)) for x in torch.cat([x.flatten(1) for x in (rows.q, rows.k, rows.v)], -1).chunk(3, -1))
    assert not q.is_contiguous()
    with dispatch.using("compiled"):
        assert softmax_attention(replace(rows, q=q, k=k, v=v)).equal(softmax_attention(rows))


def test_any_number_of_threads_gives_the_same_bits() -> None:
    rows = rows_of([200, 3, 90, 90, 17], dim=32, dtype=torch.float32)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = results(softmax_attention, rows, "compiled")
        torch.set_num_threads(2)
        together = results(softmax_attention, rows, "compiled")
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(alone, together, strict=True):
        assert one.equal(other)


def test_what_is_not_seen_changes_nothing() -> None:
    """Later steps, other questions."""
    tokens = (0, 3, 7, 11, 12, 40, 66, 81)
    assert_unseen_changes_nothing(softmax_attention, "compiled", rows_of([12, 70], dtype=torch.float32), tokens)


def test_a_row_of_nan_stays_among_itself() -> None:
    rows = rows_of([6, 7, 6], gaps=False, dtype=torch.float32)
    spoilt = [x.clone() for x in rows.leaves()]
    for x in spoilt:
        x[6:13] = torch.nan
    plain, other = results(softmax_attention, rows, "compiled"), results(softmax_attention, rows.with_leaves(spoilt), "compiled")
    for one, same in zip(other, plain, strict=True):
        assert one[:6].equal(same[:6])
        assert one[13:].equal(same[13:])
        assert one[6:13].isnan().all()


@pytest.mark.parametrize("gaps", [True, False], ids=["gaps", "no gaps"])
def test_opcheck(gaps: bool) -> None:
    rows = rows_of([3, 0, 5], gaps=gaps, dtype=torch.float32)
    inputs = [rows.q, rows.k, rows.v, rows.offsets, rows.sees, *jagged_attention.tensors_of(rows.gaps, rows.q)]
    inputs = [x.requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs]
    torch.library.opcheck(jagged_attention._forward, (*inputs, "compiled"))


# When it is taken


def test_it_is_taken_on_the_cpu_in_float32() -> None:
    assert dispatch.choose("jagged_attention", torch.zeros(1)) == "compiled"
    assert dispatch.choose("jagged_attention", torch.zeros(1, dtype=torch.float64)) == "blocked"


def test_other_types_are_refused() -> None:
    with dispatch.using("compiled"), pytest.raises(ValueError, match=r"needs float32 and a C compiler .* received torch.float64"):
        softmax_attention(rows_of([3]))


def test_tables_of_another_type_are_refused() -> None:
    rows = rows_of([3, 5], dtype=torch.float32)
    assert rows.positions is not None
    with pytest.raises(ValueError, match=r"expected by_distance of torch.float32, received torch.float64"):
        softmax_attention(replace(rows, positions=rows.positions.double()))
