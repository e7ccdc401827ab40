"""Pictures of the customers as a whole: who went from which class to which, how fast what is known grows old, how groups differ."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter

from training.evaluation.bootstrap import Interval
from training.evaluation.plots import BASELINE_COLOUR, INK_COLOUR, MODEL_COLOUR, STYLE, blank, svg_of

_PERCENT = FuncFormatter(lambda value, _: f"{value:.0%}")
_LINE = 42  # letters of a name before it is broken
_GAP = 0.025  # between two classes of a column, as a share of all customers


def sankey(moves: np.ndarray, classes: Sequence[str], *, before: str, after: str) -> Markup:
    """Customers who were in class i and are in class j: moves [K, K]. Who stayed is in the model's colour."""
    with mpl.rc_context(STYLE):
        figure, axes = blank(6.4, 4.2)
        share = moves / max(moves.sum(), 1)
        left, right = _stacked(share.sum(1)), _stacked(share.sum(0))
        leaving, arriving = left.copy(), right.copy()
        for i, j in np.ndindex(*share.shape):
            colour = MODEL_COLOUR if i == j else BASELINE_COLOUR
            _ribbon(axes, float(leaving[i]), float(arriving[j]), float(share[i, j]), colour)
            leaving[i] -= share[i, j]
            arriving[j] -= share[i, j]
        for x, tops, sizes, side, shift in ((0.0, left, share.sum(1), "right", -6), (1.0, right, share.sum(0), "left", 6)):
            for name, top, size in zip(classes, tops, sizes, strict=True):
                axes.plot([x, x], [top, top - size], color=INK_COLOUR, linewidth=5, solid_capstyle="butt")
                words = f"{name}  {size:.0%}"
                axes.annotate(words, (x, top - size / 2), (shift, 0), textcoords="offset points", ha=side, va="center", fontsize=8)
        axes.set_title(before, loc="left")
        axes.set_title(after, loc="right")
        axes.set(xlim=(-0.32, 1.32), ylim=(-0.02, 1.02 + _GAP * len(classes)))
        axes.set_axis_off()
        return svg_of(figure, f"Where customers went between {before} and {after}, by class")


def ageing(curves: Mapping[str, tuple[Sequence[int], np.ndarray]], *, ylabel: str, description: str, percent: bool) -> Markup:
    """Lines over the days since a refresh, {name: (days, values)}; the model's, whose name begins with "model", in its colour."""
    with mpl.rc_context(STYLE):
        figure, axes = blank(3.9, 2.8)
        for name, (days, values) in curves.items():
            colour = MODEL_COLOUR if name.startswith("model") else BASELINE_COLOUR
            axes.plot(days, values, color=colour, linewidth=1.7, label=name)
        axes.legend(frameon=False)
        if percent:
            axes.yaxis.set_major_formatter(_PERCENT)
            axes.set_ylim(bottom=0)
        axes.set(xlabel="days since the refresh", ylabel=ylabel)
        axes.grid(axis="y")
        return svg_of(figure, description)


def bars(values: Mapping[str, float], *, lines: Sequence[float], xlabel: str, description: str) -> Markup:
    """A bar a name, the first on top, with dotted lines at values that mean something."""
    with mpl.rc_context(STYLE):
        figure, axes = blank(5.4, 0.8 + 0.24 * len(values))
        axes.barh(range(len(values)), list(values.values()), color=BASELINE_COLOUR, height=0.65)
        for line in lines:
            axes.axvline(line, color=MODEL_COLOUR, linewidth=0.9, linestyle=(0, (2, 3)))
        axes.set_yticks(range(len(values)), list(values), fontsize=8)
        axes.set(ylim=(len(values) - 0.5, -0.5), xlabel=xlabel)
        axes.tick_params(axis="y", length=0)
        return svg_of(figure, description)


