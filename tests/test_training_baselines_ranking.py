"""Ranking baselines on logs small enough to know the answer, and their choice by validation."""

from dataclasses import replace

import numpy as np
import pytest
from helpers_evaluation import PURCHASE, VIEW, log_of, random_log

from training.baselines.buy_again import BuyAgain
from training.baselines.item_to_item import ItemToItem
from training.baselines.popularity import Popularity
from training.baselines.ranker import Ranker, RankingQuestion, evaluate_ranker
from training.baselines.ranking import ranking_baselines
from training.evaluation.ranking import arbitrary_order
from training.sequences.history import History

NUM_ITEMS = 8
ALL = np.arange(NUM_ITEMS) >= 2
KIND = {"candidates": ALL, "target_events": np.array([PURCHASE])}


def ranking(ranker: Ranker, history: History, customer: int) -> list[int]:
    """The candidates from the best to the worst."""
    scores = ranker.scores(history, np.array([customer]))[0]
    assert scores.dtype == np.float32
    return [int(item) for item in np.argsort(-scores, kind="stable") if scores[item] > -np.inf]


EQUALS = [item for item in np.argsort(arbitrary_order(8)).tolist() if item >= 2]  # nothing is known that tells them apart


def test_popularity_counts_target_events() -> None:
    history = log_of([[(1, 5), (2, 5), (3, 4)], [(1, 4), (2, 5), (40, 3)]])
    assert ranking(Popularity.fit(history, window_days=None, **KIND), history, 0)[:3] == [5, 4, 3]
    views = log_of([[(1, 5), (2, 5)]], event=VIEW)
    assert ranking(Popularity.fit(views, window_days=None, **KIND), views, 0) == EQUALS


def test_popularity_of_late_puts_the_latest_first_and_breaks_ties_by_all_history() -> None:
    history = log_of([[(1, 5), (2, 5), (3, 4)], [(1, 4), (2, 5), (40, 3)]])
    assert ranking(Popularity.fit(history, window_days=7, **KIND), history, 0)[:3] == [3, 5, 4]


def test_buy_again_by_count_then_latest_then_popularity() -> None:
    history = log_of([[(1, 6), (2, 7), (3, 7), (4, 5)], [(1, 2), (2, 2), (3, 2), (4, 4)], []])
    ranker = BuyAgain.fit(history, half_life_days=None, **KIND)
    assert ranking(ranker, history, 0) == [7, 5, 6, 2, 4, 3]
    assert ranking(ranker, history, 2)[0] == 2


def test_buy_again_with_decay_prefers_what_is_fresh() -> None:
    history = log_of([[(0, 7), (1, 7), (100, 3)]])
    assert ranking(BuyAgain.fit(history, half_life_days=None, **KIND), history, 0)[:2] == [7, 3]
    assert ranking(BuyAgain.fit(history, half_life_days=14, **KIND), history, 0)[:2] == [3, 7]


def test_buy_again_keeps_what_was_bought_decades_ago_above_what_never_was() -> None:
    history = log_of([[(0, 7), (20_000, 3)], [(1, 2), (2, 2)]])
    assert ranking(BuyAgain.fit(history, half_life_days=14, **KIND), history, 0)[:3] == [3, 7, 2]


def test_item_to_item_within_a_step() -> None:
    together = [(1, 2), (1, 3), (5, 2), (5, 3), (9, 4), (9, 5)]
    history = log_of([together, [(1, 4), (1, 5), (3, 2), (3, 3)], [(1, 2)], [(1, 4)]])
    ranker = ItemToItem.fit(history, context="step", repeats=False, **KIND)
    assert ranking(ranker, history, 2)[0] == 3
    assert ranking(ranker, history, 3)[0] == 5
    assert ranker.similarity[2, 3] == pytest.approx(3 / np.sqrt(4 * 3))
    with_repeats = ItemToItem.fit(history, context="step", repeats=True, **KIND)
    assert ranking(with_repeats, history, 2)[:2] == [2, 3]


