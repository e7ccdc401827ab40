"""Drift: a population that stays has an index of nearly nothing, classes that move are counted, stale classes cost what they should."""

import numpy as np
import pytest

from training.errors import ConfigError
from training.evaluation.drift import migration, moved_share, stability_index, stale_loss, stale_share

RANDOM = np.random.default_rng(2)
CLASSES = np.array([[0, 0, -1], [0, 1, -1], [1, 1, 2], [1, 0, 2]])


@pytest.mark.parametrize("values", [(0.0, 1.0), (1.0, 0.0)], ids=["mostly the least", "mostly the greatest"])
def test_index_by_its_definition(values: tuple[float, float]) -> None:
    """One value fills nearly all bins, as with counts of rare events: it is told from the other all the same."""
    before, after = np.repeat(values, [950, 50]), np.repeat(values, [600, 400])
    b, a = np.array([950.5, 50.5, 0.5]), np.array([600.5, 400.5, 0.5])
    b, a = b / b.sum(), a / a.sum()
    assert stability_index(before, after) == pytest.approx(((a - b) * np.log(a / b)).sum(), rel=1e-3)


@pytest.mark.parametrize(
    ("after", "low", "high"),
    [
        (RANDOM.normal(0, 1, 5000), 0.0, 0.02),
        (RANDOM.normal(1, 1, 5000), 0.6, 1.2),  # the divergence of two normal distributions one apart is 1
        (np.where(RANDOM.random(5000) < 0.5, np.nan, RANDOM.normal(0, 1, 5000)), 0.25, 9.0),
    ],
    ids=["the same", "moved", "half are missing"],
)
def test_index_tells_change_from_none(after: np.ndarray, low: float, high: float) -> None:
    assert low <= stability_index(np.random.default_rng(1).normal(0, 1, 5000), after) < high


def test_migration_counts_who_has_both_classes() -> None:
    moves = migration(np.array([0, 0, 1, 2, -1, 2]), np.array([0, 1, 1, 0, 1, -1]), num_classes=3)
    assert moves.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert moved_share(moves) == 0.5
    assert np.isnan(moved_share(np.zeros((3, 3))))


@pytest.mark.parametrize(("every", "wrong"), [(1, 0), (2, 2), (4, 6)])
def test_stale_classes_by_hand(every: int, wrong: int) -> None:
    """Ten classes are known: of two customers at four moments, of the third at two."""
    assert stale_share(CLASSES, every=every) == wrong / 10


def test_stale_classes_foretell_less() -> None:
    """The class is what follows, and a tenth of the customers change theirs with every refresh."""
    changes = RANDOM.random((26, 2000)) < 0.1
    drawn = RANDOM.integers(0, 5, (26, 2000))
    last = np.maximum.accumulate(np.where(changes, np.arange(26)[:, None], 0), axis=0)
    classes = drawn[last, np.arange(2000)]
    losses = [stale_loss(classes, 10.0 * classes, every=every) for every in (1, 2, 13, 26)]
    assert losses[0] == 0
    assert losses == sorted(losses)
    kept = 0.9 ** np.arange(13)  # half of thirteen refreshes later the class is still the same; otherwise any of five
    assert losses[2] == pytest.approx(1 - kept.mean() ** 2, abs=0.02)


def test_nothing_to_lose() -> None:
    assert np.isnan(stale_loss(CLASSES, np.ones_like(CLASSES), every=2))
    assert np.isnan(stale_share(np.full((2, 3), -1), every=2))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: migration(np.array([0, 5]), np.array([0, 1]), num_classes=3), "from -1 to 2"),
        (lambda: migration(np.array([0]), np.array([0, 1]), num_classes=3), "two classes a customer"),
        (lambda: stale_share(CLASSES, every=0), "every from 1 on"),
        (lambda: stability_index(np.zeros(0), np.zeros(3)), "one number a customer"),
    ],
)
def test_mistakes_are_named(ask: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ask()  # type: ignore[operator]
