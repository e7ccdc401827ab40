"""How near the answers come to the truth, where it is known: that of the simulated retailer lies beside its log.

Everything else in a report is judged by what happened, which is partly luck. This chapter is judged by what was bound to happen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from training.audience import plots
from training.audience.refreshes import Judged, days_followed, knowledge, rhythms_of, wrong_and_lost
from training.audience.scene import Scene
from training.audience.tellings import NUM_TELLINGS, Tellings
from training.baselines.outcomes import outcome_baselines
from training.evaluation.bootstrap import Interval
from training.evaluation.customers import chance_by
from training.evaluation.panels import Chapter, Panel, Table, between, number, percent, percent_between
from training.evaluation.verdict import MODEL, Contest, contestant_name, value_contest, verdict_lines
from training.objectives.dormancy import Dormancy
from training.objectives.presence import Presence
from training.objectives.waiting import Waiting
from training.sequences.split import DAY

TITLE, SECTION = "How near all this is to the truth", "truth"
TELLINGS_A_DAY = 50  # of the chances on each judged day: they are averaged over customers
FREQUENCY = "frequency"  # purchases so far, which pass for loyalty
STRANGERS = (
    "This log is simulated, but its keys are not the retailer's customers, so that nothing true is known of any of them: "
    "write it with layout=events."
)
NO_ANSWERS = "This run says nothing of which the truth is known: add objective=[...,dormancy,presence,value,loyalty]."


@dataclass(frozen=True)
class Question:
    """truth: its name among `Tellings.truths`; section, column: where contestants' answers stand; words: what they are correlated with."""

    truth: str
    section: str
    column: str
    head: str
    words: str


WAITING: Mapping[str, type[Waiting]] = {"returns": Dormancy, "presence": Presence}  # whose answers stand in these sections
QUESTIONS = (
    Question("alive", "returns", "return_probability", "still there", "being still a customer"),
    Question("presence", "presence", "visit_probability", "chance to be seen", "the true chance to be seen"),
    Question("returns", "returns", "return_probability", "chance to buy", "the true chance to buy"),
    Question("value", "value", "value", "expected spend", "the true expected spend"),
    Question("loyalty", "loyalty", "loyalty", "chance to stay", "the true chance to stay"),
    Question("kind", "loyalty", "loyalty", "loyal kind", "being of the loyal kind"),
)


def truth_chapter(scene: Scene, refreshes: Mapping[str, Any]) -> Chapter | None:
    """None for a log of which no truth is known. refreshes: the figures of that chapter."""
    tellings = Tellings.beside_the_log(scene)
    if tellings is None:
        return None
    if not tellings.known.any():
        return Chapter(SECTION, TITLE, STRANGERS)
    contests = _contests(scene, tellings)
    if not contests:
        return Chapter(SECTION, TITLE, NO_ANSWERS)
    harm = _harm(scene, tellings, refreshes)
    held = [within for costs in harm.values() for of in costs.values() for within in (of["wrong"]["within"], of["lost"]["within"])]
    opening = " ".join(verdict_lines(list(contests.values())))
    opening += f" Of {len(held)} estimates of what a stale refresh costs, {sum(held)} hold the true one in their 95% interval."
    figures = {
        "customers": int(tellings.known.sum()),
        "tellings": NUM_TELLINGS,
        "spearman": {name: {one.name: one.value for one in contest.contestants} for name, contest in contests.items()},
        "verdict": {name: contest.decision for name, contest in contests.items()},
        "refreshes": harm,
    }
    return Chapter(SECTION, TITLE, opening, [_panel(contests, scene), _harm_panel(harm)], figures)


def _contests(scene: Scene, tellings: Tellings) -> dict[str, Contest]:
    """Of each truth on which the run has an answer: Spearman's correlation with it, on the same customers for everybody."""
    asked = {question.truth: (question, _answers(scene, question)) for question in _questions(scene)}
    truths = tellings.truths() if asked else {}
    contests = {}
    for name, (question, answers) in asked.items():
        judged = tellings.known & np.all([np.isfinite(values) for values in answers.values()], axis=0)
        if not judged.any() or np.ptp(truths[name][judged]) == 0:
            continue
        given = {of: values[judged] for of, values in answers.items()}
        contest = value_contest(truths[name][judged], given, {of: {} for of in given}, seed=scene.seed)
        contests[name] = replace(contest, about=question.words)
    return contests


def _questions(scene: Scene) -> list[Question]:
    """Those that the run answers. Whether somebody is still there is asked as whether they are seen again, where the run says so."""
    seen = next(question for question in QUESTIONS if question.truth == "presence")
    alive_by = {"section": seen.section, "column": seen.column} if seen.section in scene.compared else {}
    asked = [replace(question, **alive_by) if question.truth == "alive" else question for question in QUESTIONS]
    return [question for question in asked if question.section in scene.compared]


