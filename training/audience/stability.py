"""Whether the customers whom the model is asked about are still like those from whom it learned: population stability."""

import re

import numpy as np

from training.audience import plots
from training.audience.scene import Scene
from training.evaluation.drift import stability_index
from training.evaluation.panels import Chapter, Panel, Table, number
from training.sequences.split import date_of

STABLE, ANOTHER = 0.1, 0.25
NUM_SHOWN = 12
TAUGHT, NOW = 1, 2  # columns of Scene.told
OF_THE_MOMENT = "weekday"  # a feature that is the same for everybody


def stability_chapter(scene: Scene) -> Chapter:
    """Each feature of who has been seen, and each score, between the end of the training window and the test moment."""
    features = _of_features(scene)
    scores = _of_scores(scene)
    both = sorted({**features, **scores}.items(), key=lambda pair: -pair[1])
    first, last = date_of(scene.taught + 1), date_of(scene.now + 1)
    changed = [name for name, index in both if index >= ANOTHER]
    opening = (
        f"Between the end of training ({first}) and the cutoff ({last}), {len(changed)} of {len(both)} features and scores became those of "
        f"another population (index from {ANOTHER} on){': ' + ', '.join(map(_words, changed[:5])) if changed else ''}."
    )
    shown = dict(both[:NUM_SHOWN])
    rows = [[_words(name), number(index), _verdict(index)] for name, index in {**scores, **shown}.items()]
    panel = Panel(
        "How far each has moved",
        f"Population stability index over ten bins: below {STABLE} stable, from {ANOTHER} on another population. All scores and the "
        f"{NUM_SHOWN} that moved most. Where all customers came at one time, as a cohort, tenure and recency must move.",
        [
            plots.bars(
                {_words(name): index for name, index in shown.items()},
                lines=[STABLE, ANOTHER],
                xlabel="population stability index",
                description="How far features and scores have moved since training",
            )
        ],
        Table(["Feature or score", "Index", ""], rows),
    )
    rounded = {name: {key: round(index, 4) for key, index in of.items()} for name, of in (("features", features), ("scores", scores))}
    return Chapter("stability", "Whether they are still who they were", opening, [panel], rounded)


def _of_features(scene: Scene) -> dict[str, float]:
    tables = []
    for moment in (scene.taught, scene.now):
        names, values = scene.activity.features(moment)
        tables.append(values[scene.activity.seen(moment)])
    before, after = tables
    measured = [place for place, name in enumerate(names) if name != OF_THE_MOMENT]
    return {names[place]: stability_index(before[:, place], after[:, place]) for place in measured}


def _of_scores(scene: Scene) -> dict[str, float]:
    """Outputs that are one number a customer."""
    single = {name: values for name, values in scene.told.values.items() if values.ndim == 2}
    seen = ~np.isnan(scene.told.embedding[:, TAUGHT, 0])
    return {f"score {name}": stability_index(values[seen, TAUGHT], values[:, NOW]) for name, values in single.items()}


def _words(name: str) -> str:
    """`purchases_28d` is purchases in 28 days, `campaign_since_days` days since campaign."""
    words = re.sub(r"^(.*)_since_days$", r"days since \1", re.sub(r"_(\d+)d$", r" in \1 days", name))
    return words.replace("_", " ")


def _verdict(index: float) -> str:
    return "stable" if index < STABLE else "shifting" if index < ANOTHER else "another population"
