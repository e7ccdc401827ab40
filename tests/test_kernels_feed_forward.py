"""Two layers with GELU and dropout between them, in C: against the specification, gradients too."""

from collections.abc import Iterator

import pytest
import torch
from helpers_attention import poisoned
from torch import Tensor

from kernels import dispatch, native
from kernels.feed_forward import _forward, compiled, feed_forward

needs_compiler = pytest.mark.skipif(
    not native.suits("feed_forward", torch.float32), reason="no C compiler is found: the path does not exist here"
)


@pytest.fixture(autouse=True)
def _poisoned() -> Iterator[None]:
    with poisoned():
        yield


def layers(num_tokens: int, dim: int, hidden: int, *, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(num_tokens)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    weights = drawn(hidden, dim) / dim**0.5, drawn(hidden), drawn(dim, hidden) / hidden**0.5, drawn(dim)
    return [tensor.to(dtype) for tensor in (2 * drawn(num_tokens, dim), *weights)]


def results(path: str, tensors: list[Tensor], *, dropped: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """The output, then the gradient of every tensor for a fixed random gradient of the output."""
    leaves = [tensor.to(dtype).requires_grad_() for tensor in tensors]
    with dispatch.using(path):
        out = feed_forward(*leaves, dropped=dropped, seed=11)
        grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
        return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


@needs_compiler
@pytest.mark.parametrize("dropped", [0, 51])
@pytest.mark.parametrize(
    ("num_tokens", "dim", "hidden"), [(0, 16, 32), (1, 16, 64), (33, 64, 256), (700, 64, 256), (4000, 48, 96), (50, 128, 512)]
)
def test_compiled_is_the_specification(num_tokens: int, dim: int, hidden: int, dropped: int) -> None:
    tensors = layers(num_tokens, dim, hidden)
    exact = results("reference", tensors, dropped=dropped, dtype=torch.float64)
    ours, plain = (results(path, tensors, dropped=dropped) for path in ("compiled", "reference"))
    for one, other, truth in zip(ours, plain, exact, strict=True):
        assert one.shape == truth.shape
        if truth.numel():
            allowed = 3 * (other - truth).abs().amax() + 1e-6 * truth.abs().amax()
            assert (one - truth).abs().amax() <= allowed


@needs_compiler
def test_far_from_zero_gelu_is_nothing_or_what_came() -> None:
    x = torch.tensor([-1e30, -60.0, -13.0, -6.0, 0.0, 6.0, 13.0, 60.0, 1e30] + [0.0] * 7)[None]
    wide = torch.nn.functional.pad(torch.eye(16), (0, 0, 0, 16))
    leaves = [x.requires_grad_(), wide, torch.zeros(32), wide.T.contiguous(), torch.zeros(16)]
    with dispatch.using("compiled"):
        out = feed_forward(*leaves)
        (slope,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(out, torch.nn.functional.gelu(x), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(slope[0, [0, 1, 7, 8]], torch.tensor([0.0, 0.0, 1.0, 1.0]))


@needs_compiler
def test_any_number_of_threads_gives_the_same_bits() -> None:
    tensors, threads = layers(5000, 32, 128), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = results("compiled", tensors, dropped=30)
        torch.set_num_threads(2)
        together = results("compiled", tensors, dropped=30)
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(alone, together, strict=True):
        assert one.equal(other)


@needs_compiler
def test_a_token_of_nan_stays_alone() -> None:
    tensors = layers(70, 16, 32, dtype=torch.float32)
    plain = results("compiled", tensors)[0]
    spoilt = results("compiled", [tensors[0].detach().index_fill(0, torch.tensor(40), torch.nan), *tensors[1:]])[0]
    others = torch.arange(70) != 40
    assert spoilt[others].equal(plain[others])
    assert spoilt[40].isnan().all()


@needs_compiler
def test_opcheck() -> None:
    inputs = [tensor.requires_grad_() for tensor in layers(5, 16, 32, dtype=torch.float32)]
    torch.library.opcheck(_forward, (*inputs, 51, 7))


@pytest.mark.parametrize(("dim", "hidden"), [(20, 80), (256, 1024)])
def test_layers_of_other_sizes_take_the_reference(dim: int, hidden: int) -> None:
    assert not compiled.fits(hidden, dim)
    tensors = layers(3, dim, hidden, dtype=torch.float32)
    with dispatch.using("reference"):
        expected = feed_forward(*tensors, dropped=20, seed=3)
    assert feed_forward(*tensors, dropped=20, seed=3).equal(expected)


@pytest.mark.parametrize("dropped", [0, 40])
def test_the_specification_passes_gradcheck(dropped: int) -> None:
    leaves = [tensor.requires_grad_() for tensor in layers(3, 2, 5)]
    assert torch.autograd.gradcheck(lambda *tensors: feed_forward(*tensors, dropped=dropped, seed=1), leaves)


def test_shapes_that_do_not_fit_are_refused() -> None:
    weights = layers(3, 4, 8)[1:]
    with pytest.raises(ValueError, match=r"expected x \[T, D\], weight_in \[F, D\].*received \[3, 5\], \[8, 4\]"):
        feed_forward(torch.zeros(3, 5), *weights)
