"""Stairs rise where training saw numbers lie: evenly between the different ones, flat beyond them and where nothing varies.

Curves over them tell of each number alone.
"""

from pathlib import Path

import pytest
import torch
from helpers_training import make_store, train_config

from training.build import build
from training.models.stairs import NARROWEST, NUM_CURVES, NUM_STAIRS, Curves, Stairs
from training.sequences.store import SequenceStore


def fitted(*columns: list[float]) -> Stairs:
    stairs = Stairs(len(columns))
    stairs.fit(torch.tensor(columns).T)
    return stairs


def test_each_stair_is_climbed_between_two_quantiles_of_the_different_numbers() -> None:
    rare = [0.0] * 91 + [float(number) for number in range(1, 17)]  # most have none: that is one number among many
    stairs = fitted(rare)
    assert stairs.low.tolist() == [[0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0]]
    assert stairs(torch.tensor([[3.5]])).tolist() == [[1.0, 0.75, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]


def test_numbers_are_told_apart_in_order_and_beyond_all_not_at_all() -> None:
    stairs = fitted([0.0, 1.0, 5.0, 40.0])
    climbed = stairs(torch.tensor([[-7.0], [0.0], [0.3], [4.0], [39.0], [40.0], [1e9]])).sum(-1).tolist()
    assert climbed == sorted(climbed)
    assert climbed[0] == climbed[1] == 0
    assert climbed[-1] == climbed[-2] == NUM_STAIRS


def test_what_never_varied_says_nothing() -> None:
    assert not fitted([3.0, 3.0], [1.0, 2.0])(torch.tensor([[7.0, 1.0]])).any()


def test_float_noise_makes_no_step() -> None:
    noise = [1.0 + number * 1e-7 for number in range(20)]
    climbed = fitted([*noise, 9.0])(torch.tensor(noise)[:, None])
    assert (climbed[-1] - climbed[0]).abs().max() < 2e-6 / NARROWEST


def test_curves_are_of_each_number_alone() -> None:
    stairs, curves = fitted([0.0, 4.0, 8.0], [0.0, 1.0, 2.0], [0.0, 5.0, 9.0]), Curves(3)
    told, other = (curves(stairs(torch.tensor([[3.0, second, 7.0]]))).view(3, NUM_CURVES) for second in (0.5, 1.5))
    assert torch.equal(told[[0, 2]], other[[0, 2]])
    assert not torch.equal(told[1], other[1])


def test_a_curve_is_a_line_between_two_stairs_and_never_below_zero() -> None:
    torch.manual_seed(0)
    stairs, curves = fitted([float(number) for number in range(NUM_STAIRS + 1)]), Curves(1)
    at = curves(stairs(torch.linspace(2.0, 3.0, 5)[:, None]))
    assert (at >= 0).all()
    never_cut = (at > 0).all(0)
    assert never_cut.any()
    torch.testing.assert_close(at[1:-1, never_cut], torch.lerp(at[:1], at[-1:], torch.tensor([[0.25], [0.5], [0.75]]))[:, never_cut])


@pytest.mark.parametrize("refit", [False, True])
def test_heads_of_a_run_read_what_its_training_window_shows(tmp_path: Path, refit: bool) -> None:
    store = make_store(tmp_path)
    config = train_config(store, tmp_path / "run", "objective=[intent,value]")
    parts = build(config, SequenceStore.open(str(store)), refit=refit)
    first, second = (parts.model.objectives[name].head.from_rhythm[0] for name in ("intent", "value"))  # type: ignore[union-attr, index]
    assert torch.equal(first.low, second.low)
    assert not torch.equal(first.low, Stairs(len(first.low)).low)
    again = build(config, SequenceStore.open(str(store)), refit=refit).model.objectives["intent"].head.from_rhythm[0]  # type: ignore[union-attr, index]
    assert torch.equal(first.low, again.low)
