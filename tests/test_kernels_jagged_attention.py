"""Both attentions over ragged rows on the CPU: the specification against its definition, the tuned path against the specification."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from helpers_attention import (
    LENGTHS,
    NORM,
    OPERATORS,
    Attention,
    Rows,
    assert_same_results,
    assert_unseen_changes_nothing,
    poisoned,
    results,
    rows_of,
    softmax_attention,
    token_by_token,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import dispatch, hstu_attention, jagged_attention
from kernels.gap_bias import GapTables
from kernels.jagged_attention import tiles

UNSEEN_BY = (0, 3, 7, 11, 12, 40, 66, 81)  # steps and questions of rows of 12 and 70
searched = settings(max_examples=15, deadline=None, derandomize=True, database=None)


@pytest.fixture(autouse=True)
def _poisoned() -> Iterator[None]:
    with poisoned():
        yield


@pytest.fixture(params=OPERATORS)
def operator(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def attention(operator: str) -> Attention:
    return OPERATORS[operator]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that short rows are cut as well."""
    monkeypatch.setattr(tiles, "TILE", 96)
    monkeypatch.setattr(tiles, "BLOCK", 4)


# What is meant


@pytest.mark.parametrize("gaps", [True, False], ids=["gaps", "no gaps"])
@pytest.mark.parametrize("questions", [True, False], ids=["questions", "steps alone"])
def test_the_specification_is_the_definition(operator: str, questions: bool, gaps: bool) -> None:
    rows = rows_of([0, 4, 1, 0, 7], questions=questions, gaps=gaps)
    torch.testing.assert_close(results(OPERATORS[operator], rows, "reference")[0], token_by_token(operator, rows), rtol=1e-12, atol=1e-12)


def test_a_token_sees_its_own_place_unless_told_otherwise(attention: Attention) -> None:
    rows = rows_of([3, 0, 6], questions=False)
    for path in ("reference", "blocked"):
        assert_same_results(results(attention, replace(rows, sees=None), path), results(attention, rows, path), rtol=0, atol=0)


@pytest.mark.parametrize("inference", [True, False])
def test_a_batch_that_is_changed_in_place_is_laid_out_anew(attention: Attention, inference: bool) -> None:
    with torch.inference_mode(inference):
        rows = rows_of([3, 0, 6])
        assert rows.sees is not None
        before = attention(rows)
        rows.sees.zero_()
        with dispatch.using("reference"):
            expected = attention(rows)
        torch.testing.assert_close(attention(rows), expected)
        assert not before.allclose(expected)


@pytest.mark.parametrize("questions", [True, False], ids=["questions", "steps alone"])
def test_without_moments_places_alone_count(operator: str, questions: bool, small_tiles: None) -> None:
    rows = replace(rows_of([0, 4, 1, 0, 7, 6], questions=questions), moment=None)
    theirs = results(OPERATORS[operator], rows, "reference")
    torch.testing.assert_close(theirs[0], token_by_token(operator, rows), rtol=1e-12, atol=1e-12)
    assert_same_results(results(OPERATORS[operator], rows, "blocked"), theirs)
    assert not theirs[-1].any()  # the times are not learned from


# The tuned path against the specification


@pytest.mark.parametrize("gaps", [True, False], ids=["gaps", "no gaps"])
@pytest.mark.parametrize("questions", [True, False], ids=["questions", "steps alone"])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
def test_blocked_is_the_specification(attention: Attention, lengths: list[int], questions: bool, gaps: bool) -> None:
    rows = rows_of(lengths, questions=questions, gaps=gaps)
    assert_same_results(results(attention, rows, "blocked"), results(attention, rows, "reference"))


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
def test_blocked_in_small_tiles(attention: Attention, lengths: list[int]) -> None:
    rows = rows_of(lengths)
    assert_same_results(results(attention, rows, "blocked"), results(attention, rows, "reference"))


def test_blocked_on_a_long_row(attention: Attention) -> None:
    rows = rows_of([1025, 2], heads=1)
    assert_same_results(results(attention, rows, "blocked"), results(attention, rows, "reference"))


@pytest.mark.parametrize("dim", [32, 50, 64, 128])
@pytest.mark.parametrize("heads", [1, 3])
def test_blocked_for_every_width(attention: Attention, heads: int, dim: int) -> None:
    rows = rows_of([9, 40, 0, 11], heads=heads, dim=dim)
    assert_same_results(results(attention, rows, "blocked"), results(attention, rows, "reference"))


@pytest.mark.parametrize("gaps", [True, False], ids=["gaps", "no gaps"])
def test_float32_is_as_good_as_plain_torch(attention: Attention, gaps: bool) -> None:
    """Twice its error is allowed, and a few units of the last digit where it happens to have none."""
    rows = rows_of([60, 17, 3, 200], dim=32, gaps=gaps)
    exact = results(attention, rows, "reference")
    ours, plain = (results(attention, rows.to(torch.float32), path) for path in ("blocked", "reference"))
    for one, other, truth in zip(ours, plain, exact, strict=True):
        assert one.dtype == torch.float32
        allowed = 2 * (other - truth).abs().amax() + 4e-7 * truth.abs().amax()
        assert (one - truth).abs().amax() <= allowed


