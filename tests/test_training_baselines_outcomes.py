"""The outcome baselines: blind to the future, an answer for everybody who was seen, right on average, better than chance."""

from dataclasses import replace

import numpy as np
import pytest
from helpers_evaluation import PURCHASE, VIEW, log_of, random_log
from hypothesis import given
from hypothesis import strategies as st

from training.baselines.member_value import Categories, MemberValue
from training.baselines.outcome_question import OutcomeQuestion
from training.baselines.outcomes import OutcomeAnswers, outcome_baselines
from training.baselines.rfm_outcomes import mean_by_class
from training.baselines.snapshots import Snapshots
from training.errors import ConfigError
from training.evaluation.figures import returns_figures, time_figures, value_figures
from training.sequences.history import History, customer_of_event
from training.sequences.split import DAY, Split, leave_one_out, time_split


def with_strangers(log: History) -> History:
    """The same log, of whose customers every tenth only looks."""
    looks = customer_of_event(log.offsets) % 10 == 0
    return replace(log, columns={**log.columns, "event": np.where(looks, VIEW, log.columns["event"]).astype(np.int32)})


LOG = with_strangers(random_log(seed=8, num_customers=400, days=300))
HORIZON_DAYS = 21.0
SPLIT = time_split(LOG, horizon_days=HORIZON_DAYS)
NOW = int(SPLIT.test.now[0])
SEEN = History.at(LOG, NOW).num_events > 0
EVERY = ["rfm", "member_value", "bg_nbd", "pareto_nbd", "cox", "boosted_trees"]
FIELDS = ["returns", "value", "days"]


def ask(log: History, split: Split = SPLIT, **options: MemberValue) -> dict[str, OutcomeAnswers]:
    return outcome_baselines(log, split, kinds=np.array([PURCHASE]), horizon_days=HORIZON_DAYS, seed=3, **options)


@pytest.fixture(scope="module")
def answers() -> dict[str, OutcomeAnswers]:
    return ask(LOG)


def truth() -> tuple[np.ndarray, np.ndarray]:
    """Spend within the horizon and days to the next purchase, at most the horizon: each [C]."""
    future = History.future(LOG, NOW, SPLIT.test.until)
    bought = future.where(future.columns["event"] == PURCHASE)
    customer = customer_of_event(bought.offsets)
    amount = bought.columns["price"].astype(float) * np.nan_to_num(bought.columns["quantity"], nan=1.0)
    days = np.full(LOG.num_customers, HORIZON_DAYS)
    np.minimum.at(days, customer, (bought.columns["timestamp"] - NOW) / DAY)
    return np.bincount(customer, weights=amount, minlength=LOG.num_customers), days


def test_each_has_its_answers(answers: dict[str, OutcomeAnswers]) -> None:
    assert list(answers) == EVERY
    assert [name for name, said in answers.items() if said.value is None] == ["cox"]
    for said in answers.values():
        for values in filter(lambda values: values is not None, (said.returns, said.value, said.days)):
            np.testing.assert_array_equal(~np.isnan(values), SEEN)
            assert values[SEEN].min() >= 0
        assert said.returns[SEEN].max() <= 1
        assert said.days[SEEN].max() <= HORIZON_DAYS
        assert said.settings


@pytest.mark.parametrize("name", EVERY)
def test_answers_are_better_than_chance_and_right_on_average(name: str, answers: dict[str, OutcomeAnswers]) -> None:
    said, (spent, days) = answers[name], truth()
    came = days < HORIZON_DAYS
    assert returns_figures(came[SEEN], said.returns[SEEN])["auroc"] > 0.75
    assert time_figures(days[SEEN], came[SEEN], said.days[SEEN])["concordance"] > 0.7
    assert said.returns[SEEN].mean() == pytest.approx(came[SEEN].mean(), abs=0.1)
    assert said.days[SEEN].mean() == pytest.approx(days[SEEN].mean(), abs=2.5)
    if said.value is not None:
        figures = value_figures(spent[SEEN], said.value[SEEN])
        assert abs(figures["aggregate_error"]) < 0.3
        assert figures["spearman"] > 0.4


