"""Who the customers are: RFM's classes beside segments that the model sees, named by what distinguishes them, and what each then did."""

from collections.abc import Mapping

import numpy as np

from training.audience import plots
from training.audience.clusters import Clusters, Segment, find_clusters, named
from training.audience.rfm_classes import CLASSES, NO_CLASS, classes_of, scores_at
from training.audience.scene import Scene
from training.audience.traits import Trait, traits_at
from training.evaluation.outcome_plots import survival
from training.evaluation.panels import Chapter, Panel, Table, number, percent
from training.objectives.dormancy import Dormancy

NOW = 2  # the column of Scene.told that is the test moment
TITLE, SECTION = "Who your customers are", "segments"


def learned_segments(scene: Scene) -> Clusters | None:
    """Segments among the customers whom the model was asked about, as it saw them at the test moment."""
    return find_clusters(scene.told.embedding[:, NOW], seed=scene.seed)


def segments_chapter(scene: Scene, found: Clusters | None) -> Chapter:
    """RFM's classes of all drawn customers, and the learned segments."""
    classes = classes_of(scores_at(scene.activity.steps, scene.now))
    every = {**{name: classes == place for place, name in enumerate(CLASSES)}, "never bought": classes == NO_CLASS}
    rfm = {name: members for name, members in every.items() if members.any()}
    panels = [_rfm_panel(scene, rfm)]
    figures: dict[str, object] = {"rfm": _figures(scene, rfm), "customers": len(scene.drawn)}
    if found is None:
        opening = f"{len(scene.asked)} customers whom the model sees too much alike to tell segments apart; below, RFM's classes."
        return Chapter(SECTION, TITLE, opening, panels, figures)
    traits = [Trait(of.name, of.family, of.high, of.low, of.values[scene.asked]) for of in traits_at(scene, scene.now)]
    segments = named(found.labels, traits)
    members = {segment.name: _of_drawn(scene, segment.members) for segment in segments}
    told = _figures(scene, members)
    figures["learned"] = [{"name": one.words, **told[one.name], "differences": one.differences} for one in segments]
    figures["silhouette"] = found.silhouette
    kinds = "; ".join(f"{percent(told[one.name]['customers'])} {one.words}" for one in segments)
    opening = f"The model sees {len(segments)} kinds of customers (of {len(scene.asked):,} whom it was asked about). {kinds}."
    return Chapter(SECTION, TITLE, opening, [_learned_panel(scene, told), *_futures(scene, segments), *panels], figures)


def _figures(scene: Scene, groups: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Of each group (bool [n]): its share of the customers of all groups and of their spend, who bought in the window, their mean spend."""
    bought, spend = scene.followed(scene.now, scene.until)
    everybody = np.any(list(groups.values()), axis=0)
    total = max(spend[everybody].sum(), 1e-9)
    return {
        name: {
            "customers": float(members.sum() / everybody.sum()),
            "bought": float((bought[members] > 0).mean()),
            "mean_spend": float(spend[members].mean()),
            "share_of_spend": float(spend[members].sum() / total),
        }
        for name, members in groups.items()
    }


def _table(scene: Scene, told: Mapping[str, Mapping[str, float]], head: str) -> Table:
    days = f"{scene.window_days:g} days"
    columns = [head, "Customers", f"Bought within {days}", "Mean spend in them", "Of all spend"]
    rows = [
        [name, percent(of["customers"]), percent(of["bought"]), number(of["mean_spend"], 2), percent(of["share_of_spend"])]
        for name, of in told.items()
    ]
    return Table(columns, rows)


def _rfm_panel(scene: Scene, groups: Mapping[str, np.ndarray]) -> Panel:
    meaning = (
        f"Fifths by recency, frequency and money on the day of the cutoff, folded into classes, of {len(scene.drawn):,} customers; and "
        "what they did afterwards."
    )
    return Panel("By RFM", meaning, table=_table(scene, _figures(scene, groups), "RFM class"))


def _learned_panel(scene: Scene, told: Mapping[str, Mapping[str, float]]) -> Panel:
    meaning = (
        "k-means on what the model makes of each history at the cutoff; the number of segments by silhouette. A name says where a segment "
        "differs most from all others, with the value in its middle. What they did afterwards played no part in it."
    )
    parts = {name: {"of customers": of["customers"], "of what was then spent": of["share_of_spend"]} for name, of in told.items()}
    picture = plots.shares(parts, description="Each segment's share of customers and of what was then spent")
    return Panel("As the model sees them", meaning, [picture], _table(scene, told, "Segment"))


def _futures(scene: Scene, segments: list[Segment]) -> list[Panel]:
    """How long each segment stays away and what it is expected to spend, where the run has objectives that say so."""
    return [_survival_panel(scene, segments), _value_panel(scene, segments)]


def _survival_panel(scene: Scene, segments: list[Segment]) -> Panel:
    title, dormancy = "How long each segment stays away", scene.parts.model.objective(Dormancy)
    days, came = scene.said("time", "days"), scene.said("returns", "came_back")
    if dormancy is None or days is None or came is None:
        return Panel(title, "This run does not say: it has no objective dormancy. Add it, objective=[...,dormancy].")
    judged = ~np.isnan(days[scene.asked])
    expected = scene.told.values["silence_probability"][:, NOW][judged]
    members = {one.letter: one.members[judged] for one in segments if one.members[judged].any()}
    picture = survival(expected, dormancy.edges.numpy(), days[scene.asked][judged], came[scene.asked][judged] > 0, members)
    return Panel(title, "Share who have not bought since the cutoff: expected (line) and what happened (steps, Kaplan-Meier).", [picture])


def _value_panel(scene: Scene, segments: list[Segment]) -> Panel:
    title = "What each segment is expected to spend"
    if "value" not in scene.told.values:
        return Panel(title, "This run does not say: it has no objective value. Add it, objective=[...,value].")
    said, (_, spend) = scene.told.values["value"][:, NOW], scene.followed(scene.now, scene.until)
    expected = {one.name: said[one.members] for one in segments}
    spent = {one.name: float(spend[scene.asked][one.members].mean()) for one in segments}
    meaning = (
        "The middle 80 % of a segment's customers (thin line), the middle half (thick) and the median (dot) by what the model expects of "
        f"them; the cross is what they spent on average in the {scene.window_days:g} days after the cutoff."
    )
    return Panel(title, meaning, [plots.spreads(expected, spent, xlabel="expected spend of a customer")])


def _of_drawn(scene: Scene, members: np.ndarray) -> np.ndarray:
    """Members among those asked [m] as members among all drawn [n]."""
    whole = np.zeros(len(scene.drawn), dtype=bool)
    whole[scene.asked[members]] = True
    return whole
