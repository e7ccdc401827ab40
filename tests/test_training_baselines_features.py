"""Features of customers at a moment: known answers, and no look at the future."""

import numpy as np
import pytest
from helpers_evaluation import EVENT_NAMES, PURCHASE, START, VIEW, log_of, random_log

from training.baselines.features import Activity, customer_features
from training.sequences.history import History
from training.sequences.split import DAY

KIND = {"intent_events": np.array([PURCHASE]), "event_names": EVENT_NAMES}


def features(history: History, day: float) -> dict[str, np.ndarray]:
    names, values = customer_features(history, START + round(day * DAY), **KIND)
    assert values.dtype == np.float32
    assert values.shape == (history.num_customers, len(names))
    return dict(zip(names, values.T, strict=True))


def test_known_answers() -> None:
    # two items on day 1, one on day 5, one again on day 11; the second customer never came
    history = log_of([[(1, 4), (1, 5), (5, 4), (11, 4)], []], price=[2, 3, 2, 4], quantity=[1, 2, np.nan, 1])
    found = {name: values[0] for name, values in features(history, 15).items()}
    expected = {
        "recency_days": 4,
        "tenure_days": 14,
        "purchases": 3,
        "spend": 2 + 6 + 2 + 4,
        "mean_gap_days": 5,
        "std_gap_days": 1,
        "last_gap_days": 6,
        "recency_in_gaps": 0.8,
        "items_per_purchase": 4 / 3,
        "spend_per_purchase": 14 / 3,
        "last_purchase_items": 1,
        "last_purchase_spend": 4,
        "distinct_items": 2,
        "purchases_7d": 1,
        "purchases_14d": 2,
        "items_28d": 4,
        "spend_14d": 6,
        "active_weeks_of_12": 3,
        "share_weekday_1": 1 / 3,
        "view_28d": 0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert np.isnan(found["view_since_days"])


def test_the_weekday_is_that_of_the_calendar() -> None:
    assert np.datetime64(START, "us").astype(object).weekday() == 4
    assert features(log_of([[(0, 4)]]), 1)["weekday"].tolist() == [5]
    assert features(log_of([[(0, 4)]]), 1)["share_weekday_4"].tolist() == [1]


def test_without_prices_events_are_counted() -> None:
    assert features(log_of([[(1, 4), (1, 5), (2, 4)]]), 3)["spend"].tolist() == [3]


def test_views_are_no_purchases() -> None:
    found = features(log_of([[(1, 4), (2, 4)]], event=VIEW), 4)
    assert (found["purchases"][0], found["view_28d"][0], found["view_since_days"][0]) == (0, 2, 2)
    assert np.isnan(found["recency_days"][0])


@pytest.mark.parametrize("day", [0, 33.5, 90, 150])
def test_the_future_changes_nothing(day: float) -> None:
    now = START + round(day * DAY)
    log = random_log(seed=4)
    past = History.at(log, now)
    other = History(log.offsets, {**log.columns, "item": _shuffled_after(log, now, "item"), "price": _shuffled_after(log, now, "price")})
    expected = customer_features(past, now, **KIND)[1]
    np.testing.assert_array_equal(customer_features(log, now, **KIND)[1], expected)
    np.testing.assert_array_equal(customer_features(other, now, **KIND)[1], expected)


def test_a_planted_leak_would_be_seen() -> None:
    """The check above is able to fail: what lies after the moment does differ."""
    now = START + 90 * DAY
    log = random_log(seed=4)
    later = customer_features(log, now + 60 * DAY, **KIND)[1]
    assert not np.array_equal(later, customer_features(History.at(log, now), now + 60 * DAY, **KIND)[1], equal_nan=True)


def test_coming_back_is_a_purchase_after_the_moment_and_within_the_horizon() -> None:
    activity = Activity.of(log_of([[(1, 4)], [(2, 4)], [(3, 4)], []]), **KIND)
    assert activity.came_back(START + DAY, 1 * DAY).tolist() == [False, True, False, False]
    assert activity.seen(START + DAY).tolist() == [0]


def test_labels_do_not_change_with_what_follows_the_horizon() -> None:
    log, now, horizon = random_log(seed=6), START + 80 * DAY, 7 * DAY
    expected = Activity.of(log, **KIND).came_back(now, horizon)
    assert expected.any()
    assert not expected.all()
    np.testing.assert_array_equal(Activity.of(History.at(log, now + horizon), **KIND).came_back(now, horizon), expected)


def _shuffled_after(log: History, now: int, field: str) -> np.ndarray:
    column, after = log.columns[field].copy(), log.columns["timestamp"] > now
    column[after] = np.random.default_rng(0).permutation(column[after])
    return column
