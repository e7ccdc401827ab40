"""What it costs to act on what was known of customers at the last refresh: RFM and the model, refreshed daily, weekly, quarterly.

A refresh is as likely to be of any age that its rhythm allows: what is told of "every week" is the mean over ages of 0 to 6 days.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from markupsafe import Markup
from scipy.stats import rankdata

from training.audience import plots
from training.audience.asking import ask_over_time
from training.audience.rfm_classes import classes_of, scores_at
from training.audience.scene import JUDGED_DAYS, QUARTER, Scene
from training.evaluation.bootstrap import Interval, Statistic, auroc, interval_of, resampled
from training.evaluation.drift import stale_refreshes
from training.evaluation.panels import Chapter, Panel, Table, between, number, percent, percent_between
from training.sequences.split import DAY

RESAMPLES = 200
NUM_FIFTHS = 5
WEEK = 7
TITLE, SECTION = "What a stale refresh costs", "refreshes"


@dataclass(frozen=True)
class Daily:
    """Somebody's knowledge of customers, day after day: classes [T, n], -1 where there is none yet, and scores [T, n], NaN likewise.

    A higher score says that a customer is likelier to buy; says_chances: scores are probabilities. among_themselves: classes are fifths of
    just these customers, so that of others they would be others.
    """

    name: str
    classes: np.ndarray
    scores: np.ndarray
    says_chances: bool
    among_themselves: bool = False


@dataclass(frozen=True)
class Judged:
    """The last days of those followed: their places [J] in the daily rows, and who bought soon after each, bool [J, n], or the chance."""

    rows: np.ndarray
    came: np.ndarray


def refreshes_chapter(scene: Scene) -> Chapter:
    """Followed day by day through a quarter (or a horizon) before the test window and the first days in it."""
    followed = scene.asked
    moments, rows = days_followed(scene)
    judged = _judged(scene, moments, followed, rows)
    knowing, rhythms = knowledge(scene, moments, followed), rhythms_of(scene)
    told = {of.name: {name: costs_of(of, judged, every, scene.seed) for name, every in rhythms.items()} for of in knowing}
    rarest = list(rhythms)[-1]
    opening = " ".join(_sentence(name, rarest, costs[rarest]) for name, costs in told.items())
    meaning = (
        f"{len(followed):,} customers drawn by the seed, day by day. AUROC tells apart who buys within {scene.soon_days:g} days, on the "
        f"first {len(rows)} days from the cutoff on; RFM's score is the sum of its three fifths, the model's the chance of a purchase, "
        "and its classes are fifths of that. A class is wrong where a refresh on the day itself would give another. A refresh may have "
        "any age that its rhythm allows."
    )
    panel = Panel("By how often it is refreshed", meaning, _pictures(knowing, judged, scene.apart_days), _table(told))
    figures = {name: {rhythm: asdict(of) for rhythm, of in costs.items()} for name, costs in told.items()}
    return Chapter(SECTION, TITLE, opening, [panel], {"customers": len(followed), "soon_days": scene.soon_days, **figures})


@dataclass(frozen=True)
class Costs:
    """wrong: share of customers in a wrong class on an average day; auroc: of who buys soon; lost: against a refresh on the day itself.

    off_by: how far a stale chance is from a fresh one on average, NaN for scores that are no chances.
    """

    wrong: Interval
    auroc: Interval
    lost: Interval
    off_by: float


def days_followed(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Moments (µs [T]), a day apart, and the places of those on which it is judged who buys soon [J], the last of them."""
    num_judged = max(1, min(JUDGED_DAYS, int(scene.window_days - scene.soon_days) + 1))
    moments = scene.now + DAY * np.arange(1 - scene.apart_days, num_judged)
    return moments, np.arange(len(moments) - num_judged, len(moments))


def knowledge(scene: Scene, moments: np.ndarray, followed: np.ndarray) -> list[Daily]:
    """What RFM and, where an objective tells it, the model know of customers (places in `drawn`) at each moment."""
    return [_rfm(scene, moments, followed), *_model(scene, moments, followed)]


