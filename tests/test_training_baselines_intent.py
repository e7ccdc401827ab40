"""RFM and boosted trees: taught on the past only, better than chance, honest about who is unknown."""

import numpy as np
import pytest
from helpers_evaluation import EVENT_NAMES, PURCHASE, START, random_log
from sklearn.metrics import roc_auc_score

from training.baselines.features import Activity
from training.baselines.intent import IntentBaseline, intent_baselines, past_moments
from training.baselines.rfm import rfm_scores
from training.baselines.snapshots import Snapshots
from training.errors import ConfigError
from training.sequences.history import History
from training.sequences.split import DAY

KIND = {"intent_events": np.array([PURCHASE]), "event_names": EVENT_NAMES}
VALIDATION, TEST, HORIZON = START + 150 * DAY, START + 175 * DAY, 7 * DAY
LOG = random_log(seed=11, num_customers=250)


def fit(history: History) -> dict[str, IntentBaseline]:
    return intent_baselines(history, validation_now=VALIDATION, horizon=HORIZON, seed=0, **KIND)


@pytest.fixture(scope="module")
def baselines() -> dict[str, IntentBaseline]:
    return fit(History.at(LOG, TEST))


@pytest.mark.parametrize("name", ["rfm", "boosted_trees"])
def test_customers_with_a_rhythm_are_told_apart(name: str, baselines: dict[str, IntentBaseline]) -> None:
    probabilities = baselines[name].probabilities(LOG, TEST)
    known = ~np.isnan(probabilities)
    came_back = Activity.of(LOG, **KIND).came_back(TEST, HORIZON)
    assert roc_auc_score(came_back[known], probabilities[known]) > 0.75
    assert probabilities[known].min() >= 0
    assert probabilities[known].max() <= 1
    assert baselines[name].settings


@pytest.mark.parametrize("name", ["rfm", "boosted_trees"])
def test_who_has_no_event_gets_no_number(name: str, baselines: dict[str, IntentBaseline]) -> None:
    assert np.flatnonzero(np.isnan(baselines[name].probabilities(LOG, TEST))).tolist() == [249]


@pytest.mark.parametrize("name", ["rfm", "boosted_trees"])
def test_the_future_changes_no_answer(name: str, baselines: dict[str, IntentBaseline]) -> None:
    np.testing.assert_array_equal(baselines[name].probabilities(LOG, TEST), baselines[name].probabilities(History.at(LOG, TEST), TEST))


def test_what_follows_the_validation_horizon_teaches_nothing(baselines: dict[str, IntentBaseline]) -> None:
    blind = fit(History.at(LOG, VALIDATION + HORIZON))
    for name, baseline in baselines.items():
        np.testing.assert_array_equal(blind[name].probabilities(LOG, TEST), baseline.probabilities(LOG, TEST), err_msg=name)


def test_rfm_scores_are_fifths_of_the_buyers_of_a_moment() -> None:
    snapshots = Snapshots.take(Activity.of(LOG, **KIND), [VALIDATION, TEST])
    scores = rfm_scores(snapshots)
    recency, bought = snapshots.columns(["recency_days", "purchases"]).T
    for moment in (VALIDATION, TEST):
        buyers = (snapshots.moment == moment) & (bought > 0)
        share = np.bincount(scores[buyers, 0].astype(int), minlength=6)[1:] / buyers.sum()
        assert share == pytest.approx([0.2] * 5, abs=0.02)
        assert scores[buyers, 0][np.argmin(recency[buyers])] == 5
    assert (scores[bought == 0] == 0).all()


def test_a_window_too_short_to_learn_from_is_refused() -> None:
    with pytest.raises(ConfigError, match="longer than the horizon of 7 days, received 5 days"):
        intent_baselines(LOG, validation_now=START + 5 * DAY + int(LOG.columns["timestamp"].min() - START), horizon=HORIZON, seed=0, **KIND)


@pytest.mark.parametrize(
    ("days", "horizon", "ages"),
    [(365, 7, [7 * week for week in range(1, 27)]), (70, 7, [7, 14, 21, 28, 35, 42]), (21, 7, [7, 14]), (8, 1, [1, 2, 3, 4]), (9, 7, [7])],
    ids=["a year", "ten weeks", "three weeks", "a week asked about tomorrow", "hardly longer than the horizon"],
)
def test_past_moments_fit_the_log(days: int, horizon: int, ages: list[int]) -> None:
    moments = past_moments(START, START + days * DAY, horizon * DAY)
    assert [(START + days * DAY - moment) / DAY for moment in moments] == ages


def test_customers_that_all_do_the_same_are_refused() -> None:
    with pytest.raises(ConfigError, match="found only one kind"):
        intent_baselines(LOG, validation_now=START + 900 * DAY, horizon=HORIZON, seed=0, **KIND)
