"""Customers at a moment about whom it is asked whether they return, what they will spend and when they come; and what is known by then."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.baselines.features import Activity, Steps
from training.baselines.intent import past_moments
from training.baselines.snapshots import Snapshots
from training.errors import ConfigError
from training.sequences.history import History, Log
from training.sequences.split import DAY, Split

MAX_MOMENTS = 8  # past moments to learn from: neighbouring weeks say nearly the same
MAX_ROWS = 60_000
HELD_OUT = 0.2  # of the customers, to choose between variants


@dataclass(frozen=True)
class OutcomeAnswers:
    """What a baseline says of all customers of a store, each float64 [C]; None where it has no answer, NaN for who has no event yet.

    returns: probability of a purchase within the horizon. value: expected spend within it (price times quantity; in a log without prices
    the number of purchases). days: expected days to the next purchase, the horizon where none comes by then: who has left never comes, so
    without that limit there is no mean. settings: what was fitted or chosen, in words. why_not: why it is left out, where it is.
    """

    returns: np.ndarray | None = None
    value: np.ndarray | None = None
    days: np.ndarray | None = None
    settings: str = ""
    why_not: str = ""


class NoLessonsError(ConfigError):
    """No past moment's horizon is over, or all customers did the same after those: there is nothing to learn from."""


@dataclass(frozen=True)
class Lessons:
    """Customers at past moments and what they did next, by all that is known now.

    returned: bool. spent: within the horizon. days: to the next purchase, the horizon at most, less where less is known; each [rows].
    held: rows of customers who are held out.
    """

    snapshots: Snapshots
    spent: np.ndarray
    days: np.ndarray
    held: np.ndarray

    @property
    def returned(self) -> np.ndarray:
        return self.snapshots.labels

    def where(self, keep: np.ndarray) -> "Lessons":
        """The rows for which `keep` [rows] is true."""
        table = self.snapshots
        parts = (part[keep] for part in (table.values, table.customer, table.moment, table.labels))
        return Lessons(Snapshots(table.names, *parts), self.spent[keep], self.days[keep], self.held[keep])


@dataclass(frozen=True)
class OutcomeQuestion:
    """activity: everything up to `now` and nothing later; asked: the customers seen by then, their features at `now`.

    taught: lessons at moments whose horizon is over, and at moments since, which are known in part; where there are none, why not.
    priced: whether amounts are known.
    """

    past: History
    activity: Activity
    kinds: np.ndarray
    now: int
    horizon_days: float
    taught: tuple[Lessons, Lessons] | NoLessonsError
    asked: Snapshots
    priced: bool

    @classmethod
    def of(
        cls, log: Log, split: Split, *, kinds: np.ndarray, horizon_days: float, seed: int, visits: np.ndarray | None = None
    ) -> "OutcomeQuestion":
        """Asked at the test moment of a split by time; kinds: ids of the events that are purchases. visits: see `outcome_baselines`."""
        if split.kind != "time":
            raise ConfigError(f"expected a split by time, received {split.kind!r}: these baselines learn from moments that customers share")
        now, horizon = int(split.test.now[0]), round(horizon_days * DAY)
        past = History.at(log, now)
        names = [str(kind) for kind in range(int(past.columns["event"].max(initial=-1)) + 1)]
        activity = (
            Activity.of(past, intent_events=kinds, event_names=names)
            if visits is None
            else Activity.of_visits(past, visit_events=visits, intent_events=kinds, event_names=names)
        )
        taught = _taught(activity, now, horizon, np.random.default_rng(seed))
        priced = "price" in past.columns and visits is None
        return cls(past, activity, kinds, now, horizon_days, taught, Snapshots.take(activity, [now]), priced)

    @property
    def lessons(self) -> Lessons:
        """At moments whose horizon is over. Raises NoLessonsError where there are none."""
        return self._taught()[0]

    @property
    def later(self) -> Lessons:
        """At moments since, which are known in part. Raises NoLessonsError as `lessons` does."""
        return self._taught()[1]

    def _taught(self) -> tuple[Lessons, Lessons]:
        if isinstance(self.taught, NoLessonsError):
            raise self.taught
        return self.taught

    def spread(self, of_asked: np.ndarray) -> np.ndarray:
        """A number for each of `asked` [rows] to one for each customer [C], NaN for who was not asked about."""
        answer = np.full(self.past.num_customers, np.nan)
        answer[self.asked.customer] = of_asked
        return answer


def _taught(activity: Activity, now: int, horizon: int, random: np.random.Generator) -> tuple[Lessons, Lessons] | NoLessonsError:
    first = int(activity.steps.timestamp.min(initial=now))
    if now - horizon <= first:
        return NoLessonsError(f"no moment lies so far back that the {horizon / DAY:g} days after it are known")
    over = past_moments(first, now, horizon)
    since = [now - (now - over[0]) * part // (MAX_MOMENTS + 1) for part in range(1, MAX_MOMENTS + 1)]
    held = _held_out(activity.seen(over[0]), activity.steps.num_customers, random)
    lessons, later = (_lessons(activity, moments, now, horizon, held, random) for moments in (_some(over), since))
    taught = lessons.returned[~lessons.held]
    if taught.all() or not taught.any():
        return NoLessonsError(f"{'all' if taught.any() else 'no'} customers came back within {horizon / DAY:g} days after past moments")
    return lessons, later


def _held_out(known: np.ndarray, num_customers: int, random: np.random.Generator) -> np.ndarray:
    """A part of the known customers, at least one but not all: bool [C]."""
    if len(known) < 2:
        raise ConfigError(f"expected at least two customers before past moments, found {len(known)}; choose a later cutoff")
    held = np.zeros(num_customers, dtype=bool)
    held[random.choice(known, int(np.ceil(HELD_OUT * len(known))), replace=False)] = True
    return held


def _some(moments: Sequence[int]) -> list[int]:
    return list(moments[:: -(-len(moments) // MAX_MOMENTS)])


def _lessons(activity: Activity, moments: list[int], now: int, horizon: int, held: np.ndarray, random: np.random.Generator) -> Lessons:
    snapshots = Snapshots.take(activity, moments, horizon=horizon)
    spent, days = zip(*(_what_followed(activity.steps, moment, min(moment + horizon, now)) for moment in moments), strict=True)
    row = np.searchsorted(-np.array(moments), -snapshots.moment), snapshots.customer
    lessons = Lessons(snapshots, np.stack(spent)[row], np.stack(days)[row], held[snapshots.customer])
    size = len(snapshots.customer)
    if size <= MAX_ROWS:
        return lessons
    return lessons.where(np.isin(np.arange(size), random.choice(size, MAX_ROWS, replace=False)))


def _what_followed(steps: Steps, moment: int, until: int) -> tuple[np.ndarray, np.ndarray]:
    """Spend in (moment, until] and days to the first purchase in it, all of them where there is none: each [C]."""
    after = steps.where((steps.timestamp > moment) & (steps.timestamp <= until))
    days = np.full(steps.num_customers, (until - moment) / DAY)
    np.minimum.at(days, after.customer, (after.timestamp - moment) / DAY)
    return after.total(after.spend), days
