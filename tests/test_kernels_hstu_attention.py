"""What is HSTU's own; what it shares with softmax attention is tested in test_kernels_jagged_attention.py."""

import pytest
import torch
from helpers_attention import NORM, results, rows_of, silu_attention

from kernels import dispatch
from kernels.hstu_attention import blocked, hstu_attention


def test_a_longer_history_says_more() -> None:
    """Ten times the same step weighs ten times as much: a softmax would not tell one from ten."""
    one, ten = (torch.ones(length, 1, 4) for length in (1, 10))
    single, many = (hstu_attention(x, x, x, torch.tensor([0, len(x)]), norm=NORM) for x in (one, ten))
    torch.testing.assert_close(many[-1], 10 * single[-1])


def test_the_norm_divides() -> None:
    rows = rows_of([5])
    out = [hstu_attention(rows.q, rows.k, rows.v, rows.offsets, norm=norm) for norm in (1.0, 4.0)]
    torch.testing.assert_close(out[0] / 4, out[1])


@pytest.mark.parametrize("norm", [0.0, -1.0, float("nan")])
def test_a_norm_that_is_not_positive_is_refused(norm: float) -> None:
    rows = rows_of([5])
    with pytest.raises(ValueError, match="expected norm above 0; received"):
        hstu_attention(rows.q, rows.k, rows.v, rows.offsets, norm=norm)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_unseen_has_neither_weight_nor_slope(dtype: torch.dtype) -> None:
    logit = torch.tensor([blocked.UNSEEN], dtype=dtype, requires_grad=True)
    weight = torch.nn.functional.silu(logit)
    assert weight.item() == 0
    assert torch.autograd.grad(weight, logit)[0].item() == 0


def test_very_low_and_very_high_logits() -> None:
    rows = rows_of([6, 3], gaps=False)
    steep = rows.with_leaves([rows.q * 100, rows.k * 100, rows.v])
    for one, other in zip(results(silu_attention, steep, "blocked"), results(silu_attention, steep, "reference"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
        assert one.isfinite().all()


def test_the_choice_of_a_path_holds_inside_only() -> None:
    with dispatch.using("reference"):
        assert dispatch.choose("hstu_attention", torch.zeros(1)) == "reference"
    assert dispatch.choose("hstu_attention", torch.zeros(1)) == "blocked"
