"""How good the answers are for each kind of customer: one rule for all serves some worse than others."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from training.audience import plots
from training.audience.scene import WHO, Scene
from training.evaluation.bootstrap import Interval, auroc, interval_of, rank_correlation, resampled
from training.evaluation.panels import Chapter, Panel, Table, between, number, percent
from training.evaluation.verdict import MODEL, contestant_name
from training.sequences.history import History, customer_of_event
from training.sequences.split import DAY
from training.sequences.vocabulary import MISSING, NUM_RESERVED

# bands by their upper bounds
BASKETS = {"none": 0, "one": 1, "2 or 3": 3, "4 to 7": 7, "8 or more": np.inf}
TENURE_DAYS = {"up to a month": 30, "a month to a quarter": 91, "a quarter to a year": 365, "over a year": np.inf}
DISCOUNT_SHARE = {"none": 0, "up to a quarter": 0.25, "a quarter to half": 0.5, "over half": 1}
MOST_VALUES = 6
OTHER, NOT_SAID = "other", "not said"
FEWEST = 20  # of those who did and of those who did not: below, a figure says nothing
RESAMPLES = 200
BESIDE = ("rfm", "boosted_trees")  # baselines shown beside the model
CHANCES = {"intent": ("bought", "purchase_probability"), "returns": ("came_back", "return_probability")}
TITLE, SECTION = "For whom it works", "subgroups"

Groups = dict[str, dict[str, np.ndarray]]


def subgroups_chapter(scene: Scene) -> Chapter:
    """Chances and values in the test window by what customers are, how much they bought, how long they are known, how much on discount."""
    groups = groups_of(scene)
    chance = next((section for section in CHANCES if section in scene.compared), None)
    panels, figures, openings = [], {}, []
    if chance is not None:
        panel, told, opening = _of_chance(scene, groups, chance)
        panels, figures, openings = [panel], {chance: told}, [opening]
    if "value" in scene.compared:
        panel, figures["value"] = _of_value(scene, groups)
        panels.append(panel)
    if not panels:
        opening = "This run answers nothing that can be told apart by customers: add objective=[...,intent], dormancy or value."
        return Chapter(SECTION, TITLE, opening)
    return Chapter(SECTION, TITLE, " ".join(openings) or "How well spend is foretold, by kind of customer.", panels, figures)


def groups_of(scene: Scene) -> Groups:
    """{by what: {group: bool [n]}} of the drawn customers at the test moment, those that hold anybody."""
    past = scene.activity.steps.where(scene.activity.steps.timestamp <= scene.now)
    tenure = (scene.now - scene.activity.first_seen) / DAY
    by = _by_fields(scene)
    by["purchases so far"] = bands(past.total(), BASKETS)
    by["known for"] = bands(tenure, TENURE_DAYS)
    share = scene.discount_share(scene.now)
    if share is not None:
        by["bought on discount"] = bands(share, DISCOUNT_SHARE)
    held = {what: {name: members for name, members in of.items() if members.any()} for what, of in by.items()}
    return {what: of for what, of in held.items() if len(of) > 1}


def _of_chance(scene: Scene, groups: Groups, section: str) -> tuple[Panel, dict, str]:
    label, said = CHANCES[section]
    came = scene.said(section, label)
    assert came is not None  # a section has the columns of its kind
    chances = {name: scene.said(section, f"{said}_{name}") for name in (MODEL, *BESIDE)}
    given = {name: values for name, values in chances.items() if values is not None}
    beside = [name for name in given if name != MODEL]
    told = _each(groups, lambda members: _chance_figures(came, given, members, scene.seed))
    rows = [
        [
            f"{what}: {name}",
            f"{one['customers']:,}",
            percent(one["came"]),
            percent(one["said"]),
            between(one["auroc"][MODEL]),
            *(number(one["auroc"][of].value) for of in beside),
        ]
        for what, of_groups in told.items()
        for name, one in of_groups.items()
    ]
    columns = ["Customers", "How many", "Bought", "Model said", *(f"AUROC, {contestant_name(name)}" for name in given)]
    pictured = {
        f"{what}: {name}": {contestant_name(of): interval for of, interval in one["auroc"].items() if np.isfinite(interval.value)}
        for what, of_groups in told.items()
        for name, one in of_groups.items()
    }
    meaning = (
        "AUROC within each group with 95% intervals, and how many bought beside how many the model expected. A group in which fewer than "
        f"{FEWEST} did or did not buy has no figure."
    )
    picture = plots.whiskers({name: of for name, of in pictured.items() if of}, xlabel="AUROC", description="AUROC by group of customers")
    everybody = _chance_figures(came, given, np.ones(len(came), dtype=bool), scene.seed)
    panel = Panel("Whether they buy, by kind of customer", meaning, [picture] if any(pictured.values()) else [], Table(columns, rows))
    return panel, told, _worst(told, everybody)


def _each(groups: Groups, figures: Callable[[np.ndarray], dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    return {what: {name: figures(members) for name, members in of.items()} for what, of in groups.items()}


def _chance_figures(came: np.ndarray, given: Mapping[str, np.ndarray], members: np.ndarray, seed: int) -> dict:
    judged = members & ~np.isnan(came)
    bought = came[judged] > 0
    enough = min(bought.sum(), (~bought).sum()) >= FEWEST
    statistics = {name: auroc(bought, values[judged]) for name, values in given.items()} if enough else {}
    drawn = resampled(statistics, max(len(bought), 1), seed=seed, num_resamples=RESAMPLES)
    return {
        "customers": int(judged.sum()),
        "came": float(bought.mean()) if len(bought) else float("nan"),
        "said": float(given[MODEL][judged].mean()) if len(bought) else float("nan"),
        "auroc": {name: interval_of(statistics[name].value, drawn[name]) if enough else _unknown() for name in given},
    }


def _of_value(scene: Scene, groups: Groups) -> tuple[Panel, dict]:
    spend, expected = scene.said("value", "spend"), scene.said("value", f"value_{MODEL}")
    assert spend is not None
    assert expected is not None
    told = {
        what: {name: _value_figures(spend, expected, members, scene.seed) for name, members in of.items()} for what, of in groups.items()
    }
    rows = [
        [f"{what}: {name}", f"{one['customers']:,}", number(one["spent"], 2), number(one["expected"], 2), between(one["spearman"])]
        for what, of in told.items()
        for name, one in of.items()
    ]
    columns = ["Customers", "How many", "Spent, on average", "Expected", "Spearman"]
    meaning = "How far expectation and spend agree within each group: their means, and the order of customers with 95% intervals."
    return Panel("What they spend, by kind of customer", meaning, table=Table(columns, rows)), told


def _value_figures(spend: np.ndarray, expected: np.ndarray, members: np.ndarray, seed: int) -> dict:
    judged = members & ~np.isnan(spend)
    actual, said = spend[judged], expected[judged]
    enough = len(actual) >= FEWEST and np.ptp(actual) > 0
    statistic = rank_correlation(actual, said) if enough else None
    drawn = resampled({"": statistic}, len(actual), seed=seed, num_resamples=RESAMPLES) if statistic else {}
    return {
        "customers": int(judged.sum()),
        "spent": float(actual.mean()) if len(actual) else float("nan"),
        "expected": float(said.mean()) if len(said) else float("nan"),
        "spearman": interval_of(statistic.value, drawn[""]) if statistic else _unknown(),
    }


def _worst(told: Mapping[str, Mapping[str, dict]], everybody: dict) -> str:
    """Where customers are told apart worst, and where the chance is furthest from what happened."""
    named = {f"{what}: {name}": one for what, of in told.items() for name, one in of.items()}
    ranked = {name: one for name, one in named.items() if np.isfinite(one["auroc"][MODEL].value)}
    if not ranked:
        return "No group holds enough customers to be judged by itself."
    worst = min(ranked, key=lambda name: ranked[name]["auroc"][MODEL].value)
    furthest = max(ranked, key=lambda name: abs(ranked[name]["said"] - ranked[name]["came"]))
    return (
        f"Who buys is told worst among “{worst}” (AUROC {number(ranked[worst]['auroc'][MODEL].value)}, against "
        f"{number(everybody['auroc'][MODEL].value)} among all). The chance is furthest from what happened among “{furthest}”: "
        f"{percent(ranked[furthest]['said'])} were expected to buy, {percent(ranked[furthest]['came'])} did."
    )


def _by_fields(scene: Scene) -> Groups:
    """By each field that says what kind of customer somebody is; of two that part them alike the first."""
    by: Groups = {}
    for field in WHO:
        groups = _by_value(scene, field) if field in scene.log.columns else {}
        if not any(_alike(groups, others) for others in by.values()):
            by[field] = groups
    return by


def _alike(groups: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> bool:
    return groups.keys() == others.keys() and all(np.array_equal(groups[name], others[name]) for name in groups)


def _by_value(scene: Scene, field: str) -> dict[str, np.ndarray]:
    """By the value that a customer's events have most often: the largest groups first, the others together, who has none by themselves.

    No groups where the largest do not hold half of those who have one: by one of hundreds of shops nobody is told apart.
    """
    usual, keys = _usual(scene, field), scene.parts.store.vocabularies[field].keys
    said = usual != MISSING
    sizes = np.bincount(usual, minlength=len(keys))
    sizes[:NUM_RESERVED] = 0
    largest = np.argsort(-sizes, kind="stable")[: min(MOST_VALUES, np.count_nonzero(sizes))]
    if 2 * sizes[largest].sum() < said.sum():
        return {}
    groups = {keys[place]: usual == place for place in largest.tolist()}
    return {**groups, OTHER: said & ~np.isin(usual, largest) | groups.get(OTHER, False), NOT_SAID: ~said}


def _usual(scene: Scene, field: str) -> np.ndarray:
    """The id that most of a customer's events have which say one; MISSING where none does: [n]."""
    past = History.at(scene.log, scene.now)
    value, num_ids = past.columns[field].astype(np.int64), scene.parts.store.vocabularies[field].size
    owner = customer_of_event(past.offsets)
    pair, count = np.unique(owner[value != MISSING] * num_ids + value[value != MISSING], return_counts=True)
    order = np.lexsort((-count, pair // num_ids))
    known, first = np.unique(pair[order] // num_ids, return_index=True)
    usual = np.full(len(scene.drawn), MISSING, dtype=np.int64)
    usual[known] = pair[order][first] % num_ids
    return usual


def bands(values: np.ndarray, upper: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Who lies in which of some bands, given by rising upper bounds which they include: {band: bool [n]}; NaN lies in none."""
    place = np.searchsorted(np.array(list(upper.values()), dtype=np.float64), values, side="left")
    return {name: place == number for number, name in enumerate(upper)}


def _unknown() -> Interval:
    return Interval(float("nan"), float("nan"), float("nan"))
