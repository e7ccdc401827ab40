"""Who buys of which category: the model beside what a team has, for each category by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from training.baselines.intent import intent_baselines
from training.evaluation.compared import Comparison
from training.evaluation.comparison import cutoff
from training.evaluation.outcomes import outcome_metrics, reliability
from training.evaluation.panels import Panel, Table, number, percent
from training.evaluation.rivals import Rivals
from training.evaluation.verdict import INTENT_METRICS, MODEL, categories_contest, contestant_name
from training.sequences.history import History, Log
from training.sequences.split import DAY

OTHER = "purchase of another category"

Given = Mapping[str, np.ndarray]


def compare_categories(
    rivals: Rivals,
    customers: np.ndarray,
    evidence: Given,
    *,
    names: Sequence[str],
    place: np.ndarray,
    kinds: np.ndarray,
    horizon: int,
) -> Comparison:
    """Beside RFM of the category and boosted trees, which also know of purchases of others; a model of each for every category.

    evidence: `category_probability` and `category_bought` [n, K], NaN where not judged. place: of each event of the store, where its
    category stands among the names, -1 for others. kinds: ids of purchases; horizon: µs.
    """
    seen = ~np.isnan(evidence["category_bought"][:, 0])
    asked, bought = customers[seen], evidence["category_bought"][seen] > 0
    given: dict[str, list[np.ndarray]] = {}
    for category in range(len(names)):
        for name, probability in _baselines(rivals, place == category, kinds, horizon).items():
            given.setdefault(name, []).append(probability[asked])
    probabilities = {MODEL: evidence["category_probability"][seen], **{name: np.stack(of, 1) for name, of in given.items()}}
    figures = {name: _means(bought, of) for name, of in probabilities.items()}
    groups = {"category": {name: _of_one(bought[:, k], {of: p[:, k] for of, p in probabilities.items()}) for k, name in enumerate(names)}}
    return Comparison(
        title="Of what they buy",
        question=f"Asked on {cutoff(rivals.split)}: will the customer buy of a category within {horizon / DAY:g} days?",
        meaning=f"Each figure is the mean over {len(names)} categories, each judged by itself as any purchase is.",
        customers=asked,
        figures=figures,
        shown=INTENT_METRICS,
        columns={"category_bought": bought, **{f"category_probability_{name}": of for name, of in probabilities.items()}},
        contest=categories_contest(bought, probabilities, figures, seed=rivals.seed),
        calibration={name: reliability(bought.ravel(), of.ravel()) for name, of in probabilities.items()},
        panels=[_panel(groups["category"])],
        groups=groups,
        section="categories",
    )


def _baselines(rivals: Rivals, is_of_category: np.ndarray, kinds: np.ndarray, horizon: int) -> dict[str, np.ndarray]:
    """What those that learn whether anything is bought say of one category: {baseline: [C]}. Other purchases are one more kind of event."""
    split, names = rivals.split, [*rivals.store.vocabularies["event"].keys, OTHER]
    log = _with_others_apart(rivals.store, is_of_category, kinds, other=len(names) - 1)
    baselines = intent_baselines(
        History.at(log, split.validation.until),
        validation_now=int(split.validation.now[0]),
        horizon=horizon,
        intent_events=kinds,
        event_names=names,
        seed=rivals.seed,
    )
    now = int(split.test.now[0])
    return {name: baseline.probabilities(History.at(log, now), now) for name, baseline in baselines.items()}


def _with_others_apart(log: Log, is_of_category: np.ndarray, kinds: np.ndarray, *, other: int) -> History:
    event = log.columns["event"]
    apart = np.where(np.isin(event, kinds) & ~is_of_category, other, event)
    return replace(History(log.offsets, log.columns), columns={**log.columns, "event": apart})


def _means(bought: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    each = [outcome_metrics(bought[:, k], probability[:, k]) for k in range(bought.shape[1])]
    return {metric: float(np.mean([of[metric] for of in each])) for metric in INTENT_METRICS}


def _of_one(bought: np.ndarray, given: Given) -> dict[str, float]:
    return {"bought": float(bought.mean()), **{name: outcome_metrics(bought, of)["auroc"] for name, of in given.items()}}


def _panel(groups: Mapping[str, Mapping[str, float]]) -> Panel:
    contestants = [name for name in next(iter(groups.values())) if name != "bought"]
    rows = [[name, percent(of["bought"]), *(number(of[one], 4) for one in contestants)] for name, of in groups.items()]
    return Panel("Category by category", "AUROC of each.", table=Table(["Category", "Bought", *map(contestant_name, contestants)], rows))