def _answers(scene: Scene, question: Question) -> dict[str, np.ndarray]:
    """{contestant: [n]}, NaN for who was not judged. For loyalty others have their chance of a purchase, and frequency."""
    section, column = question.section, question.column
    if question.truth == "alive" and (lasting := _lasting(scene, question)):
        return lasting
    if section != "loyalty":
        answers = {name: scene.said(section, f"{column}_{name}") for name in scene.compared[section].figures}
    else:
        others = [name for name in scene.compared["returns"].figures if name != MODEL] if "returns" in scene.compared else []
        answers = {MODEL: scene.said(section, f"{column}_{MODEL}")}
        answers |= {name: scene.said("returns", f"return_probability_{name}") for name in others}
        answers[FREQUENCY] = scene.activity.steps.where(scene.activity.steps.timestamp <= scene.now).total()
    return {name: values for name, values in answers.items() if values is not None}


def _lasting(scene: Scene, question: Question) -> dict[str, np.ndarray]:
    """What everybody says of all of the hazard's days, where these are more than the test window's; else empty.

    Who comes rarely is still a customer: a chance that reaches further tells more of who is one, and then all are asked for it.
    """
    parts, waiting = scene.parts, scene.parts.model.objective(WAITING[question.section])
    said = scene.said(question.section, chance_by(question.column, waiting.horizon_days)) if waiting else None
    if waiting is None or said is None:
        return {}
    visits = waiting.kinds if isinstance(waiting, Presence) else None
    others = outcome_baselines(
        parts.store, parts.split, kinds=scene.purchases, horizon_days=waiting.horizon_days, seed=scene.seed, visits=visits
    )
    return {MODEL: said} | {name: of.returns[scene.drawn] for name, of in others.items() if of.returns is not None}


def _harm(scene: Scene, tellings: Tellings, told: Mapping[str, Any]) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """{who: {rhythm: {"wrong" or "lost": {told, truth, within}}}}. The truth is of everybody, by true chances."""
    everybody, soon = np.flatnonzero(tellings.known), round(scene.soon_days * DAY)
    moments, rows = days_followed(scene)
    days = [int(moments[row]) for row in rows]
    chances = np.stack([tellings.chances(day, day + soon, times=TELLINGS_A_DAY)[everybody] for day in days])
    harm: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for of in knowledge(scene, moments, everybody):
        harm[of.name] = {}
        for rhythm, every in list(rhythms_of(scene).items())[1:]:
            truths = wrong_and_lost(of, Judged(rows, chances), every)
            harm[of.name][rhythm] = {
                name: _beside(told[of.name][rhythm][name], truth) for name, truth in zip(("wrong", "lost"), truths, strict=True)
            }
    return harm


def _beside(told: Interval, truth: float) -> dict[str, Any]:
    return {"told": told, "truth": truth, "within": bool(told.low <= truth <= told.high)}


def _panel(contests: Mapping[str, Contest], scene: Scene) -> Panel:
    asked = [question for question in QUESTIONS if question.truth in contests]
    names = list(dict.fromkeys(one.name for contest in contests.values() for one in contest.contestants))
    of = {question.head: {one.name: one.value for one in contests[question.truth].contestants} for question in asked}
    rows = [[contestant_name(name), *(between(given[name]) if name in given else "–" for given in of.values())] for name in names]
    meaning = (
        "Spearman's correlation with what the retailer knows of its customers at the cutoff: whether they are still there and, as means "
        f"over {NUM_TELLINGS} tellings of the next {scene.window_days:g} days, the chance that they are seen, where that was asked, that "
        "they buy, what they spend, and the chance that they stay loyal as this run defines it; last, who is still there and loyal by "
        "kind. 95% bootstrap intervals."
    )
    section = "presence" if "presence" in scene.compared else "returns"
    if waiting := scene.parts.model.objective(WAITING[section]):
        event = "being seen" if section == "presence" else "a purchase"
        meaning += f" Of who is still there, everybody speaks by the chance of {event} within {waiting.horizon_days:g} days."
    pictured = {head: {contestant_name(name): interval for name, interval in given.items()} for head, given in of.items()}
    picture = plots.whiskers(pictured, xlabel="Spearman with the truth", description="Correlation of what was said with the truth")
    return Panel("Who comes nearest", meaning, [picture], Table(["", *of], rows))


def _harm_panel(harm: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]) -> Panel:
    rows = [
        [
            f"{who}, {rhythm}",
            *(percent_between(of["wrong"]["told"]), percent(of["wrong"]["truth"]), _words(of["wrong"]["within"])),
            *(between(of["lost"]["told"]), number(of["lost"]["truth"]), _words(of["lost"]["within"])),
        ]
        for who, costs in harm.items()
        for rhythm, of in costs.items()
    ]
    columns = ["Refreshed", "In a wrong class, told", "of everybody", "", "AUROC lost, told", "in truth", ""]
    meaning = (
        "What the chapter on stale refreshes told, of a few customers and by who came, beside the same of all customers and, for the "
        "AUROC, by the true chance of each on each judged day."
    )
    return Panel("What a stale refresh truly costs", meaning, table=Table(columns, rows))


def _words(within: bool) -> str:
    return "inside" if within else "outside"
