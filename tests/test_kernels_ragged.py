"""Each ragged operator equals its plain reference, on shapes that break index arithmetic."""

import pytest
import torch

from kernels import ragged
from kernels.ragged import reference

LENGTHS = {
    "one row": [3],
    "empty rows first, between and last": [0, 2, 0, 0, 5, 0],
    "all empty": [0, 0, 0],
    "one long among short": [1, 1, 200, 1],
    "single values": [1, 1, 1],
}


@pytest.fixture(params=LENGTHS.values(), ids=LENGTHS.keys())
def offsets(request: pytest.FixtureRequest) -> torch.Tensor:
    return ragged.offsets_of_lengths(torch.tensor(request.param))


def test_row_of_value(offsets: torch.Tensor) -> None:
    num_values = int(offsets[-1])
    assert ragged.row_of_value(offsets, num_values).equal(reference.row_of_value(offsets, num_values))


@pytest.mark.parametrize("width", [(), (4,)], ids=["numbers", "vectors"])
def test_pad_and_unpad(offsets: torch.Tensor, width: tuple[int, ...]) -> None:
    values = torch.randn(int(offsets[-1]), *width)
    length = ragged.longest(offsets)
    padded = ragged.pad(values, offsets, length, fill=7.0)
    assert padded.equal(reference.pad(values, offsets, length, fill=7.0))
    assert ragged.unpad(padded, offsets, len(values)).equal(values)
    assert reference.unpad(padded, offsets, len(values)).equal(values)


def test_pad_passes_gradients(offsets: torch.Tensor) -> None:
    values = torch.randn(int(offsets[-1]), 2, dtype=torch.float64, requires_grad=True)
    length = ragged.longest(offsets)
    torch.autograd.gradcheck(lambda v: ragged.unpad(ragged.pad(v, offsets, length) ** 2, offsets, len(v)), (values,))


def test_longest_of_nothing_is_one() -> None:
    assert ragged.longest(torch.tensor([0, 0])) == 1


@pytest.mark.parametrize("width", [(), (4,)], ids=["numbers", "vectors"])
def test_rows_grow_and_shrink(offsets: torch.Tensor, width: tuple[int, ...]) -> None:
    num_rows = len(offsets) - 1
    values = torch.randn(int(offsets[-1]), *width)
    other_offsets = ragged.offsets_of_lengths(torch.arange(num_rows) % 3)
    other = torch.randn(int(other_offsets[-1]), *width)
    one = torch.randn(num_rows, *width)
    same(ragged.concatenate(values, offsets, other, other_offsets), reference.concatenate(values, offsets, other, other_offsets))
    same(ragged.append(values, offsets, one), reference.append(values, offsets, one))
    for n in (0, 1, 3, 1000):
        same(ragged.keep_last(values, offsets, n), reference.keep_last(values, offsets, n))


def same(ours: tuple[torch.Tensor, torch.Tensor], theirs: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert ours[0].equal(theirs[0])
    assert ours[1].equal(theirs[1])


def test_pair_up(offsets: torch.Tensor) -> None:
    lengths = torch.arange(len(offsets) - 1) % 3
    other = ragged.offsets_of_lengths(lengths)
    for ours, theirs in zip(ragged.pair_up(offsets, other), reference.pair_up(offsets, other), strict=True):
        assert ours.equal(theirs)
