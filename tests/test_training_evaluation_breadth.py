"""How much of the catalogue is shown, and how unusual it is."""

import numpy as np
import pytest
import torch

from training.evaluation.breadth import breadth, top_items

CANDIDATES = np.array([False, False, *[True] * 30])


def test_the_ten_best_and_no_more_than_can_be_recommended() -> None:
    scores = np.full((2, 32), -np.inf, dtype=np.float32)
    scores[0, 2:32] = np.arange(30)
    scores[1, [5, 9]] = 1.0, 2.0
    items = top_items(scores)
    assert items.tolist() == [list(range(31, 21, -1)), [9, 5, *[0] * 8]]
    assert (items == top_items(torch.tensor(scores))).all()
    assert top_items(scores[:, :6]).shape == (2, 10)


def test_coverage_is_of_the_catalogue_and_novelty_in_bits() -> None:
    counts = np.where(CANDIDATES, 31.0, 0.0)
    counts[2] = 32 * 34 - 1  # half of all that is taken, with the one more that each counts
    counts[3:] = (32 * 34) / 29 - 1
    popular = np.zeros((4, 10), dtype=np.int64)
    popular[:, 0] = 2
    assert breadth(popular, counts=counts, candidates=CANDIDATES) == {"coverage@10": 1 / 30, "novelty@10": pytest.approx(1.0)}
    wide = np.arange(2, 32).reshape(3, 10)
    of = breadth(wide, counts=counts, candidates=CANDIDATES)
    assert of["coverage@10"] == 1.0
    assert of["novelty@10"] == pytest.approx((1 + 29 * np.log2(2 * 29)) / 30)


def test_an_item_that_nobody_took_is_finite() -> None:
    of = breadth(np.array([[2, *[0] * 9]]), counts=np.zeros(32), candidates=CANDIDATES)
    assert of["novelty@10"] == pytest.approx(np.log2(30))