def rhythms_of(scene: Scene) -> dict[str, int]:
    """How often to refresh, the most often first: {in words: days}."""
    longest, known = scene.apart_days, {"every day": 1, "every week": WEEK}
    shorter = {name: days for name, days in known.items() if days < longest}
    return {**shorter, "every quarter" if longest == QUARTER else f"every {longest} days": longest}


def _judged(scene: Scene, moments: np.ndarray, followed: np.ndarray, rows: np.ndarray) -> Judged:
    soon = round(scene.soon_days * DAY)
    return Judged(rows, np.stack([scene.followed(int(moments[row]), int(moments[row]) + soon)[0][followed] > 0 for row in rows]))


def _rfm(scene: Scene, moments: np.ndarray, followed: np.ndarray) -> Daily:
    """Ranked among all who were drawn, told of those who are followed."""
    scores = np.stack([scores_at(scene.activity.steps, int(moment))[followed] for moment in moments])
    classes = np.stack([classes_of(of) for of in scores])
    return Daily("RFM", classes, np.where(classes >= 0, scores.sum(2), np.nan), says_chances=False)


def _model(scene: Scene, moments: np.ndarray, followed: np.ndarray) -> list[Daily]:
    """By the chance of a purchase; classes are its fifths of the day. Nothing where no objective tells it."""
    if not scene.chance:
        return []
    told = ask_over_time(scene.parts, scene.drawn[followed], moments, customers_per_batch=scene.customers_per_batch)
    chance = told.values[scene.chance].T.astype(np.float64)
    return [Daily("model", np.stack([_fifths(of) for of in chance]), chance, says_chances=True, among_themselves=True)]


def _fifths(scores: np.ndarray) -> np.ndarray:
    """0 to 4 by scores [n], -1 where they are NaN."""
    fifth, known = np.full(len(scores), -1), ~np.isnan(scores)
    fifth[known] = np.ceil(rankdata(scores[known]) / max(known.sum(), 1) * NUM_FIFTHS).astype(np.int64) - 1
    return fifth


def costs_of(of: Daily, judged: Judged, every: int, seed: int) -> Costs:
    """What a refresh each `every`th day costs; the daily rows reach as far back as the longest rhythm before the first judged day."""
    statistics = _statistics(of, judged, every)
    drawn = resampled(statistics, of.classes.shape[1], seed=seed, num_resamples=RESAMPLES)
    value = {name: statistic.value for name, statistic in statistics.items()}
    return Costs(
        wrong=interval_of(value["wrong"], drawn["wrong"]),
        auroc=interval_of(value["stale"], drawn["stale"]),
        lost=interval_of(value["fresh"] - value["stale"], drawn["fresh"] - drawn["stale"]),
        off_by=_off_by(of, judged, every),
    )


def wrong_and_lost(of: Daily, judged: Judged, every: int) -> tuple[float, float]:
    """The first and the third of `costs_of` as plain numbers, for who knows everybody and every chance."""
    value = {name: statistic.value for name, statistic in _statistics(of, judged, every).items()}
    return value["wrong"], value["fresh"] - value["stale"]


def _statistics(of: Daily, judged: Judged, every: int) -> dict[str, Statistic]:
    return {"wrong": _wrong(of, judged, every), "fresh": _auroc(of, judged, [0]), "stale": _auroc(of, judged, ages_of(every))}


def _wrong(of: Daily, judged: Judged, every: int) -> Statistic:
    """Where customers were classed among themselves, those of a resample are classed anew."""
    latest = slice(len(judged.rows) - 1, None)  # as many days as the longest rhythm has
    fixed = _ratio(*stale_refreshes(of.classes[latest], every=every))
    if not of.among_themselves:
        return fixed
    order = np.argsort(of.scores[latest], axis=1)  # who is unknown comes last

    def of_one(times: np.ndarray) -> float:
        wrong, known = stale_refreshes(_fifths_of_drawn(of.scores[latest], order, times), every=every)
        return float(times @ wrong / (times @ known))

    return Statistic(fixed.value, lambda draw: np.array([of_one(times) for times in draw]))