def test_the_future_changes_no_answer(answers: dict[str, OutcomeAnswers]) -> None:
    """Other items, prices and kinds of events after the moment, and then none at all."""
    later = LOG.columns["timestamp"] > NOW
    swapped = {
        "event": np.where(later, VIEW, LOG.columns["event"]),
        "item": np.where(later, 99, LOG.columns["item"]),
        "price": np.where(later, 1e6, LOG.columns["price"]).astype(np.float32),
    }
    for other in (replace(LOG, columns=LOG.columns | swapped), History.at(LOG, NOW)):
        for name, said in ask(other).items():
            for field in FIELDS:
                np.testing.assert_array_equal(getattr(said, field), getattr(answers[name], field), err_msg=f"{name} {field}")


def test_without_prices_value_is_the_number_of_purchases() -> None:
    columns = {name: values for name, values in LOG.columns.items() if name not in ("price", "quantity")}
    future = History.future(LOG, NOW, SPLIT.test.until)
    number = (future.columns["event"] == PURCHASE).sum()
    for name, said in ask(replace(LOG, columns=columns)).items():
        if said.value is not None:
            assert said.value[SEEN].sum() == pytest.approx(number, rel=0.25), name


def test_who_never_bought_is_told_what_became_of_their_like(answers: dict[str, OutcomeAnswers]) -> None:
    past = History.at(LOG, NOW)
    bought = past.where(past.columns["event"] == PURCHASE).num_events > 0
    strangers = SEEN & ~bought
    question = OutcomeQuestion.of(LOG, SPLIT, kinds=np.array([PURCHASE]), horizon_days=HORIZON_DAYS, seed=3)
    before = question.lessons.snapshots.columns(["purchases"])[:, 0] == 0
    chance = question.lessons.returned[before].mean()
    assert 0 < chance < 0.5
    for name in ("bg_nbd", "pareto_nbd"):
        assert set(answers[name].returns[strangers]) == {chance}


def test_leave_one_out_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a split by time"):
        outcome_baselines(LOG, leave_one_out(LOG), kinds=np.array([PURCHASE]), horizon_days=HORIZON_DAYS, seed=0)


def test_where_no_horizon_is_over_buy_till_you_die_answers_alone() -> None:
    buyers_only = random_log(seed=8, num_customers=400, days=300)
    answers = outcome_baselines(buyers_only, SPLIT, kinds=np.array([PURCHASE, VIEW]), horizon_days=280, seed=0)
    assert [name for name, said in answers.items() if not said.why_not] == ["bg_nbd", "pareto_nbd"]
    assert all(said.returns is None and "280 days" in said.why_not for said in answers.values() if said.why_not)


def test_lessons_end_where_the_future_begins() -> None:
    question = OutcomeQuestion.of(LOG, SPLIT, kinds=np.array([PURCHASE]), horizon_days=HORIZON_DAYS, seed=0)
    over, since = question.lessons, question.later
    assert over.snapshots.moment.max() + HORIZON_DAYS * DAY <= NOW
    assert since.snapshots.moment.max() > over.snapshots.moment.max()
    assert (since.snapshots.moment + since.days * DAY <= NOW + 1).all()
    np.testing.assert_array_equal(over.returned, over.days < HORIZON_DAYS)
    assert (over.spent[~over.returned] == 0).all()
    assert 0.1 < over.held.mean() < 0.3


def test_member_value_by_hand() -> None:
    """Twice a year 30 each time, of 3 categories, for a year; then nobody who bought nothing."""
    names = ["purchases_365d", "spend_per_purchase", "tenure_days"]
    values = np.array([[2, 30, 365], [0, np.nan, np.nan]], dtype=np.float32)
    snapshots = Snapshots(names, values, np.arange(2), np.zeros(2), np.zeros(2, dtype=bool))
    scores = MemberValue(per_category=0.1, per_year=0.5).scores(snapshots, np.array([3, 0]))
    np.testing.assert_allclose(scores, [2 * 30 * 1.2 * 1.5, 0])


