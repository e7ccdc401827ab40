"""Each ragged operator equals its plain reference on every path, on shapes that break index arithmetic; its gradient is the way back."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import dispatch, ragged
from kernels.ragged import reference

LENGTHS = {
    "one row": [3],
    "empty rows first, between and last": [0, 2, 0, 0, 5, 0],
    "all empty": [0, 0, 0],
    "one long among short": [1, 1, 200, 1],
    "single values": [1, 1, 1],
}
OTHER_LENGTHS = [2, 0, 1, 1, 0, 3]
CALLS: dict[str, Callable[..., Tensor]] = {
    "pad": lambda values, offsets, *_: ragged.pad(values, offsets, ragged.longest(offsets) + 1, fill=7.0),
    "unpad": lambda values, offsets, *_: ragged.unpad(ragged.pad(values, offsets, ragged.longest(offsets)) ** 2, offsets, values.shape[0]),
    "keep last": lambda values, offsets, *_: ragged.keep_last(values, offsets, 2)[0],
    "concatenate": lambda *both: ragged.concatenate(*both)[0],
}


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """What torch.empty gives is NaN, or the largest integer."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=LENGTHS.values(), ids=LENGTHS.keys())
def offsets(request: pytest.FixtureRequest) -> Tensor:
    return ragged.offsets_of_lengths(torch.tensor(request.param))


@pytest.fixture(params=["blocked", "fused"])
def path(request: pytest.FixtureRequest) -> str:
    return request.param


def same(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> None:
    assert ours[0].equal(theirs[0])
    assert ours[1].equal(theirs[1])


def others(num_rows: int, *width: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """The right side of a concatenation."""
    offsets = ragged.offsets_of_lengths(torch.tensor(OTHER_LENGTHS[:num_rows]))
    return torch.randn(int(offsets[-1]), *width).to(dtype), offsets


# Against the specification


@pytest.mark.parametrize("width", [(), (1,), (3, 2)], ids=["numbers", "vectors of one", "matrices"])
def test_every_call_equals_its_reference(offsets: Tensor, width: tuple[int, ...], path: str) -> None:
    check_all(offsets, width, torch.float32, path)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bfloat16, torch.bool], ids=str)
def test_values_of_any_type(dtype: torch.dtype, path: str) -> None:
    offsets = ragged.offsets_of_lengths(torch.tensor([0, 2, 5]))
    for width in ((), (3,)):
        check_all(offsets, width, dtype, path)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    width=st.sampled_from([(), (70,)]),
    path=st.sampled_from(["blocked", "fused"]),
)
def test_drawn_shapes(lengths: list[int], width: tuple[int, ...], path: str) -> None:
    check_all(ragged.offsets_of_lengths(torch.tensor(lengths)), width, torch.float32, path)


def check_all(offsets: Tensor, width: tuple[int, ...], dtype: torch.dtype, path: str) -> None:
    num_rows, length = len(offsets) - 1, ragged.longest(offsets)
    values = torch.randn(int(offsets[-1]), *width).to(dtype)
    one, right = torch.randn(num_rows, *width).to(dtype), others(num_rows, *width, dtype=dtype)
    with dispatch.using(path):
        padded = ragged.pad(values, offsets, length + 1, fill=7.0)
        assert padded.equal(reference.pad(values, offsets, length + 1, fill=7.0))
        assert ragged.unpad(padded, offsets, len(values)).equal(values)
        assert reference.unpad(padded, offsets, len(values)).equal(values)
        same(ragged.concatenate(values, offsets, *right), reference.concatenate(values, offsets, *right))
        same(ragged.append(values, offsets, one), reference.append(values, offsets, one))
        for n in (0, 1, 3, 1000):
            same(ragged.keep_last(values, offsets, n), reference.keep_last(values, offsets, n))


def test_row_of_value(offsets: Tensor) -> None:
    num_values = int(offsets[-1])
    assert ragged.row_of_value(offsets, num_values).equal(reference.row_of_value(offsets, num_values))


def test_longest_of_nothing_is_one() -> None:
    assert ragged.longest(torch.tensor([0, 0])) == 1


def test_pair_up(offsets: Tensor) -> None:
    lengths = torch.arange(len(offsets) - 1) % 3
    other = ragged.offsets_of_lengths(lengths)
    for ours, theirs in zip(ragged.pair_up(offsets, other), reference.pair_up(offsets, other), strict=True):
        assert ours.equal(theirs)


# Gradients