def _fifths_of_drawn(scores: np.ndarray, order: np.ndarray, times: np.ndarray) -> np.ndarray:
    """`_fifths` of each day's scores [T, n], whose order is given, where each customer stands there so many times [n]: int64 [T, n]."""
    weight = np.where(np.isnan(scores), 0.0, times)
    ranked = np.take_along_axis(weight, order, axis=1)
    middle = np.empty_like(ranked)
    np.put_along_axis(middle, order, np.cumsum(ranked, axis=1) - (ranked - 1) / 2, axis=1)
    share = middle / np.maximum(weight.sum(1, keepdims=True), 1)
    return np.where(weight > 0, np.clip(np.ceil(share * NUM_FIFTHS).astype(np.int64) - 1, 0, NUM_FIFTHS - 1), -1)


def ages_of(every: int) -> Sequence[int]:
    """The ages in days that a refresh may have; of long rhythms one a week, from the middle of each."""
    return range(every) if every <= WEEK else range(WEEK // 2, every, WEEK)


def _ratio(part: np.ndarray, whole: np.ndarray) -> Statistic:
    with np.errstate(invalid="ignore"):
        return Statistic(float(part.sum() / whole.sum()), lambda draw: draw @ part / (draw @ whole))


def _auroc(of: Daily, judged: Judged, ages: Sequence[int]) -> Statistic:
    """The mean over judged days and ages, of customers who are known on the day; who was not at the refresh comes last."""
    scores = np.nan_to_num(of.scores, nan=-1.0)
    days = zip(judged.rows, judged.came, strict=True)
    every = [_auroc_of_known(came, scores[row - age], ~np.isnan(of.scores[row])) for row, came in days for age in ages]
    parts = [part for part in every if np.isfinite(part.value)]  # without those days on which all came, or nobody

    def of_draw(draw: np.ndarray) -> np.ndarray:
        return np.mean([part.of_draw(draw) for part in parts], axis=0) if parts else np.full(len(draw), np.nan)

    return Statistic(float(np.mean([part.value for part in parts])) if parts else float("nan"), of_draw)


def _auroc_of_known(came: np.ndarray, scores: np.ndarray, known: np.ndarray) -> Statistic:
    of_known = auroc(came[known], scores[known])
    return Statistic(of_known.value, lambda draw: of_known.of_draw(draw[:, known]))


def _off_by(of: Daily, judged: Judged, every: int) -> float:
    if not of.says_chances:
        return float("nan")
    stale = np.stack([of.scores[judged.rows - age] for age in ages_of(every)])
    return float(np.nanmean(np.abs(stale - of.scores[judged.rows])))


def _table(told: Mapping[str, Mapping[str, Costs]]) -> Table:
    rows = [
        [f"{name}, {rhythm}", percent_between(of.wrong), between(of.auroc), between(of.lost), _points(of.off_by)]
        for name, costs in told.items()
        for rhythm, of in costs.items()
    ]
    return Table(["Refreshed", "In a wrong class", "AUROC", "AUROC lost", "Chance off by"], rows)


def _pictures(knowing: list[Daily], judged: Judged, longest: int) -> list[Markup]:
    daily, weekly = range(longest), range(0, longest, WEEK)
    wrong = {of.name: (daily, np.array([_wrong_at(of, judged, age) for age in daily])) for of in knowing}
    told = {of.name: (weekly, np.array([_auroc(of, judged, [age]).value for age in weekly])) for of in knowing}
    return [
        plots.ageing(wrong, ylabel="in a wrong class", percent=True, description="Customers in a wrong class by the age of the refresh"),
        plots.ageing(told, ylabel="AUROC of who buys soon", percent=False, description="AUROC by the age of the refresh"),
    ]


def _wrong_at(of: Daily, judged: Judged, age: int) -> float:
    now, then = of.classes[judged.rows], of.classes[judged.rows - age]
    return float((now != then)[now >= 0].mean()) if (now >= 0).any() else float("nan")


def _sentence(name: str, rhythm: str, costs: Costs) -> str:
    fresh = costs.auroc.value + costs.lost.value
    return (
        f"{'RFM' if name == 'RFM' else 'The model'} refreshed {rhythm} has {percent(costs.wrong.value)} of customers in a wrong class on "
        f"an average day, and tells who buys next with an AUROC of {number(costs.auroc.value)} in place of {number(fresh)}."
    )


def _points(off_by: float) -> str:
    return "–" if np.isnan(off_by) else f"{100 * off_by:.1f} points"
