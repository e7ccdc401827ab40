"""The report's pictures of outcomes: gains, deciles, amounts, and how long segments stay away."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from training.evaluation.outcomes import bins_of_equal_size
from training.evaluation.plots import BASELINE_COLOUR, INK_COLOUR, MODEL_COLOUR, STYLE, blank, svg_of
from training.evaluation.verdict import MODEL, contestant_name

NUM_GROUPS = 10
NUM_POINTS = 200
_PERCENT = FuncFormatter(lambda value, _: f"{value:.0%}")


def gains(actual: np.ndarray, scores: Mapping[str, np.ndarray]) -> Markup:
    """The share of all that came (returns or money, [n]) from the first so many customers in the order of each contestant's scores [n]."""
    with mpl.rc_context(STYLE):
        figure, axes = blank(3.9, 3.0)
        share = np.linspace(0, 1, NUM_POINTS)
        axes.plot([0, 1], [0, 1], color=INK_COLOUR, alpha=0.45, linewidth=1, linestyle=(0, (2, 3)))
        for name, given in reversed(list(scores.items())):
            gained = np.append(0.0, np.cumsum(actual[np.argsort(-given, kind="stable")], dtype=np.float64))
            curve = np.interp(share * len(actual), np.arange(len(actual) + 1), gained / max(gained[-1], 1e-9))
            colour, width = (MODEL_COLOUR, 2.0) if name == MODEL else (BASELINE_COLOUR, 0.9)
            axes.plot(share, curve, color=colour, linewidth=width, label=contestant_name(name) if name == MODEL else "_")
        axes.plot([], [], color=BASELINE_COLOUR, linewidth=0.9, label="baselines")
        axes.legend(frameon=False, loc="lower right")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(_PERCENT)
        axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="customers asked first", ylabel="of all that came")
        return svg_of(figure, "Gains: share of all that came from the customers asked first")


def lift(actual: np.ndarray, expected: np.ndarray) -> Markup:
    """How many times as often as all customers each tenth of them by expectation came: of who came (bool [n]) and expectations [n]."""
    with mpl.rc_context(STYLE):
        figure, axes = blank(3.9, 3.0)
        axes.bar(np.arange(NUM_GROUPS) + 1, lifts(actual, expected), width=0.75, color=MODEL_COLOUR, alpha=0.8)
        axes.axhline(1.0, color=INK_COLOUR, alpha=0.45, linewidth=1, linestyle=(0, (2, 3)))
        axes.xaxis.set_major_locator(MaxNLocator(NUM_GROUPS, integer=True))
        axes.set(xlabel="tenth of customers, the most promising first", ylabel="times as often as all")
        axes.grid(axis="y")
        return svg_of(figure, "Lift of each tenth of customers by expectation")


def lifts(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The share that came in each tenth over the share in all, the most promising tenth first: [NUM_GROUPS], 0 in an empty one."""
    group = NUM_GROUPS - 1 - bins_of_equal_size(expected, num_bins=NUM_GROUPS)
    came = np.bincount(group, weights=actual, minlength=NUM_GROUPS) / np.maximum(np.bincount(group, minlength=NUM_GROUPS), 1)
    return came / max(actual.mean(), np.finfo(np.float64).tiny)


def deciles(actual: np.ndarray, expected: np.ndarray) -> Markup:
    """Mean expected and actual amount of each tenth of customers by expectation; both [n]."""
    with mpl.rc_context(STYLE):
        figure, axes = blank(3.9, 3.0)
        group = bins_of_equal_size(expected, num_bins=NUM_GROUPS)
        count = np.maximum(np.bincount(group, minlength=NUM_GROUPS), 1)
        said, came = (np.bincount(group, weights=values, minlength=NUM_GROUPS) / count for values in (expected, actual))
        place = np.arange(NUM_GROUPS) + 1
        axes.bar(place, came, width=0.75, color=BASELINE_COLOUR, alpha=0.7, label="spent")
        axes.plot(place, said, "o", color=MODEL_COLOUR, markersize=5, label="expected")
        axes.legend(frameon=False, loc="upper left")
        axes.xaxis.set_major_locator(MaxNLocator(NUM_GROUPS, integer=True))
        axes.set(xlabel="tenth of customers", ylabel="mean of a customer")
        axes.grid(axis="y")
        return svg_of(figure, "Expected and actual spend by tenths of customers")


def amounts(actual: np.ndarray, expected: np.ndarray) -> Markup:
    """How many spent, and were expected to spend, at least so much; both [n]."""
    with mpl.rc_context(STYLE):
        figure, axes = blank(5.0, 2.6)
        top = max(float(np.quantile(actual, 0.999)), float(expected.max()), 1e-6)
        low = max(min(float(expected.min()), float(actual[actual > 0].min(initial=top))), top * 1e-4)
        amount = np.geomspace(low, top, NUM_POINTS)
        for values, colour, name in ((actual, BASELINE_COLOUR, "spent"), (expected, MODEL_COLOUR, "expected")):
            axes.plot(amount, 1 - np.searchsorted(np.sort(values), amount) / len(values), color=colour, linewidth=1.6, label=name)
        axes.set_xscale("log")
        axes.yaxis.set_major_formatter(_PERCENT)
        axes.legend(frameon=False)
        axes.set(xlabel="at least so much", ylabel="of all customers")
        axes.grid(axis="y")
        return svg_of(figure, "Share of customers by what they spent and by what they were expected to spend")


def survival(expected: np.ndarray, edges: np.ndarray, days: np.ndarray, came: np.ndarray, segments: Mapping[str, np.ndarray]) -> Markup:
    """Who has not bought yet, of each segment ({name: bool [n]}): expected [n, K] at edges [K + 1] (days), and by Kaplan-Meier."""
    with mpl.rc_context(STYLE):
        figure, axes = blank(6.0, 3.2)
        last = float(days.max())
        for name, members in segments.items():
            curve = np.append(1.0, expected[members].mean(0))
            axes.plot(edges, curve, color=MODEL_COLOUR, linewidth=1.6)
            axes.step(*kaplan_meier(days[members], came[members]), where="post", color=BASELINE_COLOUR, linewidth=1.1)
            _label(axes, last, float(np.interp(last, edges, curve)), f"{name} ({members.sum():,})")
        axes.yaxis.set_major_formatter(_PERCENT)
        axes.set(xlim=(0, last), ylim=(0, 1.01), xlabel="days since the cutoff", ylabel="have not bought yet")
        axes.grid(axis="y")
        return svg_of(figure, "Share of customers who have not bought yet, by segment: expected and actual")


def kaplan_meier(days: np.ndarray, came: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times and survival after each (Kaplan and Meier, 1958), of days [n] until each came (bool [n]), or in vain; from (0, 1) on."""
    times, place = np.unique(days, return_inverse=True)
    events = np.bincount(place, weights=came, minlength=len(times))
    at_risk = len(days) - np.append(0, np.cumsum(np.bincount(place)))[:-1]
    return np.append(0.0, times), np.append(1.0, np.cumprod(1 - events / at_risk))


def _label(axes: Axes, x: float, y: float, text: str) -> None:
    axes.annotate(text, (x, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8, annotation_clip=False)
