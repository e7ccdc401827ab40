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


def first_line(*contests: Contest) -> str:
    return verdict_lines(list(contests))[0]


def test_a_model_that_wins() -> None:
    won = contest(0.35, popularity=0.1, buy_again=0.2)
    assert won.verdict is Verdict.BEATS
    assert first_line(won).startswith("The model beats every baseline on NDCG@10; the strongest, buy again, by 0.1")


def test_a_model_that_loses_to_one_of_them_loses() -> None:
    lost = contest(0.2, popularity=0.1, buy_again=0.35)
    assert lost.verdict is Verdict.LOSES
    assert first_line(lost).startswith("The model loses on NDCG@10 to buy again by 0.1")
    assert "popularity" not in first_line(lost)


def test_a_difference_that_may_be_nothing_is_called_so() -> None:
    level = contest(0.2, popularity=0.1, buy_again=0.2)
    assert level.verdict is Verdict.LEVEL
    assert first_line(level).startswith("The model is not distinguishable on NDCG@10 from buy again (difference ")


def test_all_that_is_not_won_stands_in_the_first_line_the_worst_first() -> None:
    won, level, lost = contest(0.3, popularity=0.1), contest(0.2, buy_again=0.2), contest(0.1, item_to_item=0.2)
    lines = verdict_lines([won, level, lost])
    assert lines == [f"{lost.decision} {level.decision}", won.decision]
    assert lines[0].startswith("The model loses on NDCG@10 to item to item by 0.")
    assert verdict_lines([won, won]) == [won.decision, won.decision]


def test_every_figure_on_which_a_baseline_is_ahead_stands_in_the_first_line() -> None:
    labels = np.arange(1000) % 2 == 0
    sure, vague = np.where(labels, 0.99, 0.5), np.where(labels, 0.6, 0.4)
    unsure = intent_contest(labels, {"model": vague, "rfm": sure}, seed=0)
    lines = verdict_lines([contest(0.1, item_to_item=0.2), unsure])
    assert unsure.verdict is Verdict.LEVEL
    assert lines == [f"{contest(0.1, item_to_item=0.2).decision} {unsure.decision} A baseline is ahead on {', '.join(unsure.ahead)}."]


def test_intent_is_compared_by_auroc() -> None:
    random = np.random.default_rng(1)
    truth = random.random(1500)
    labels = random.random(1500) < truth
    result = intent_contest(labels, {"rfm": random.random(1500), "model": truth}, seed=0)
    assert [one.name for one in result.contestants] == ["model", "rfm"]
    assert first_line(result).startswith("The model beats every baseline on AUROC of intent; the strongest, RFM, by 0.")


def test_a_metric_on_which_a_baseline_is_ahead_is_named() -> None:
    random = np.random.default_rng(2)
    better, worse = {"ndcg@10": 0.3 + 0.1 * random.random(500), "mrr": np.full(500, 0.4)}, {"ndcg@10": 0.2 * random.random(500)}
    sentence = first_line(ranking_contest({"model": better, "buy_again": {**worse, "mrr": np.full(500, 0.45)}}, seed=0))
    assert sentence.startswith("The model beats every baseline on NDCG@10")
    assert sentence.endswith(". A baseline is ahead on MRR (buy again 0.4500, the model 0.4000).")
    assert "ahead" not in first_line(ranking_contest({"model": better, "buy_again": {**worse, "mrr": np.full(500, 0.4)}}, seed=0))


def test_a_smaller_calibration_error_is_ahead() -> None:
    labels = np.arange(1000) % 2 == 0
    sure, vague = np.where(labels, 0.99, 0.5), np.where(labels, 0.6, 0.4)
    assert "ahead" not in first_line(intent_contest(labels, {"model": vague, "rfm": vague}, seed=0))
    sentence = first_line(intent_contest(labels, {"model": vague, "rfm": sure}, seed=0))
    figures = ("Brier score of intent (RFM 0.1250, the model 0.1600)", "Calibration error of intent (RFM 0.2550, the model 0.4000)")
    assert sentence.endswith(f"ahead on {', '.join(figures)}.")


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
