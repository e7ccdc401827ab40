"""What an old refresh costs, against cases in which the answer is known; and that a day-by-day answer is the answer of that day."""

from pathlib import Path

import numpy as np
import pytest

from training.answers import ask
from training.audience.asking import ask_over_time
from training.audience.refreshes import Daily, Judged, _fifths, _fifths_of_drawn, ages_of, costs_of
from training.build import Parts
from training.export import load_run
from training.sequences.split import DAY

QUARTER, NUM_JUDGED, NUM_CUSTOMERS = 91, 7, 300
ROWS = QUARTER - 1 + NUM_JUDGED


def daily(scores: np.ndarray) -> tuple[Daily, Judged]:
    """Customers who buy where their score is above 0 on the day; the sign is their class."""
    rows = np.arange(QUARTER - 1, ROWS)
    return Daily("model", (scores > 0).astype(np.int64), scores, says_chances=True), Judged(rows, scores[rows] > 0)


@pytest.mark.parametrize("every", [1, 7, 14, 91])
def test_ages_are_those_of_a_rhythm_on_average(every: int) -> None:
    assert np.mean(ages_of(every)) == pytest.approx((every - 1) / 2)


def test_what_does_not_change_does_not_grow_old() -> None:
    of, judged = daily(np.tile(np.random.default_rng(0).normal(size=NUM_CUSTOMERS), (ROWS, 1)))
    costs = costs_of(of, judged, QUARTER, 0)
    assert (costs.wrong.value, costs.auroc.value, costs.lost.value, costs.off_by) == (0, 1, 0, 0)


def test_what_changes_every_day_is_old_the_next_day() -> None:
    of, judged = daily(np.random.default_rng(0).normal(size=(ROWS, NUM_CUSTOMERS)))
    fresh, weekly, quarterly = (costs_of(of, judged, every, 0) for every in (1, 7, QUARTER))
    assert fresh.wrong.value == fresh.lost.value == 0
    assert weekly.wrong.value == pytest.approx(6 / 7 / 2, abs=0.02)  # half of them by chance, six days of seven
    assert quarterly.wrong.value == pytest.approx(90 / 91 / 2, abs=0.02)
    assert quarterly.lost.low < 0.5 < quarterly.lost.high
    assert quarterly.lost.high - quarterly.lost.low < 0.1
    assert quarterly.off_by == pytest.approx(2 / np.sqrt(np.pi), rel=0.05)  # the mean distance of two normal numbers


def test_who_was_unknown_at_the_refresh_is_in_a_wrong_class() -> None:
    scores = np.ones((ROWS, 10))
    scores[:, 5:] = np.arange(ROWS)[:, None] - ROWS  # whoever buys, so that both kinds are there
    scores[: ROWS - 10, 0] = np.nan
    of, judged = daily(scores)
    classes = np.where(np.isnan(scores), -1, of.classes)
    costs = costs_of(Daily("RFM", classes, scores, says_chances=False), judged, QUARTER, 0)
    assert costs.wrong.value == pytest.approx(10 / (9 * QUARTER + 10))
    assert np.isnan(costs.off_by)


@pytest.fixture(scope="module")
def parts(outcomes_run: Path) -> Parts:
    return load_run(outcomes_run)


def test_an_answer_of_a_day_among_many_is_the_answer_of_that_day(parts: Parts) -> None:
    now = int(parts.split.test.now[0])
    short = np.flatnonzero(np.diff(parts.store.offsets) <= parts.questions.max_events)[:7][::-1]
    moments = now + DAY * np.array([-30, -3, 0])
    over_time = ask_over_time(parts, short, moments, customers_per_batch=3)
    for column, moment in enumerate(moments):
        alone = ask(parts, parts.store, short, int(moment))
        np.testing.assert_allclose(over_time.embedding[:, column], alone.embedding, atol=1e-5)
        for name, values in alone.values.items():
            np.testing.assert_allclose(over_time.values[name][:, column], values, rtol=1e-3, atol=1e-5, err_msg=name)


def test_of_who_is_unknown_yet_nothing_is_said(parts: Parts) -> None:
    first = int(parts.store.columns["timestamp"][0])
    told = ask_over_time(parts, np.array([0]), np.array([first - 1, first]), customers_per_batch=8)
    assert np.isnan(told.embedding[0, 0]).all()
    assert np.isfinite(told.embedding[0, 1]).all()
    assert np.isnan(told.values["value"][0]).tolist() == [True, False]


def test_classes_among_those_followed_are_less_sure_than_given_ones() -> None:
    random = np.random.default_rng(0)
    scores = np.cumsum(random.normal(size=(ROWS, 100)), axis=0)
    classes = np.stack([_fifths(of) for of in scores])
    judged = Judged(np.arange(QUARTER - 1, ROWS), random.random((NUM_JUDGED, 100)) < 0.3)
    given, found = (costs_of(Daily("model", classes, scores, True, among), judged, QUARTER, 0).wrong for among in (False, True))
    assert found.value == given.value
    assert found.high - found.low > given.high - given.low
    once = np.ones(100)
    np.testing.assert_array_equal(_fifths_of_drawn(scores, np.argsort(scores, axis=1), once), classes)
    first = np.where(np.arange(100) < 50, 2.0, 0.0)  # the first half, each twice
    of_half = _fifths_of_drawn(scores, np.argsort(scores, axis=1), first)
    np.testing.assert_array_equal(of_half[:, :50], np.stack([_fifths(of) for of in scores[:, :50]]))
    assert (of_half[:, 50:] == -1).all()
