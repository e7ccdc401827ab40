"""The verdict says who wins, by how much, and when nobody can tell."""

import numpy as np
import pytest

from training.errors import ConfigError
from training.evaluation.verdict import Contest, Verdict, intent_contest, ranking_contest, verdict_lines


def contest(model: float, **baselines: float) -> Contest:
    """NDCG@10 of a thousand customers around the given means."""
    random = np.random.default_rng(0)
    shared = random.normal(0, 0.2, 1000)
    values = {name: mean + shared + random.normal(0, 0.05, 1000) for name, mean in {"model": model, **baselines}.items()}
    return ranking_contest({name: {"ndcg@10": of} for name, of in values.items()}, seed=0)


def test_a_model_that_wins() -> None:
    won = contest(0.35, popularity=0.1, buy_again=0.2)
    assert won.verdict is Verdict.BEATS
    assert won.sentence.startswith("The model beats every baseline on NDCG@10; the strongest, buy again, by 0.1")


def test_a_model_that_loses_to_one_of_them_loses() -> None:
    lost = contest(0.2, popularity=0.1, buy_again=0.35)
    assert lost.verdict is Verdict.LOSES
    assert lost.sentence.startswith("The model loses on NDCG@10 to buy again by 0.1")
    assert "popularity" not in lost.sentence


def test_a_difference_that_may_be_nothing_is_called_so() -> None:
    level = contest(0.2, popularity=0.1, buy_again=0.2)
    assert level.verdict is Verdict.LEVEL
    assert level.sentence.startswith("The model is not distinguishable on NDCG@10 from buy again (difference ")


def test_the_worst_news_comes_first() -> None:
    lines = verdict_lines([contest(0.3, popularity=0.1), contest(0.2, buy_again=0.2), contest(0.1, item_to_item=0.2)])
    assert [line.split(" on ")[0] for line in lines] == [
        "The model loses",
        "The model is not distinguishable",
        "The model beats every baseline",
    ]


def test_intent_is_compared_by_auroc() -> None:
    random = np.random.default_rng(1)
    truth = random.random(1500)
    labels = random.random(1500) < truth
    result = intent_contest(labels, {"rfm": random.random(1500), "model": truth}, seed=0)
    assert [one.name for one in result.contestants] == ["model", "rfm"]
    assert result.sentence.startswith("The model beats every baseline on AUROC; the strongest, RFM, by 0.")


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ({"model": [0.1, 0.2]}, "at least one baseline"),
        ({"popularity": [0.1, 0.2]}, "of 'model'"),
        ({"model": [0.1, 0.2], "popularity": [0.1]}, "same 2 customers"),
        ({"model": [0.1, 0.2], "popularity": [0.1, np.nan]}, "NaN from popularity"),
    ],
    ids=["no baseline", "no model", "other customers", "no number"],
)
def test_results_that_can_not_be_compared_are_refused(results: dict[str, list[float]], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ranking_contest({name: {"ndcg@10": np.array(values)} for name, values in results.items()}, seed=0)