def whiskers(groups: Mapping[str, Mapping[str, Interval]], *, xlabel: str, description: str) -> Markup:
    """Intervals by group and, within it, by name: those whose name begins with "model" in its colour. Names stand at the first group."""
    with mpl.rc_context(STYLE):
        figure, axes = blank(6.0, 0.9 + 0.2 * sum(len(of) + 0.6 for of in groups.values()))
        place, places, names = 0.0, [], []
        for group, of in groups.items():
            axes.annotate(group, (0.0, place), (4, 0), ("axes fraction", "data"), "offset points", va="center", weight="bold", fontsize=8)
            place += 1
            for name, interval in of.items():
                colour = MODEL_COLOUR if name.startswith("model") else BASELINE_COLOUR
                axes.plot([interval.low, interval.high], [place, place], color=colour, linewidth=2, solid_capstyle="round")
                axes.plot(interval.value, place, "o", color=colour, markersize=4.5)
                places.append(place)
                names.append(name)
                place += 1
        axes.set_yticks(places, names, fontsize=8)
        axes.set(ylim=(place, -0.8), xlabel=xlabel)
        axes.margins(x=0.08)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        return svg_of(figure, description)


def shares(parts: Mapping[str, Mapping[str, float]], *, description: str) -> Markup:
    """For each name, its share of two totals: {name: {total: share}}, bars one above the other, the first in the model's colour."""
    with mpl.rc_context(STYLE):
        totals = list(next(iter(parts.values())))
        figure, axes = blank(6.4, 0.9 + 0.42 * len(parts))
        height = 0.8 / len(totals)
        for number, (total, colour) in enumerate(zip(totals, (MODEL_COLOUR, BASELINE_COLOUR), strict=True)):
            at = np.arange(len(parts)) + (number - 0.5) * height
            axes.barh(at, [of[total] for of in parts.values()], height=height * 0.9, color=colour, label=total)
        axes.set_yticks(range(len(parts)), _broken(parts), fontsize=8)
        axes.set_ylim(len(parts) - 0.5, -0.5)
        axes.xaxis.set_major_formatter(_PERCENT)
        axes.tick_params(axis="y", length=0)
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
        return svg_of(figure, description)


def spreads(expected: Mapping[str, np.ndarray], spent: Mapping[str, float], *, xlabel: str) -> Markup:
    """Of each segment what its customers are expected to spend, the middle 80 and 50 % and the median, and their mean spend (a cross)."""
    with mpl.rc_context(STYLE):
        figure, axes = blank(6.4, 0.8 + 0.42 * len(expected))
        for place, (name, values) in enumerate(expected.items()):
            low, lower, middle, upper, high = np.quantile(np.maximum(values, 1e-2), [0.1, 0.25, 0.5, 0.75, 0.9])
            axes.plot([low, high], [place, place], color=MODEL_COLOUR, linewidth=1.2)
            axes.plot([lower, upper], [place, place], color=MODEL_COLOUR, linewidth=5, alpha=0.6, solid_capstyle="butt")
            axes.plot(middle, place, "o", color=MODEL_COLOUR, markersize=5)
            axes.plot(max(spent[name], 1e-2), place, "x", color=INK_COLOUR, markersize=6)
        axes.set_xscale("log")
        axes.set_yticks(range(len(expected)), _broken(expected), fontsize=8)
        axes.set(ylim=(len(expected) - 0.5, -0.5), xlabel=xlabel)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        return svg_of(figure, "Expected spend of each segment: its spread, its median and what was spent on average")


def _broken(names: Iterable[str]) -> list[str]:
    return [fill(name, _LINE) for name in names]


def _stacked(sizes: np.ndarray) -> np.ndarray:
    """The top of each class in a column, the first highest."""
    return 1.0 + _GAP * len(sizes) - np.append(0, np.cumsum(sizes + _GAP))[:-1]


def _ribbon(axes: Axes, start: float, end: float, width: float, colour: str) -> None:
    """A band that leaves at height `start` on the left and arrives at `end` on the right."""
    if width <= 0:
        return
    upper = [(0.02, start), (0.5, start), (0.5, end), (0.98, end)]
    lower = [(0.98, end - width), (0.5, end - width), (0.5, start - width), (0.02, start - width)]
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    axes.add_patch(PathPatch(Path([*upper, *lower, upper[0]], codes), facecolor=colour, alpha=0.4, linewidth=0))
