"""What the pages of a report are made of: panels of pictures and tables under a title, and chapters of panels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup


@dataclass(frozen=True)
class Table:
    """columns: their heads; rows: texts, as many each, the first of which says what the row is about."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Panel:
    """Pictures (SVG) and a table under a title, with what they mean."""

    title: str
    meaning: str
    pictures: Sequence[Markup] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Chapter:
    """A page about the customers as a whole. section: its name in summary.json; figures: what stands there.

    opening: what was found, in a sentence or two; where there are no panels, why nothing could be.
    """

    section: str
    title: str
    opening: str
    panels: Sequence[Panel] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


def percent(share: float) -> str:
    """A share for people."""
    return "–" if share != share else f"{100 * share:.1f} %"


def number(value: float, digits: int = 3) -> str:
    """A number for people, or that there is none."""
    return "–" if value != value else f"{round(value, digits) + 0.0:,.{digits}f}"  # + 0: no minus before nothing


def between(interval: Sequence[float], digits: int = 3) -> str:
    """A value with its bounds."""
    value, low, high = interval
    return "–" if value != value else f"{number(value, digits)} ({number(low, digits)} to {number(high, digits)})"


def percent_between(interval: Sequence[float]) -> str:
    """A share with its bounds."""
    value, low, high = interval
    return "–" if value != value else f"{percent(value)} ({percent(low)} to {percent(high)})"
