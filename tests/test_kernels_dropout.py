"""Dropout from a seed: its coins are even, both paths toss the same, and the way back drops what the way forth dropped."""

import numpy as np
import pytest
import torch

from kernels import dispatch, native
from kernels.dropout import SIDES, dropout
from kernels.dropout.reference import coins

PATHS = [
    "reference",
    pytest.param("compiled", marks=pytest.mark.skipif(not native.suits("dropout", torch.float32), reason="no C compiler is found")),
]


def test_coins_are_those_of_the_published_generator() -> None:
    """The first numbers of SplitMix64 from the seed 1234567, as its authors' program prints them."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert coins(1234567, 40).view(np.uint64).tolist() == published


def test_coins_are_even_and_differ_from_seed_to_seed() -> None:
    thrown = np.bincount(coins(0, 256_000), minlength=256)
    assert thrown.min() > 850
    assert thrown.max() < 1150
    assert (coins(1, 1000) != coins(2, 1000)).mean() > 0.9


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 200_003])
@pytest.mark.parametrize("dropped", [1, 51, 255])
def test_compiled_is_the_specification(size: int, dropped: int) -> None:
    if not native.suits("dropout", torch.float32):
        pytest.skip("no C compiler is found")
    x = torch.randn(size, generator=torch.Generator().manual_seed(size))
    with dispatch.using("reference"):
        expected = dropout(x, dropped, 2**63 - 1)
    with dispatch.using("compiled"):
        torch.testing.assert_close(dropout(x, dropped, 2**63 - 1), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("path", PATHS)
def test_the_way_back_drops_the_same(path: str) -> None:
    x = torch.randn(30, 7).requires_grad_()
    with dispatch.using(path):
        out = dropout(x, 100, 5)
        (gradient,) = torch.autograd.grad(out, x, torch.full_like(x, 2.0).T.contiguous().T)
    torch.testing.assert_close(gradient * x, 2 * out)
    assert 0.2 < (out == 0).float().mean() < 0.6


@pytest.mark.parametrize("path", PATHS)
def test_what_lies_apart_is_read_rightly(path: str) -> None:
    x = torch.randn(7, 30)
    with dispatch.using(path):
        assert dropout(x.T, 100, 5).equal(dropout(x.T.contiguous(), 100, 5))


def test_nothing_dropped_is_the_same_tensor() -> None:
    x = torch.randn(4)
    assert dropout(x, 0, 1) is x


@pytest.mark.parametrize("dropped", [-1, SIDES])
def test_a_share_that_is_none_is_refused(dropped: int) -> None:
    with pytest.raises(ValueError, match=f"expected dropped, of 256 sides of a coin, from 0 to 255; received {dropped}"):
        dropout(torch.ones(3), dropped, 0)
