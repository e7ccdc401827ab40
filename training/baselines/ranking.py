"""The ranking baselines, each tuned as the team that runs it would: what is best on validation is used for the test."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from rich.progress import track

from training.baselines.buy_again import BuyAgain
from training.baselines.item_to_item import ItemToItem
from training.baselines.popularity import Popularity
from training.baselines.ranker import Ranker, RankingQuestion, evaluate_ranker
from training.sequences.history import History

CHOSEN_BY = "ndcg@10"
MAX_CUSTOMERS = 1000  # enough to tell the variants apart, and quick

VARIANTS: dict[str, tuple[Callable[..., Ranker], list[dict[str, Any]]]] = {
    "popularity": (Popularity.fit, [{"window_days": days} for days in (None, 28, 91)]),
    "buy_again": (BuyAgain.fit, [{"half_life_days": days} for days in (None, 14, 30, 60, 120)]),
    "item_to_item": (
        ItemToItem.fit,
        [{"context": context, "repeats": repeats} for context in ("step", "customer") for repeats in (False, True)],
    ),
}


def ranking_baselines(
    validation: RankingQuestion, test_history: History, *, candidates: np.ndarray, target_events: np.ndarray, seed: int
) -> dict[str, Ranker]:
    """Each baseline, its variant chosen by NDCG@10 on `validation`, then counted anew on everything before the test: {name: ranker}.

    candidates: bool [num_items], what may be recommended. target_events: ids of the events that say what is wanted. Of more than 1,000
    customers a sample drawn with `seed` chooses. Where what was had is left out, nobody buys again.
    """
    question = _sample(validation, seed=seed)
    kind = {"candidates": candidates, "target_events": target_events}
    rankers = {}
    for name, (fit, variants) in VARIANTS.items():
        if name == "buy_again" and question.leave_out_seen:
            continue
        quality = [_quality(fit(question.history, **kind, **variant), question) for variant in _shown(variants, name)]
        rankers[name] = fit(test_history, **kind, **variants[int(np.argmax(quality))])
    return rankers


def _quality(ranker: Ranker, question: RankingQuestion) -> float:
    return float(evaluate_ranker(ranker, question)[CHOSEN_BY].mean())


def _sample(question: RankingQuestion, *, seed: int) -> RankingQuestion:
    size = len(question.customers)
    if size <= MAX_CUSTOMERS:
        return question
    return question.take(np.sort(np.random.default_rng(seed).choice(size, MAX_CUSTOMERS, replace=False)))


def _shown(variants: list[dict[str, Any]], name: str) -> Iterable[dict[str, Any]]:
    return track(variants, description=f"Tuning {name.replace('_', ' ')}")