def test_categories_are_those_known_by_the_moment() -> None:
    log = log_of([[(0, 5), (1, 5), (9, 6)], [(2, 7)]])
    log = replace(log, columns={**log.columns, "category": np.array([2, 2, 3, 2], dtype=np.int32)})
    categories = Categories.of(log, np.array([PURCHASE]))
    start = int(log.columns["timestamp"][0])
    rows = [(0, 0), (1, 0), (0, 9), (1, 9)]
    customer, day = (np.array(part) for part in zip(*rows, strict=True))
    snapshots = Snapshots([], np.zeros((4, 0)), customer, start + day * DAY, np.zeros(4, dtype=bool))
    assert categories.known(snapshots).tolist() == [1, 0, 2, 1]


@pytest.mark.parametrize("wrong", [{"per_category": -1.0}, {"at_most": 0.5}])
def test_coefficients_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected per_category"):
        MemberValue(**wrong)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 10)), min_size=1))
def test_means_by_class_keep_the_sum(rows: list[tuple[int, float]]) -> None:
    classes, happened = (np.array(part) for part in zip(*rows, strict=True))
    assert mean_by_class(classes, happened, classes).sum() == pytest.approx(happened.sum())
    assert mean_by_class(classes, happened, np.array([17]))[0] == pytest.approx(happened.mean())


def test_asked_of_visits_they_count_visits_and_trees_know_of_purchases_beside() -> None:
    """Thirty look in every day, twice within ten minutes, and never buy; the others buy once a week, each on a day of their own."""
    days = [[(day + minute / 1440, 5) for day in range(100) for minute in (1, 9)] for _ in range(30)]
    weeks = [[(day + weekday + 0.5, 5) for day in range(0, 98, 7)] for weekday in range(7) for _ in range(5)]
    log = log_of(days + weeks)
    log = replace(log, columns={**log.columns, "event": np.where(customer_of_event(log.offsets) < 30, VIEW, PURCHASE)})
    split, buying, seen_by = time_split(log, horizon_days=1.0), np.array([PURCHASE]), np.array([VIEW, PURCHASE])
    asked = OutcomeQuestion.of(log, split, kinds=buying, visits=seen_by, horizon_days=1.0, seed=0).asked
    visits, spend, purchases = asked.columns(["purchases", "spend", "beside_purchases"]).T
    looked = asked.customer < 30
    assert (visits[looked] >= 97).all(), "two looks within ten minutes are one visit"
    assert (visits[looked] <= 100).all()
    assert (spend == visits).all(), "each counts one"
    assert not purchases[looked].any()
    assert (purchases[~looked] == visits[~looked]).all()
    said = outcome_baselines(log, split, kinds=buying, visits=seen_by, horizon_days=1.0, seed=0)
    few = "boosted_trees"  # who grow nothing from so few customers
    assert all(of.returns[:30].min() > 0.5 > of.returns[30:].mean() for name, of in said.items() if name != few)
    assert outcome_baselines(log, split, kinds=buying, horizon_days=1.0, seed=0)["rfm"].returns[:30].max() < 0.2


def test_where_all_did_the_same_there_is_nothing_to_learn_and_that_is_said() -> None:
    """Everybody looks in every day."""
    log = log_of([[(day, 5) for day in range(90)] for _ in range(20)])
    said = outcome_baselines(log, time_split(log, horizon_days=14), kinds=np.array([PURCHASE]), horizon_days=14, seed=0)
    assert [of.why_not for of in said.values() if of.why_not] == ["all customers came back within 14 days after past moments"] * 4


@pytest.mark.parametrize("horizon_days", [3.0, 14.0])
def test_a_dozen_customers_are_enough(horizon_days: float) -> None:
    log = random_log(seed=1, num_customers=12, days=120)
    split = time_split(log, horizon_days=horizon_days)
    said = outcome_baselines(log, split, kinds=np.array([PURCHASE]), horizon_days=horizon_days, seed=0)
    seen = History.at(log, split.test.now).num_events > 0
    assert all(np.isfinite(getattr(one, field)[seen]).all() for one in said.values() for field in ("returns", "days"))


def test_one_customer_is_not_enough() -> None:
    log = log_of([[(0, 5), (40, 5), (60, 6)]], price=[1.0, 2.0, 3.0])
    with pytest.raises(ConfigError, match="at least two customers"):
        outcome_baselines(log, time_split(log, horizon_days=14), kinds=np.array([PURCHASE]), horizon_days=14, seed=0)
