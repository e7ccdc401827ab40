"""The report's pictures: matplotlib figures as inline SVG. Their colours are the page's, so that they suit a light and a dark one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from training.evaluation.outcomes import Reliability
from training.evaluation.verdict import MODEL, Contest, contestant_name, metric_name

_WEEK = 7 * 86_400_000_000  # µs
CURVES = ("loss", "ndcg@10", "hr@10", "auroc")

# Colours stand for names of the page's style sheet and are replaced by them in the SVG.
INK_COLOUR, _QUIET, MODEL_COLOUR, BASELINE_COLOUR = "#010101", "#020202", "#030303", "#040404"
_SPANS = ("#050505", "#060606", "#070707")
_CSS = {
    INK_COLOUR: "var(--ink)",
    _QUIET: "var(--line)",
    MODEL_COLOUR: "var(--model)",
    BASELINE_COLOUR: "var(--baseline)",
    _SPANS[0]: "var(--train)",
    _SPANS[1]: "var(--validation)",
    _SPANS[2]: "var(--test)",
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "revisit",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _QUIET,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK_COLOUR,
    "axes.labelcolor": INK_COLOUR,
    "text.color": INK_COLOUR,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
    "xtick.labelcolor": INK_COLOUR,
    "ytick.labelcolor": INK_COLOUR,
    "grid.color": _QUIET,
    "grid.linewidth": 0.6,
}


@dataclass(frozen=True)
class TimeSpan:
    """A named stretch of time, both ends in µs."""

    name: str
    start: int
    end: int


def timeline(timestamps: np.ndarray, spans: Sequence[TimeSpan]) -> Markup:
    """Events in each whole week (timestamps: µs [N]), before the training, validation and test windows, in this order."""
    with mpl.rc_context(STYLE):
        figure, axes = blank(6.0, 2.2)
        first, last = timestamps.min(), timestamps.max()
        edges = np.append(first, np.arange(first + _WEEK, last, _WEEK))
        count, edges = np.histogram(timestamps, bins=edges if len(edges) > 1 else np.array([first, last + 1]))
        axes.stairs(count, _dates(edges), fill=True, color=BASELINE_COLOUR, alpha=0.75, linewidth=0)
        for place, (span, colour) in enumerate(zip(spans, _SPANS, strict=False)):
            start, end = _dates(np.array([span.start, span.end]))
            axes.axvspan(start, end, color=colour, alpha=0.22, linewidth=0)
            # the windows after training are narrow: the names of the two lean away from each other
            at, side, shift = (end, "right", -4) if place == 1 else (start, "left", 0)
            axes.annotate(span.name, (at, 1.03), (shift, 0), ("data", "axes fraction"), "offset points", ha=side, weight="bold", fontsize=8)
        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_ylabel("events a week")
        axes.set_xlim(*_dates(np.array([first, max([last, *(span.end for span in spans)])])))
        return svg_of(figure, "Events in each week, with the training, validation and test windows")


def training_curves(metrics: Sequence[Mapping[str, float]]) -> list[Markup]:
    """One picture for each loss and main metric. metrics: a row an epoch with `epoch`, `train/<metric>` and `validation/<metric>`."""
    names = list(dict.fromkeys(key for row in metrics for key in row if "/" in key and key.endswith(CURVES)))
    titles = dict.fromkeys(name.split("/", 1)[1] for name in names)
    return [_curve(title, [name for name in names if name.split("/", 1)[1] == title], metrics) for title in titles]


def forest(contest: Contest) -> Markup:
    """Each contestant's metric with its interval, and a line down from the model."""
    with mpl.rc_context(STYLE):
        contestants = contest.contestants
        figure, axes = blank(3.6, 0.75 + 0.34 * len(contestants))
        for place, one in enumerate(contestants):
            colour = MODEL_COLOUR if one.name == MODEL else BASELINE_COLOUR
            axes.plot([one.value.low, one.value.high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
            axes.plot(one.value.value, place, "o", color=colour, markersize=6.5)
            axes.annotate(
                f"{one.value.value:.3f}", (one.value.value, place), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8
            )
        axes.axvline(contestants[0].value.value, color=MODEL_COLOUR, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
        axes.set_yticks(range(len(contestants)), [contestant_name(one.name) for one in contestants])
        axes.set_ylim(len(contestants) - 0.6, -0.75)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.margins(x=0.12)
        axes.grid(axis="x")
        axes.tick_params(length=0)
        axes.spines[["left", "bottom"]].set_visible(False)
        metric = metric_name(contest.metric)
        axes.set_title(f"{metric}, 95% intervals")
        return svg_of(figure, f"{metric} of the model and the baselines with intervals")


def calibration(name: str, curve: Reliability) -> Markup:
    """What was predicted against what happened: on the diagonal the probability means what it says."""
    with mpl.rc_context(STYLE):
        figure, axes = blank(2.7, 2.7)
        spread = 1.96 * np.sqrt(curve.observed * (1 - curve.observed) / curve.count)
        colour = MODEL_COLOUR if name == MODEL else BASELINE_COLOUR
        axes.plot([0, 1], [0, 1], color=INK_COLOUR, alpha=0.45, linewidth=1, linestyle=(0, (2, 3)))
        axes.errorbar(curve.predicted, curve.observed, yerr=spread, color=colour, marker="o", markersize=4.5, linewidth=1.4, elinewidth=1)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.set(
            xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel="predicted", ylabel="came back", title=contestant_name(name)
        )
        return svg_of(figure, f"Calibration of {contestant_name(name)}")


def _curve(title: str, names: Sequence[str], metrics: Sequence[Mapping[str, float]]) -> Markup:
    with mpl.rc_context(STYLE):
        figure, axes = blank(3.4, 2.2)
        for name in names:
            points = [(row["epoch"], row[name]) for row in metrics if np.isfinite(row.get(name, np.nan))]
            if not points:
                continue
            stage, (epoch, value) = name.split("/", 1)[0], zip(*points, strict=True)
            colour = BASELINE_COLOUR if stage == "train" else MODEL_COLOUR
            axes.plot(epoch, value, color=colour, linewidth=1.6, marker="o", markersize=3, linestyle="--" if stage == "train" else "-")
            axes.annotate(stage, (epoch[-1], value[-1]), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.margins(x=0.05)
        axes.set(title=_title(title), xlabel="epoch")
        axes.grid(axis="y")
        return svg_of(figure, f"{title} by epoch")


def _title(name: str) -> str:
    """`next_item_ndcg@10` is next item NDCG@10."""
    of, _, metric = name.rpartition("_")
    return f"{of.replace('_', ' ')} {metric_name(metric)}".strip()


def blank(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty picture, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots()


def _dates(timestamps: np.ndarray) -> np.ndarray:
    """µs to matplotlib's days since 1970."""
    return timestamps / 86_400_000_000


def svg_of(figure: Figure, description: str) -> Markup:
    """An SVG element for a page: no prologue, no metadata, no name spaces, colours by the page's names."""
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg[svg.index("<svg") :])
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # it would reach beyond the picture
    for placeholder, name in _CSS.items():
        svg = svg.replace(placeholder, name)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1))
