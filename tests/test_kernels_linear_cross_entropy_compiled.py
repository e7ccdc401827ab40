"""The softmax over a catalogue in C: against the specification, gradients too."""

from collections.abc import Callable, Iterator

import pytest
import torch
from helpers_attention import poisoned
from torch import Tensor

from kernels import dispatch, native
from kernels.linear_cross_entropy import linear_cross_entropy, linear_logsumexp, sampled_cross_entropy

pytestmark = pytest.mark.skipif(
    not native.suits("linear_cross_entropy", torch.float32), reason="no C compiler is found: the path does not exist here"
)


@pytest.fixture(autouse=True)
def _poisoned() -> Iterator[None]:
    with poisoned():
        yield


def catalogue(num_rows: int, num_items: int, dim: int, *, size: float = 0.4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(num_items)

    def drawn(*shape: int) -> Tensor:
        return size * torch.randn(shape, generator=generator, dtype=torch.float64)

    return [drawn(num_rows, dim), drawn(num_items, dim), drawn(num_items)]


def results(loss: Callable[..., Tensor], path: str, tensors: list[Tensor], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Of each row the loss, then the gradients of a weighted sum of them."""
    leaves = [tensor.to(dtype).requires_grad_() for tensor in tensors]
    with dispatch.using(path):
        out = loss(*leaves)
        grad = torch.rand(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
        return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def assert_as_good_as_torch(loss: Callable[..., Tensor], tensors: list[Tensor]) -> None:
    exact = results(loss, "reference", tensors, torch.float64)
    ours, plain = (results(loss, path, tensors) for path in ("compiled", "reference"))
    for one, other, truth in zip(ours, plain, exact, strict=True):
        assert (one.dtype, one.shape) == (torch.float32, truth.shape)
        if truth.numel():
            allowed = 3 * (other - truth).abs().amax() + 3e-6 * max(1.0, truth.abs().amax())
            assert (one - truth).abs().amax() <= allowed


@pytest.mark.parametrize("dim", [16, 64, 256])
@pytest.mark.parametrize(("num_rows", "num_items"), [(1, 1), (5, 127), (64, 128), (65, 129), (300, 1700), (1700, 300), (129, 5)])
def test_compiled_is_the_specification(num_rows: int, num_items: int, dim: int) -> None:
    assert_as_good_as_torch(linear_logsumexp, catalogue(num_rows, num_items, dim, size=0.2))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_with_targets(reduction: str) -> None:
    x, weight, bias = catalogue(90, 500, 32)
    target = torch.arange(90) * 5

    def loss(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear_cross_entropy(x, weight, target, bias=bias, reduction=reduction)  # type: ignore[arg-type]

    assert_as_good_as_torch(loss, [x, weight, bias])


def test_a_sample_without_the_rows_own_item() -> None:
    x, table, bias = catalogue(150, 400, 32)
    target, negatives = torch.arange(150) % 40, torch.arange(300) % 50
    log_q = torch.full((300,), -5.0)

    def loss(x: Tensor, table: Tensor, bias: Tensor) -> Tensor:
        ids = {"target_bias": bias[target], "negative_bias": bias[negatives]}
        return sampled_cross_entropy(x, table[target], table[negatives], target, negatives, log_q.to(x.dtype), **ids)

    assert_as_good_as_torch(loss, [x, table, bias])


def test_items_that_are_left_out_count_for_nothing_and_learn_nothing() -> None:
    x, weight, bias = catalogue(20, 300, 16)
    bias[::3] = -torch.inf
    assert_as_good_as_torch(linear_logsumexp, [x, weight, bias])
    _, _, d_weight, d_bias = results(linear_logsumexp, "compiled", [x, weight, bias])
    assert not d_weight[::3].any()
    assert not d_bias[::3].any()


def test_a_catalogue_without_items() -> None:
    x, weight, bias = catalogue(4, 30, 16)
    out, *gradients = results(linear_logsumexp, "compiled", [x, weight, torch.full_like(bias, -torch.inf)])
    assert out.eq(-torch.inf).all()
    assert all(not gradient.any() for gradient in gradients)


def test_no_rows() -> None:
    out, *gradients = results(linear_logsumexp, "compiled", catalogue(0, 30, 16))
    assert out.shape == (0,)
    assert [gradient.shape for gradient in gradients] == [(0, 16), (30, 16), (30,)]
    assert all(not gradient.any() for gradient in gradients)


def test_what_is_no_whole_vector_goes_the_blocked_way() -> None:
    assert_as_good_as_torch(linear_logsumexp, catalogue(40, 200, 20))


def test_logits_far_apart() -> None:
    """Thousands apart, as where training goes astray: still finite, and right to what float32 leaves of such logits."""
    tensors = catalogue(40, 200, 16, size=12.0)
    exact = results(linear_logsumexp, "reference", tensors, torch.float64)
    for one, truth in zip(results(linear_logsumexp, "compiled", tensors), exact, strict=True):
        torch.testing.assert_close(one.double(), truth, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("num_rows", "num_items"), [(700, 3000), (3000, 700)])
def test_any_number_of_threads_gives_the_same_bits(num_rows: int, num_items: int) -> None:
    tensors, threads = catalogue(num_rows, num_items, 64, size=0.2), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = results(linear_logsumexp, "compiled", tensors)
        torch.set_num_threads(2)
        together = results(linear_logsumexp, "compiled", tensors)
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(alone, together, strict=True):
        assert one.equal(other)


def test_a_row_of_nan_spoils_no_other_row() -> None:
    x, weight, bias = catalogue(9, 200, 16)
    plain = results(linear_logsumexp, "compiled", [x, weight, bias])
    spoilt = results(linear_logsumexp, "compiled", [x.index_fill(0, torch.tensor(4), torch.nan), weight, bias])
    others = torch.arange(9) != 4
    for one, same in zip(spoilt[:2], plain[:2], strict=True):
        torch.testing.assert_close(one[others], same[others])
        assert one[4].isnan().all()
