"""Dropout by bytes: how many numbers go, what is left of the others, on the way back too, and that a seed settles it."""

import pytest
import torch

from training.models.dropout import Dropout


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_drops_the_share_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(0)
    dropped = Dropout(share).train()(torch.ones(400_000))
    assert (dropped == 0).float().mean() == pytest.approx(share, abs=0.006)
    assert dropped.mean() == pytest.approx(1, abs=0.01)
    assert len(dropped.unique()) == 2


def test_the_gradient_is_what_was_kept() -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 7, dtype=torch.float64, requires_grad=True)
    dropped = Dropout(0.3).train()(x)
    (gradient,) = torch.autograd.grad(dropped, x, torch.full_like(x, 2.0))
    torch.testing.assert_close(gradient * x, 2 * dropped)
    assert gradient.eq(0).equal(dropped.eq(0))


def test_a_seed_settles_what_goes() -> None:
    def dropped() -> torch.Tensor:
        torch.manual_seed(3)
        return Dropout(0.5).train()(torch.ones(5, 13))

    assert dropped().equal(dropped())
    layer = Dropout(0.5).train()
    assert not layer(torch.ones(5, 13)).equal(layer(torch.ones(5, 13)))


def test_answers_lose_nothing() -> None:
    x = torch.randn(9)
    assert Dropout(0.5).eval()(x).equal(x)
    assert Dropout(0.0).train()(x).equal(x)


def test_a_model_without_numbers_on_meta() -> None:
    assert Dropout(0.5).train()(torch.empty(4, device="meta")).device.type == "meta"