@pytest.mark.parametrize("name", CALLS)
def test_gradients_are_those_of_the_call(name: str, offsets: Tensor) -> None:
    if int(offsets[-1]) > 100:
        offsets = ragged.offsets_of_lengths(torch.tensor([1, 1, 12, 1]))
    values = torch.randn(int(offsets[-1]), 2, dtype=torch.float64, requires_grad=True)
    right, right_offsets = others(len(offsets) - 1, 2, dtype=torch.float64)
    torch.autograd.gradcheck(lambda v, r: CALLS[name](v, offsets, r, right_offsets), (values, right.requires_grad_()))


@pytest.mark.parametrize("name", CALLS)
def test_both_paths_have_the_same_gradients(name: str, offsets: Tensor) -> None:
    values, (right, right_offsets) = torch.randn(int(offsets[-1]), 3), others(len(offsets) - 1, 3)
    answers = []
    for path in ("blocked", "fused"):
        with dispatch.using(path):
            leaves = values.clone().requires_grad_(), right.clone().requires_grad_()
            out = CALLS[name](leaves[0], offsets, leaves[1], right_offsets)
            weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
            answers.append((out.detach(), *torch.autograd.grad((out * weight).sum(), leaves, allow_unused=True, materialize_grads=True)))
    assert all(ours.equal(theirs) for ours, theirs in zip(*answers, strict=True))


# Registration


@pytest.mark.parametrize("grad", [False, True], ids=["values", "with gradients"])
def test_registered_operators_hold_their_contracts(grad: bool) -> None:
    values, offsets = torch.randn(5, 3, requires_grad=grad), torch.tensor([0, 0, 2, 5])
    right, right_offsets = others(3, 3)
    lengths, target = offsets.diff(), torch.arange(3) * 4
    torch.library.opcheck(torch.ops.revisit.ragged_copy.default, (values, offsets[:-1], target, lengths, 12, 1.0))
    operands = (values, offsets, right.requires_grad_(grad), right_offsets)
    torch.library.opcheck(torch.ops.revisit.ragged_concatenate.default, operands)


@pytest.mark.parametrize("name", ["pad", "unpad", "concatenate"])
def test_calls_compile_whole(name: str, path: str) -> None:
    offsets = torch.tensor([0, 0, 2, 5])
    values, (right, right_offsets) = torch.randn(5, 3), others(3, 3)
    compiled = torch.compile(partial(call_with_length, name), backend="aot_eager", fullgraph=True)
    with dispatch.using(path):
        assert compiled(values, offsets, right, right_offsets).equal(call_with_length(name, values, offsets, right, right_offsets))


def call_with_length(name: str, values: Tensor, offsets: Tensor, right: Tensor, right_offsets: Tensor) -> Tensor:
    """The call with a length that is known: a longest row has to be asked for, which breaks a graph."""
    if name == "concatenate":
        return ragged.concatenate(values, offsets, right, right_offsets)[0]
    padded = ragged.pad(values, offsets, 4)
    return padded if name == "pad" else ragged.unpad(padded, offsets, values.shape[0])


# An exported graph


class Calls(torch.nn.Module):
    def forward(self, values: Tensor, offsets: Tensor, right: Tensor, right_offsets: Tensor) -> Tensor:
        joined, joined_offsets = ragged.concatenate(values, offsets, right, right_offsets)
        kept, kept_offsets = ragged.keep_last(joined, joined_offsets, 3)
        return ragged.unpad(ragged.pad(kept, kept_offsets, ragged.longest(kept_offsets)), kept_offsets, kept.shape[0])


def test_an_exported_graph_holds_stock_operators_of_any_size() -> None:
    sizes = ({0: torch.export.Dim.DYNAMIC},) * 4
    example = (torch.randn(7, 2), torch.tensor([0, 2, 5, 5, 7]), torch.randn(4, 2), torch.tensor([0, 1, 2, 2, 4]))
    with dispatch.using("fused"):
        exported = torch.export.export(Calls(), example, dynamic_shapes=sizes)
    assert not any("revisit" in str(node.target) for node in exported.graph.nodes)
    for values, offsets in ((torch.randn(0, 2), [0, 0, 0, 0]), (torch.randn(6, 2), [0, 0, 1, 6])):
        inputs = (values, torch.tensor(offsets), torch.randn(4, 2), torch.tensor([0, 1, 4, 4]))
        assert exported.module()(*inputs).equal(Calls()(*inputs))


# Errors


def test_sides_that_do_not_fit() -> None:
    offsets = torch.tensor([0, 1, 2])
    with pytest.raises(ValueError, match="as many rows on both sides"):
        ragged.append(torch.zeros(2, 3), offsets, torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"one shape and type; received torch.float32 \[2, 3\].*torch.int64 \[2, 3\]"):
        ragged.concatenate(torch.zeros(2, 3), offsets, torch.zeros(2, 3, dtype=torch.int64), offsets)