@searched
@given(
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=8),
    heads=st.integers(1, 3),
    dim=st.integers(1, 9),
    gaps=st.booleans(),
    questions=st.booleans(),
    tile=st.sampled_from([1, 50, 1 << 18]),
    block=st.sampled_from([1, 5, 64]),
)
def test_blocked_on_any_rows(lengths: list[int], heads: int, dim: int, gaps: bool, questions: bool, tile: int, block: int) -> None:
    rows = rows_of(lengths, heads=heads, dim=dim, gaps=gaps, questions=questions, seed=sum(lengths))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", tile)
        patch.setattr(tiles, "BLOCK", block)
        for attention in OPERATORS.values():
            assert_same_results(results(attention, rows, "blocked"), results(attention, rows, "reference"))


@pytest.mark.parametrize("path", ["reference", "blocked"])
@pytest.mark.parametrize("gaps", [True, False], ids=["gaps", "no gaps"])
def test_gradients_are_those_of_small_differences(attention: Attention, path: str, gaps: bool) -> None:
    rows = rows_of([3, 0, 5], dim=3, gaps=gaps)
    leaves = [x.requires_grad_() for x in rows.leaves()]
    with dispatch.using(path):
        assert torch.autograd.gradcheck(lambda *x: attention(rows.with_leaves([*x])), leaves)


def test_what_is_not_contiguous_is_read_rightly(attention: Attention) -> None:
    """As the parts of one projection come."""
    rows = rows_of([4, 9], dim=5)
    q, k, v = torch.cat([rows.q, rows.k, rows.v], -1).chunk(3, -1)
    assert not q.is_contiguous()
    expected = results(attention, rows, "blocked")
    with dispatch.using("blocked"):
        assert attention(replace(rows, q=q, k=k, v=v)).equal(expected[0])


def test_a_batch_of_no_rows(attention: Attention) -> None:
    assert [x.shape for x in results(attention, rows_of([]), "blocked")] == [(0, 2, 4)] * 4 + [(2, 5), (2, 7)]


# Who sees whom


@pytest.mark.parametrize("path", ["reference", "blocked"])
def test_what_is_not_seen_changes_nothing(attention: Attention, path: str) -> None:
    """Later steps, other questions."""
    assert_unseen_changes_nothing(attention, path, rows_of([12, 70], dtype=torch.float32), UNSEEN_BY)


@pytest.mark.parametrize("path", ["reference", "blocked"])
def test_what_is_seen_changes_something(attention: Attention, path: str) -> None:
    """The test above would hold for an operator that reads nothing."""
    rows = rows_of([5], questions=False, dtype=torch.float32)
    for seen in range(5):
        v = rows.v.clone()
        v[seen] += 1.0
        change = results(attention, replace(rows, v=v), path)[0] - results(attention, rows, path)[0]
        assert change.flatten(1).abs().amax(-1).ne(0).tolist() == [token >= seen for token in range(5)]


@pytest.mark.parametrize("path", ["reference", "blocked"])
def test_a_row_of_nan_stays_among_itself(attention: Attention, path: str) -> None:
    rows = rows_of([6, 7, 6], gaps=False, dtype=torch.float32)
    spoilt = [x.clone() for x in rows.leaves()]
    for x in spoilt:
        x[6:13] = torch.nan
    plain, other = results(attention, rows, path), results(attention, rows.with_leaves(spoilt), path)
    for one, same in zip(other, plain, strict=True):
        assert one[:6].equal(same[:6])
        assert one[13:].equal(same[13:])


def test_questions_do_not_see_each_other(attention: Attention) -> None:
    """Asked together and asked alone are the same."""
    rows = rows_of([4], questions=False)
    sees = torch.tensor([0, 1, 2, 2])  # the third step is what the question should not see
    together = results(attention, replace(rows, sees=sees), "blocked")[0]
    alone = rows.with_leaves([*(x[[0, 1, 3]] for x in (rows.q, rows.k, rows.v)), *rows.leaves()[3:]])
    torch.testing.assert_close(
        results(attention, replace(alone, offsets=torch.tensor([0, 3]), sees=torch.arange(3), moment=rows.moment[[0, 1, 3]]), "blocked")[0][
            2
        ],
        together[3],
    )


# The registered operator


def test_the_tuned_path_is_taken_on_the_cpu(operator: str) -> None:
    assert dispatch.choose(operator, torch.zeros(1, dtype=torch.float64)) == "blocked"


def test_twice_is_the_same_to_the_last_bit(attention: Attention) -> None:
    rows = rows_of([200, 3, 90, 90, 17], dim=32, dtype=torch.float32)
    for one, other in zip(results(attention, rows, "blocked"), results(attention, rows, "blocked"), strict=True):
        assert one.equal(other)


