"""Classes, learned segments and their names: who is put where, and what is said of them."""

import numpy as np
import pytest
from helpers_evaluation import PURCHASE, START, log_of

from training.audience.clusters import find_clusters, named
from training.audience.rfm_classes import CLASSES, NO_CLASS, cells_of, classes_of, scores_at
from training.audience.traits import Trait, distinguishing, in_words
from training.baselines.features import Steps
from training.sequences.split import DAY


def steps(*customers: list[float]) -> Steps:
    """Customers as lists of days on which they bought one thing."""
    log = log_of([[(day, 2) for day in days] for days in customers], event=PURCHASE)
    return Steps.of(log)


def test_a_class_is_told_from_what_was_bought_by_the_moment() -> None:
    often_lately, often_once, once_lately, once = [*range(60, 100, 4), 99], [*range(1, 40, 4)], [98], [1]
    customers = [often_lately, often_once, once_lately, once, [200], [50]]
    scores = scores_at(steps(*customers), START + 100 * DAY)
    found = [CLASSES[place] if place != NO_CLASS else None for place in classes_of(scores)]
    assert found == ["champions", "at risk", "promising", "lost", None, "wavering"]
    assert cells_of(scores)[4] == NO_CLASS
    earlier = [[day for day in days if day <= 100] for days in customers]
    np.testing.assert_array_equal(scores, scores_at(steps(*earlier), START + 100 * DAY))


def test_every_cell_of_fifths_has_one_class_and_one_number() -> None:
    every = np.array(np.meshgrid(*[np.arange(1, 6)] * 3)).reshape(3, -1).T.astype(float)
    assert sorted(cells_of(every)) == list(range(125))
    assert set(classes_of(every)) == set(range(len(CLASSES)))


def test_segments_are_found_and_told_of_others_too() -> None:
    random = np.random.default_rng(0)
    sizes = [90, 70, 50, 30, 20]
    truth = np.repeat(np.arange(5), sizes)
    centres = 5 * np.eye(5)
    embedding = (centres[truth] + 0.3 * random.normal(size=(len(truth), 5))).astype(np.float32)
    found = find_clusters(embedding, seed=1)
    assert found is not None
    np.testing.assert_array_equal(found.labels, truth)  # the largest comes first
    assert found.silhouette > 0.8
    np.testing.assert_array_equal(found.assign(centres + 0.1), np.arange(5))
    assert found.assign(np.full((1, 5), np.nan)) == [-1]


def test_customers_who_are_all_alike_are_no_segments() -> None:
    assert find_clusters(np.ones((50, 4), dtype=np.float32), seed=0) is None


@pytest.fixture
def traits() -> list[Trait]:
    """Ten customers of whom the first three have been quiet, buy often and have one huge basket among them."""
    silence = np.array([41, 40, 39, 3, 4, 5, 6, 2, 1, 7], dtype=float)
    pace = np.array([9, 8, 7, 1, 2, 3, 1, 2, 3, 2], dtype=float)
    basket = np.array([1e6, 4, 5, 6, 5, 4, 6, 5, 4, 5], dtype=float)
    return [
        Trait("silence", "silence", "quiet for {:.0f} days", "bought {:.0f} days ago", silence),
        Trait("gap", "silence", "quiet for {:.1f} pauses", "on time", silence / 10),
        Trait("pace", "pace", "buys often ({:.0f} times)", "buys rarely", pace),
        Trait("basket", "basket", "large baskets", "small baskets", basket),
        Trait("unknown", "unknown", "high", "low", np.where(np.arange(10) == 3, 1.0, np.nan)),
    ]


def test_a_name_says_what_distinguishes(traits: list[Trait]) -> None:
    members = np.arange(10) < 3
    distinct = distinguishing(traits, members)
    assert in_words(distinct, members) == "buys often (8 times), quiet for 40 days"
    differences = {trait.name: by for trait, by in distinct}
    assert "gap" not in differences
    assert differences["silence"] > 1
    assert abs(differences["basket"]) < 0.35
    assert differences["unknown"] == 0


def test_who_differs_in_nothing_is_like_everybody(traits: list[Trait]) -> None:
    assert in_words(distinguishing(traits[4:], np.arange(10) < 5), np.arange(10) < 5) == "like everybody else"


def test_segments_have_a_letter_each(traits: list[Trait]) -> None:
    segments = named(np.array([1, 1, 1] + [0] * 7), traits)
    assert [segment.name for segment in segments] == [
        "A: buys rarely, bought 4 days ago",
        "B: buys often (8 times), quiet for 40 days",
    ]
    assert segments[1].members.tolist() == [True] * 3 + [False] * 7
