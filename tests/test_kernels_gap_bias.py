"""A table read at the logarithm of a distance: against numpy's interpolation, at its ends, on its way back."""

import numpy as np
import pytest
import torch

from kernels.gap_bias import HOUR, GapTables, gap_bias
from kernels.gap_bias.blocked import TileBias

TABLE = torch.tensor([[0.0, -1.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0]], dtype=torch.float64)


def test_is_a_line_between_knots() -> None:
    gap = np.array([0, 0.5, 1, 2, 3, 5, 7, 8, 1000])
    expected = [np.interp(np.log2(1 + gap), range(4), row) for row in TABLE.numpy()]
    np.testing.assert_allclose(gap_bias(TABLE, torch.from_numpy(gap)), expected, rtol=1e-12)


def test_knots_lie_at_powers_of_two() -> None:
    assert gap_bias(TABLE, torch.tensor([0, 1, 3, 7])).allclose(TABLE)
    assert gap_bias(TABLE, torch.tensor([0, HOUR, 3 * HOUR, 7 * HOUR]), HOUR).allclose(TABLE)


def test_is_level_behind_the_last_knot_and_before_the_first() -> None:
    far = gap_bias(TABLE, torch.tensor([[7, 2**20], [-1, -(2**40)]]))
    assert far.equal(TABLE[:, [3, 0], None].expand(-1, -1, 2))


def test_an_even_slope_is_alibi_s() -> None:
    table = -0.5 * torch.arange(12)[None]
    distance = torch.arange(2000)
    torch.testing.assert_close(gap_bias(table, distance)[0], -0.5 * (1 + distance).log2())


def test_gradients_are_those_of_small_differences() -> None:
    gap = torch.tensor([[0, 1, 2], [9, 100, -3]])
    assert torch.autograd.gradcheck(lambda table: gap_bias(table, gap), (TABLE.clone().requires_grad_(),))


def test_the_bias_of_a_tile_is_the_same() -> None:
    """Also where distances are large and times small, and far behind the last knots."""
    distance = torch.tensor([[[-1.0, 0.0, 1.0, 900.0]]], dtype=torch.float64)
    moment = torch.tensor([[0, 5 * HOUR, 10**15, 7]])
    times = torch.randn(2, 5, dtype=torch.float64)
    tile = TileBias(TABLE, times, HOUR, longest=900, scale=3.0)
    bias = torch.empty(2, 1, 1, 4, dtype=torch.float64)
    tile.write(bias, tile.gaps(distance, moment, 2))
    expected = gap_bias(TABLE, distance) + gap_bias(times, moment[:, 2:3, None] - moment[:, None, :], HOUR)
    torch.testing.assert_close(bias, 3 * expected)


def test_tables_must_have_knots() -> None:
    with pytest.raises(ValueError, match=r"expected tables \[heads, knots\] with at least 2 knots, received \[2, 4\] and \[4\]"):
        GapTables(TABLE, TABLE[0], torch.zeros(1, dtype=torch.int64))
