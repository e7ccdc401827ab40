"""The blocked normaliser equals the plain one, value and every gradient, on shapes around the tile sizes."""

import pytest
import torch

from kernels.linear_logsumexp import blocked, linear_logsumexp
from kernels.linear_logsumexp.reference import linear_logsumexp as plain


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "TILE_ROWS", 8)
    monkeypatch.setattr(blocked, "TILE_ITEMS", 16)


@pytest.mark.parametrize(("num_rows", "num_items", "width"), [(1, 1, 1), (7, 15, 3), (8, 16, 4), (9, 17, 5), (20, 50, 8)])
@pytest.mark.parametrize("masked", [False, True], ids=["all items", "some left out"])
def test_equals_reference(num_rows: int, num_items: int, width: int, masked: bool) -> None:
    if masked and num_items == 1:
        pytest.skip("a catalogue with its only item left out has no normaliser")
    generator = torch.Generator().manual_seed(num_rows)
    inputs = [
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in [(num_rows, width), (num_items, width), (num_items,)]
    ]
    if masked:
        inputs[2][::3] = -torch.inf
    upstream = torch.randn(num_rows, generator=generator, dtype=torch.float64)
    results = []
    for function in (linear_logsumexp, plain):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        value = function(*leaves)
        results.append([value, *torch.autograd.grad(value, leaves, upstream)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_large_logits_do_not_overflow() -> None:
    x, weight, bias = torch.full((2, 1), 100.0), torch.full((40, 1), 100.0), torch.zeros(40)
    torch.testing.assert_close(linear_logsumexp(x, weight, bias), torch.full((2,), 10_000.0) + torch.tensor(40.0).log())


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected x \[Q, D\]"):
        linear_logsumexp(torch.zeros(2, 3), torch.zeros(5, 4), torch.zeros(5))