def test_item_to_item_within_a_customer() -> None:
    history = log_of([[(1, 2), (2, 6)], [(1, 2), (5, 6)], [(1, 2)]])
    assert ItemToItem.fit(history, context="step", repeats=False, **KIND).similarity.nnz == 0
    assert ranking(ItemToItem.fit(history, context="customer", repeats=False, **KIND), history, 2)[0] == 6


def fits() -> dict[str, tuple]:
    return {
        "popularity": (Popularity.fit, {"window_days": 28}),
        "buy_again by count": (BuyAgain.fit, {"half_life_days": None}),
        "buy_again decayed": (BuyAgain.fit, {"half_life_days": 30}),
        "item_to_item step": (ItemToItem.fit, {"context": "step", "repeats": True}),
        "item_to_item customer": (ItemToItem.fit, {"context": "customer", "repeats": False}),
    }


@pytest.mark.parametrize("name", list(fits()))
def test_candidates_alone_get_a_score_and_chunks_change_nothing(name: str) -> None:
    fit, settings = fits()[name]
    history = random_log(seed=1)
    candidates = np.random.default_rng(0).random(30) < 0.7
    ranker = fit(history, candidates=candidates, target_events=np.array([PURCHASE]), **settings)
    everyone = np.arange(history.num_customers)
    whole = ranker.scores(history, everyone)
    np.testing.assert_array_equal(np.isneginf(whole), np.broadcast_to(~candidates, whole.shape))
    apart = np.concatenate([ranker.scores(history, everyone[::-1][start : start + 7]) for start in range(0, len(everyone), 7)])[::-1]
    np.testing.assert_allclose(apart, whole, rtol=1e-6)


@pytest.mark.parametrize("name", list(fits()))
def test_an_empty_history_is_answered(name: str) -> None:
    fit, settings = fits()[name]
    history = log_of([[], []])
    ranker = fit(history, **KIND, **settings)
    assert ranking(ranker, history, 1) == EQUALS


def test_validation_chooses_the_variant() -> None:
    stale = [(0, 3), (1, 3), (100, 4)]
    history = log_of([[(day + shift, item) for day, item in stale] for shift in range(30)])
    customers = np.arange(30)
    for wanted, settings in ((4, "count with half-life 14 days"), (3, "by count, then latest")):
        validation = RankingQuestion(history, customers, np.full(30, wanted), np.arange(31))
        rankers = ranking_baselines(validation, history, seed=0, **KIND)
        assert list(rankers) == ["popularity", "buy_again", "item_to_item"]
        assert rankers["buy_again"].settings == settings
        assert evaluate_ranker(rankers["buy_again"], validation)["mrr"].tolist() == [1.0] * 30


def test_a_question_keeps_each_customers_items_together() -> None:
    question = RankingQuestion(log_of([[]] * 3), np.array([0, 1, 2]), np.array([2, 3, 4, 5, 6]), np.array([0, 2, 3, 5]))
    part = question.take(np.array([2, 0]))
    assert (part.customers.tolist(), part.items.tolist(), part.offsets.tolist()) == ([2, 0], [5, 6, 2, 3], [0, 2, 4])


def test_what_was_had_may_be_left_out() -> None:
    """Then buying again is no question, and the second best is the best."""
    history = log_of([[(1, 5), (2, 5), (3, 4)], [(1, 4), (2, 5), (40, 3)]])
    question = RankingQuestion(history, np.array([0]), np.array([3]), np.array([0, 1]))
    ranker = Popularity.fit(history, window_days=None, **KIND)
    places = [1 / evaluate_ranker(ranker, replace(question, leave_out_seen=left_out))["mrr"][0] for left_out in (False, True)]
    assert places == [3, 1]
    assert list(ranking_baselines(replace(question, leave_out_seen=True), history, seed=0, **KIND)) == ["popularity", "item_to_item"]
