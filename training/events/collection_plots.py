"""The pictures of what a log collects."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from training.evaluation.plots import BASELINE_COLOUR, MODEL_COLOUR, STYLE, blank, svg_of

LEAST_LINES_APART = 0.09  # of names beside lines, as a share of the height
ALWAYS, NEVER = 0.9995, 0.0005


def events_by_month(months: Sequence[str], events: np.ndarray, name: str) -> Markup:
    """A bar a month: the events of a channel, int64 [months]."""
    with mpl.rc_context(STYLE):
        figure, axes = blank(4.2, 1.9)
        axes.bar(range(len(months)), events, color=BASELINE_COLOUR, alpha=0.75, width=0.85)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_title("events")
        _months(axes, months)
        return svg_of(figure, f"Events by month in {name}")


def fields_by_month(months: Sequence[str], events: np.ndarray, present: Mapping[str, np.ndarray], name: str) -> Markup | None:
    """A line a field: the share of a channel's events [months] that have it. None where each field is always or never there."""
    shares = {field: np.divide(count, events, where=events > 0, out=np.full(len(months), np.nan)) for field, count in present.items()}
    sometimes = {field: share for field, share in shares.items() if np.nanmin(share) < ALWAYS and np.nanmax(share) > NEVER}
    if not sometimes:
        return None
    with mpl.rc_context(STYLE):
        figure, axes = blank(4.2, 1.9)
        for field, share in sometimes.items():
            axes.plot(range(len(months)), share, color=MODEL_COLOUR, linewidth=1.3, marker="o", markersize=2.5, label=field)
        last = {field: float(share[np.isfinite(share)][-1]) for field, share in sometimes.items()}
        for field, height in _apart(last).items():
            axes.annotate(field, (len(months) - 1, height), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.set(ylim=(-0.03, 1.06), title="events that have")
        _months(axes, months)
        return svg_of(figure, f"Share of events with each field by month in {name}")


def _apart(heights: Mapping[str, float]) -> dict[str, float]:
    """The heights of names beside lines, each at least a little above the one below."""
    placed: dict[str, float] = {}
    lowest = -np.inf
    for name, height in sorted(heights.items(), key=lambda entry: entry[1]):
        placed[name] = lowest = max(height, lowest + LEAST_LINES_APART)
    return placed


def _months(axes: Axes, months: Sequence[str]) -> None:
    marks = np.unique(np.linspace(0, len(months) - 1, min(len(months), 6)).round().astype(int))
    axes.set_xticks(marks, [months[mark] for mark in marks])
    axes.set_xlim(-0.7, len(months) - 0.3)
