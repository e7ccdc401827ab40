"""The loyalty trap, measured: which figure of loyalty goes with what customers then spent, among bargain hunters too.

Who buys often on discount looks loyal to RFM and leaves first (Reinartz and Kumar, "The Mismanagement of Customer Loyalty", Harvard
Business Review, 2002): then the correlation of frequency with later spend falls as the share bought on discount rises.
"""

from collections.abc import Mapping

import numpy as np

from training.audience import plots
from training.audience.rfm_classes import scores_at
from training.audience.scene import Scene
from training.audience.subgroups import DISCOUNT_SHARE, FEWEST, bands
from training.evaluation.bootstrap import Interval, interval_of, rank_correlation, resampled
from training.evaluation.panels import Chapter, Panel, Table, between, number
from training.evaluation.verdict import MODEL

RESAMPLES = 400
EVERYBODY = "everybody"
FREQUENCY, RFM_SCORE = "frequency", "RFM score"
OURS = {"loyalty": "model's loyalty", "value": "model's value"}
NO_DISCOUNTS = "This log does not tell who bought on discount, so customers can not be told apart by that."
TITLE, SECTION = "The loyalty trap", "loyalty_trap"


def loyalty_trap_chapter(scene: Scene) -> Chapter:
    """Of those who had bought by the test moment: each figure then, against what they spent in the test window."""
    figures = _figures_of_loyalty(scene)
    if not any(name in figures for name in OURS.values()):
        why = "This run has no figure of loyalty or value to measure beside frequency and RFM: add objective=[...,loyalty,value]."
        return Chapter(SECTION, TITLE, why)
    bought, spend = scene.followed(scene.now, scene.until)
    buyers = figures[FREQUENCY] > 0
    known = buyers & np.all([np.isfinite(values) for values in figures.values()], axis=0)
    share = scene.discount_share(scene.now)
    by_share = {} if share is None else bands(share, DISCOUNT_SHARE)
    groups = {EVERYBODY: known, **{f"on discount: {name}": known & members for name, members in by_share.items()}}
    told = {name: _correlations(figures, spend, members, scene.seed) for name, members in groups.items() if _enough(spend, members)}
    if not told:
        return Chapter(SECTION, TITLE, "Too few of those who had bought before the cutoff bought after it to tell.")
    did = "spent" if "price" in scene.log.columns else "bought (the log has no prices: each purchase counts one)"
    meaning = (
        f"Spearman's correlation of each figure on the day of the cutoff with what the customer {did} in the {scene.window_days:g} days "
        f"after it, with 95% bootstrap intervals, of {known.sum():,} customers who had bought before. Frequency counts all purchases so "
        f"far; RFM's score is the sum of its fifths. {'' if by_share else NO_DISCOUNTS}"
    )
    rows = [[f"{group} ({groups[group].sum():,})", *(between(of[name]) for name in figures)] for group, of in told.items()]
    picture = plots.whiskers(told, xlabel="Spearman with later spend", description="Correlation of figures of loyalty with later spend")
    panel = Panel("What goes with later spend", meaning, [picture], Table(["Customers", *figures], rows))
    summary = {
        "customers": {name: int(groups[name].sum()) for name in told},
        "spearman": {name: {figure: of._asdict() for figure, of in one.items()} for name, one in told.items()},
        "bought": float((bought[known] > 0).mean()),
    }
    return Chapter(SECTION, TITLE, _opening(told), [panel], summary)


def _figures_of_loyalty(scene: Scene) -> dict[str, np.ndarray]:
    """Each [n], NaN for whom the model was not judged about."""
    past = scene.activity.steps.where(scene.activity.steps.timestamp <= scene.now)
    figures = {FREQUENCY: past.total(), RFM_SCORE: scores_at(scene.activity.steps, scene.now).sum(1)}
    said = {"loyalty": scene.said("loyalty", f"loyalty_{MODEL}"), "value": scene.said("value", f"value_{MODEL}")}
    return figures | {OURS[name]: values for name, values in said.items() if values is not None}


def _enough(spend: np.ndarray, members: np.ndarray) -> bool:
    return bool(members.sum() >= FEWEST and np.ptp(spend[members]) > 0)


def _correlations(figures: Mapping[str, np.ndarray], spend: np.ndarray, members: np.ndarray, seed: int) -> dict[str, Interval]:
    """Ranks are those within the group; all figures on the same resamples."""
    statistics = {name: rank_correlation(spend[members], values[members]) for name, values in figures.items()}
    drawn = resampled(statistics, int(members.sum()), seed=seed, num_resamples=RESAMPLES)
    return {name: interval_of(statistics[name].value, drawn[name]) for name in figures}


def _opening(told: Mapping[str, Mapping[str, Interval]]) -> str:
    """What the figures say of everybody, and how far they hold where most was bought on discount."""
    first = told.get(EVERYBODY)
    assert first is not None  # a group within everybody is enough only where everybody is
    of_all = ", ".join(f"{name} {number(of.value, 2)}" for name, of in first.items())
    opening = f"What goes with later spend (Spearman): {of_all}."
    by_share = [of for group, of in told.items() if group != EVERYBODY]
    if len(by_share) < 2:
        return opening
    least, most = by_share[0], by_share[-1]
    changes = ", ".join(f"{name} from {number(least[name].value, 2)} to {number(most[name].value, 2)}" for name in first)
    return f"{opening} From the customers who bought least on discount to those who bought most on it: {changes}."
