"""Who changed class between two refreshes, a quarter apart."""

import numpy as np

from training.audience import plots
from training.audience.clusters import Clusters
from training.audience.rfm_classes import CLASSES, NO_CLASS, cells_of, classes_of, scores_at
from training.audience.scene import Scene
from training.evaluation.bootstrap import Interval, mean_interval
from training.evaluation.drift import migration
from training.evaluation.panels import Chapter, Panel, Table, percent, percent_between
from training.sequences.split import date_of

RESAMPLES = 200
EARLIER = 0  # the column of Scene.told that is the refresh before


def migration_chapter(scene: Scene, found: Clusters | None) -> Chapter:
    """RFM's classes, its 125 cells and the learned segments, then and now, of customers who had one both times."""
    before, after = (scores_at(scene.activity.steps, moment) for moment in (scene.earlier, scene.now))
    title, section = "Who changes class between two refreshes", "migration"
    moves = migration(classes_of(before), classes_of(after), num_classes=len(CLASSES))
    if not moves.any():
        days = f"{scene.apart_days} days before the cutoff"
        return Chapter(section, title, f"Nobody can be followed: no customer had bought by {days}.")
    moved = {
        "RFM class": _moved(classes_of(before), classes_of(after), scene.seed),
        "RFM cell (of 125)": _moved(cells_of(before), cells_of(after), scene.seed),
    }
    if found is not None:
        then = found.assign(scene.told.embedding[:, EARLIER])
        moved["learned segment"] = _moved(then, found.labels, scene.seed)
    first, last = (date_of(moment + 1) for moment in (scene.earlier, scene.now))
    new = int(((before[:, 0] == 0) & (after[:, 0] > 0)).sum())
    share = moved["RFM class"]
    opening = (
        f"Between {first} and {last}, {percent_between(share)} of customers changed their RFM class: a list made on {first} names the "
        f"wrong one for them. {new:,} bought for the first time in between and are on no such list."
    )
    followed = Panel(
        "From class to class",
        f"{moves.sum():,} customers who had bought by {first}. Ribbons in the model's colour stayed where they were.",
        [plots.sankey(moves, CLASSES, before=first, after=last)],
        _table(moves),
    )
    shares = Panel(
        "How many changed",
        f"Of customers with a class on both days, {scene.apart_days} days apart; 95% intervals. The more classes, the more change.",
        table=Table(["", "Changed"], [[name, percent_between(of)] for name, of in moved.items()]),
    )
    figures = {
        "days_apart": scene.apart_days,
        "customers": int(moves.sum()),
        "new": new,
        "moved": {name: of._asdict() for name, of in moved.items()},
        "classes": list(CLASSES),
        "moves": moves.tolist(),
    }
    return Chapter(section, title, opening, [followed, shares], figures)


def _moved(before: np.ndarray, after: np.ndarray, seed: int) -> Interval:
    both = (before != NO_CLASS) & (after != NO_CLASS)
    if not both.any():
        return Interval(np.nan, np.nan, np.nan)
    return mean_interval((before != after)[both].astype(np.float64), seed=seed, num_resamples=RESAMPLES)


def _table(moves: np.ndarray) -> Table:
    totals = np.maximum(moves.sum(1, keepdims=True), 1)
    rows = [[f"{name} ({of.sum():,})", *map(percent, share)] for name, of, share in zip(CLASSES, moves, moves / totals, strict=True)]
    return Table(["Was", *(f"is {name}" for name in CLASSES)], rows)
