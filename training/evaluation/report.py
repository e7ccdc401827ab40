"""The report of a run: one HTML file that opens from disk, its first line the verdict.

Everything it shows is inside the file: pictures are inline SVG, styles are inline, nothing is fetched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from training import pages
from training.evaluation import plots
from training.evaluation.compared import Comparison
from training.evaluation.panels import Chapter, Panel
from training.evaluation.plots import TimeSpan
from training.evaluation.verdict import contestant_name, metric_name, signed, verdict_lines
from training.files import write_text


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
    chapters: what is said of the customers as a whole. refitted: what answered was trained on all time before the test.
    """

    name: str
    created: str
    store: Mapping[str, Any]
    timestamps: np.ndarray
    spans: Sequence[TimeSpan]
    metrics: Sequence[Mapping[str, float]] = ()
    comparisons: Sequence[Comparison] = ()
    chapters: Sequence[Chapter] = ()
    stories: Sequence[Story] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    refitted: bool = False


def write_report(path: str | Path, contents: ReportContents) -> None:
    """Write the report to `path` as HTML, whole or not at all."""
    write_text(Path(path), render(contents))


def render(contents: ReportContents) -> str:
    """The report as one HTML text."""
    contests = [comparison.contest for comparison in contents.comparisons if comparison.contest]
    environment = pages.environment(Path(__file__).parent)
    environment.filters["words"] = contestant_name
    return environment.get_template("report.html.jinja").render(
        report=contents,
        verdicts=verdict_lines(contests),
        worst=min(contest.verdict for contest in contests).name.lower() if contests else "none",
        sections=[_section(comparison) for comparison in contents.comparisons],
        timeline=plots.timeline(contents.timestamps, contents.spans),
        curves=plots.training_curves(contents.metrics),
    )


@dataclass(frozen=True)
class Section:
    """One question of the report: the table, its pictures and what the numbers mean."""

    title: str
    question: str
    meaning: str
    columns: list[str]
    rows: list["Row"]
    forest: Markup | None
    calibration: list[Markup]
    panels: Sequence[Panel]


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


def _section(comparison: Comparison) -> Section:
    contest = comparison.contest
    return Section(
        title=comparison.title,
        question=comparison.question,
        meaning=comparison.meaning,
        columns=[metric_name(metric) for metric in comparison.shown],
        rows=[_row(comparison, name) for name in comparison.figures],
        forest=plots.forest(contest) if contest else None,
        calibration=[plots.calibration(name, curve) for name, curve in comparison.calibration.items()],
        panels=comparison.panels,
    )


def _row(comparison: Comparison, name: str) -> Row:
    """Without a contest there are no intervals: the metrics alone."""
    value, *others = (f"{comparison.figures[name][metric]:.4f}" for metric in comparison.shown)
    contestants = comparison.contest.contestants if comparison.contest else []
    one = next((contestant for contestant in contestants if contestant.name == name), None)
    difference = one.difference if one else None
    return Row(
        name=name,
        settings=comparison.settings.get(name, ""),
        value=value,
        interval=f"{one.value.low:.4f} to {one.value.high:.4f}" if one else "",
        difference=signed(difference.value) if difference else "",
        difference_interval=f"{signed(difference.low)} to {signed(difference.high)}" if difference else "",
        verdict=one.verdict.name.lower() if one and difference else "",
        others=others,
    )
