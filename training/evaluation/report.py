"""The report of a run: one HTML file that opens from disk, its first line the verdict.

Everything it shows is inside the file: pictures are inline SVG, styles are inline, nothing is fetched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from training.evaluation import plots
from training.evaluation.outcomes import reliability
from training.evaluation.plots import TimeSpan
from training.evaluation.verdict import (
    INTENT_METRICS,
    RANKING_METRICS,
    Contest,
    contestant_name,
    intent_contest,
    metric_name,
    ranking_contest,
    signed,
    verdict_lines,
)
from training.files import write_text


@dataclass(frozen=True)
class RankingResults:
    """question: in words. per_customer: {contestant: {metric: [customers]}}, one of them "model". settings: {baseline: what was chosen}."""

    question: str
    per_customer: Mapping[str, Mapping[str, np.ndarray]]
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class IntentResults:
    """question: in words. labels: bool [customers]. probabilities: {contestant: [customers]}, one of them "model". settings as above."""

    question: str
    labels: np.ndarray
    probabilities: Mapping[str, np.ndarray]
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Story:
    """One customer: the last steps before the moment (when, item names), what was predicted, what came, and who gave which chance."""

    customer: str
    history: Sequence[tuple[str, Sequence[str]]]
    predicted: Sequence[str]
    came: Sequence[str]
    chances: Mapping[str, float] = field(default_factory=dict)
    came_back: bool | None = None


@dataclass(frozen=True)
class ReportContents:
    """What a run has to tell.

    store: store.json. timestamps: µs of all events [N]. spans: training, validation and test on the time line. metrics: a row an epoch with
    `epoch` and numbers named `train/<metric>` and `validation/<metric>`. environment: {what: value}, versions, hardware, seed, seconds.
    Ranking or intent may be left out where a log can't ask for it.
    """

    name: str
    created: str
    seed: int
    store: Mapping[str, Any]
    timestamps: np.ndarray
    spans: Sequence[TimeSpan]
    metrics: Sequence[Mapping[str, float]] = ()
    ranking: RankingResults | None = None
    intent: IntentResults | None = None
    stories: Sequence[Story] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def write_report(path: str | Path, contents: ReportContents) -> None:
    """Write the report to `path` as HTML, whole or not at all."""
    write_text(Path(path), render(contents))


def render(contents: ReportContents) -> str:
    """The report as one HTML text."""
    sections = [part for part in (_ranking(contents), _intent(contents)) if part is not None]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = contestant_name
    return environment.get_template("report.html.jinja").render(
        report=contents,
        verdicts=verdict_lines([section.contest for section in sections]),
        worst=min((section.contest.verdict.name.lower() for section in sections), default="none", key=_severity),
        sections=sections,
        timeline=plots.timeline(contents.timestamps, contents.spans),
        curves=plots.training_curves(contents.metrics),
    )


@dataclass(frozen=True)
class Section:
    """One question of the report: the table, its pictures and what the numbers mean."""

    title: str
    question: str
    meaning: str
    contest: Contest
    columns: list[str]
    rows: list["Row"]
    forest: Markup
    calibration: list[Markup]


@dataclass(frozen=True)
class Row:
    """A contestant in a table: the compared metric with its interval, what the model is better by, and the other metrics."""

    name: str
    settings: str
    value: str
    interval: str
    difference: str
    difference_interval: str
    verdict: str
    others: list[str]


def _ranking(contents: ReportContents) -> Section | None:
    results = contents.ranking
    if results is None:
        return None
    contest = ranking_contest(results.per_customer, seed=contents.seed)
    return Section(
        title="What they want next",
        question=results.question,
        meaning="NDCG@10 tells how near the top of ten recommendations stood what the customer then took: 1 is perfect, 0 nothing found. "
        "HR@10 is the share of customers with at least one hit among ten. Every item of the catalogue competes.",
        contest=contest,
        columns=[metric_name(metric) for metric in RANKING_METRICS],
        rows=_rows(contest, results.settings, RANKING_METRICS[1:]),
        forest=plots.forest(contest),
        calibration=[],
    )


def _intent(contents: ReportContents) -> Section | None:
    results = contents.intent
    if results is None:
        return None
    contest = intent_contest(results.labels, results.probabilities, seed=contents.seed)
    return Section(
        title="Whether they come back",
        question=results.question,
        meaning="AUROC is the chance that a customer who came back was given a higher probability than one who did not: 0.5 is a coin, 1 "
        "is perfect. The calibration error is how far, on average, a stated probability is from what happened; for it and for the Brier "
        "score, less is better.",
        contest=contest,
        columns=[metric_name(metric) for metric in INTENT_METRICS],
        rows=_rows(contest, results.settings, INTENT_METRICS[1:]),
        forest=plots.forest(contest),
        calibration=[plots.calibration(name, reliability(results.labels, given)) for name, given in results.probabilities.items()],
    )


def _rows(contest: Contest, settings: Mapping[str, str], others: Sequence[str]) -> list[Row]:
    return [
        Row(
            name=one.name,
            settings=settings.get(one.name, ""),
            value=f"{one.value.value:.4f}",
            interval=f"{one.value.low:.4f} to {one.value.high:.4f}",
            difference=signed(one.difference.value) if one.difference else "",
            difference_interval=f"{signed(one.difference.low)} to {signed(one.difference.high)}" if one.difference else "",
            verdict=one.verdict.name.lower() if one.difference else "",
            others=[f"{contest.figures[one.name][metric]:.4f}" for metric in others],
        )
        for one in contest.contestants
    ]


def _severity(verdict: str) -> int:
    return ["loses", "level", "beats", "none"].index(verdict)