@pytest.mark.parametrize("gaps", [True, False], ids=["gaps", "no gaps"])
def test_opcheck(operator: str, gaps: bool) -> None:
    rows = rows_of([3, 0, 5], gaps=gaps, dtype=torch.float32)
    inputs = [rows.q, rows.k, rows.v, rows.offsets, rows.sees, *jagged_attention.tensors_of(rows.gaps, rows.q)]
    inputs = [x.requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs]
    module, more = (jagged_attention, ()) if operator == "jagged_attention" else (hstu_attention, (NORM,))
    torch.library.opcheck(module._forward, (*inputs, *more, "blocked"))


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")
def test_torch_compile(operator: str, attention: Attention) -> None:
    rows = rows_of([3, 0, 5], dtype=torch.float32)

    def of_leaves(*leaves: Tensor) -> Tensor:
        return attention(rows.with_leaves([*leaves]))

    leaves = [x.requires_grad_() for x in rows.leaves()]
    torch.use_deterministic_algorithms(False)  # which is not known to every operator of the compiler
    out = torch.compile(of_leaves, backend="aot_eager", fullgraph=True)(*leaves)
    compiled = [out.detach(), *torch.autograd.grad(out, leaves, torch.ones_like(out))]
    path = dispatch.choose(operator, rows.q)
    assert_same_results(compiled, results(attention, rows, path, grad=torch.ones_like(rows.q)), rtol=0, atol=0)


def test_shapes_are_known_without_data(attention: Attention) -> None:
    """On "meta" nothing can be read: sizes that depend on data stay inside the operator."""
    rows = rows_of([3, 0, 5], dtype=torch.float32)
    leaves = [x.to("meta").requires_grad_() for x in rows.leaves()]
    others = {"offsets": rows.offsets.to("meta"), "sees": rows.sees.to("meta"), "moment": rows.moment.to("meta")}
    out = attention(replace(rows.with_leaves(leaves), **others))
    assert (out.shape, out.device.type) == (rows.q.shape, "meta")
    assert [x.shape for x in torch.autograd.grad(out.sum(), leaves)] == [x.shape for x in rows.leaves()]


class Attends(torch.nn.Module):
    def __init__(self, attention: Attention, like: Rows) -> None:
        super().__init__()
        self.attention, self.like = attention, like

    def forward(self, q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, sees: Tensor, moment: Tensor) -> Tensor:
        return self.attention(replace(self.like, q=q, k=k, v=v, offsets=offsets, sees=sees, moment=moment))


def test_an_exported_graph_holds_stock_operators_and_any_lengths(attention: Attention) -> None:
    torch.use_deterministic_algorithms(False)
    example, other = rows_of([3, 0, 5], dtype=torch.float32), rows_of([1, 9, 2, 4], dtype=torch.float32)
    inputs, others = ([x.q, x.k, x.v, x.offsets, x.sees, x.moment] for x in (example, other))
    token = torch.export.Dim.DYNAMIC
    program = torch.export.export(Attends(attention, example), tuple(inputs), dynamic_shapes=[{0: token}] * 6)
    assert not [node for node in program.graph.nodes if "revisit" in str(node.target)]
    expected = results(attention, replace(other, positions=example.positions, times=example.times), "reference")[0]
    torch.testing.assert_close(program.module()(*others), expected, rtol=1e-5, atol=1e-5)


# Mistakes


WRONG = {
    "two dimensions": ({"q": torch.zeros(8, 4)}, r"expected q, k, v of one shape \[T, H, D\]; received \[8, 4\]"),
    "unlike shapes": ({"k": torch.zeros(7, 2, 4)}, r"expected q, k, v of one shape .* received \[8, 2, 4\], \[7, 2, 4\]"),
    "offsets of another type": ({"offsets": torch.tensor([0.0, 8.0])}, r"expected offsets int64 \[B \+ 1\]; received torch.float32"),
    "too few sees": ({"sees": torch.zeros(3, dtype=torch.int64)}, r"expected sees int64 \[8\]; received torch.int64 \[3\]"),
    "too few moments": ({"moment": torch.zeros(3, dtype=torch.int64)}, r"expected gaps.moment int64 \[8\]; received torch.int64 \[3\]"),
    "tables of other heads": ({"times": torch.zeros(3, 7)}, "expected tables for 2 heads; received 2 and 3"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused(attention: Attention, case: str) -> None:
    changes, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        attention(replace(rows_of([3, 0, 5], dtype=torch.float32), **changes))


def test_a_path_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of reference, blocked, compiled, fused; received 'fast'"), dispatch.using("fast"):
        softmax_attention(rows_of([3]))


def test_tables_need_two_knots() -> None:
    with pytest.raises(ValueError, match=r"at least 2 knots, received \[2, 1\] and \[2, 7\]"):
        GapTables(torch.zeros(2, 1), torch.zeros(2, 7), torch.zeros(8, dtype=torch.int64))
