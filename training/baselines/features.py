"""What a team knows of a customer at a moment, from the events up to it: recency, frequency, monetary value, rhythm, kinds of events."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from training.sequences.history import History, customer_of_event, step_starts
from training.sequences.money import spend_of
from training.sequences.split import DAY
from training.sequences.visits import beginnings

WINDOWS_DAYS = (7, 14, 28, 91, 182, 365)
NUM_WEEKS = 12
_FIRST_KNOWN = 2  # ids 0 and 1 are a missing and an unknown kind of event


def customer_features(history: History, now: int, *, intent_events: np.ndarray, event_names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Names [F] and values float32 [C, F] of every customer at `now` (µs); NaN where there is nothing to measure.

    Events after `now` change nothing. intent_events: ids of the events that count as coming back (purchases). event_names: the name of each
    event id.
    """
    return Activity.of(history, intent_events=intent_events, event_names=event_names).features(now)


@dataclass(frozen=True)
class Steps:
    """Purchases by step, a row a basket: customer, timestamp (µs), number of items, monetary value, each [S]."""

    num_customers: int
    customer: np.ndarray
    timestamp: np.ndarray
    items: np.ndarray
    spend: np.ndarray

    @classmethod
    def of(cls, bought: History) -> "Steps":
        first = np.flatnonzero(step_starts(bought))
        customer, timestamp = customer_of_event(bought.offsets)[first], bought.columns["timestamp"][first]
        items = np.diff(first, append=len(bought.columns["timestamp"])).astype(np.float64)
        spend = np.add.reduceat(spend_of(bought), first) if len(first) else np.zeros(0)
        return cls(bought.num_customers, customer, timestamp, items, spend)

    def where(self, keep: np.ndarray) -> "Steps":
        return Steps(self.num_customers, self.customer[keep], self.timestamp[keep], self.items[keep], self.spend[keep])

    def total(self, weights: np.ndarray | None = None) -> np.ndarray:
        """The sum of `weights` [S] (None: ones) for each customer: float64 [C]."""
        return np.bincount(self.customer, weights=weights, minlength=self.num_customers).astype(np.float64)

    def of_last(self, values: np.ndarray) -> np.ndarray:
        """`values` [S] at each customer's last step: float64 [C], NaN without a step."""
        last, is_last = np.full(self.num_customers, np.nan), np.diff(self.customer, append=-1) != 0
        last[self.customer[is_last]] = values[is_last]
        return last


@dataclass(frozen=True)
class Activity:
    """A log prepared once to be asked at many moments.

    first_seen: µs of a customer's first event [C]. first_bought: µs of the first purchase of each (customer, item), with its customer.
    others: for each other kind of event, customers and times (µs) of its events. beside: of the same customers, what else is known.
    """

    steps: Steps
    first_seen: np.ndarray
    first_bought: np.ndarray
    buyer: np.ndarray
    others: dict[str, tuple[np.ndarray, np.ndarray]]
    beside: "Activity | None" = None

    @classmethod
    def of(cls, history: History, *, intent_events: np.ndarray, event_names: Sequence[str]) -> "Activity":
        customer, event, timestamp = customer_of_event(history.offsets), history.columns["event"], history.columns["timestamp"]
        bought = history.where(np.isin(event, intent_events))
        first_seen = np.full(history.num_customers, np.iinfo(np.int64).max)
        first_seen[history.num_events > 0] = timestamp[history.offsets[:-1][history.num_events > 0]]
        kinds = [kind for kind in range(_FIRST_KNOWN, len(event_names)) if kind not in intent_events]
        others = {event_names[kind]: (customer[event == kind], timestamp[event == kind]) for kind in kinds}
        return cls(Steps.of(bought), first_seen, *_first_purchases(bought), others)

    @classmethod
    def of_visits(cls, history: History, *, visit_events: np.ndarray, intent_events: np.ndarray, event_names: Sequence[str]) -> "Activity":
        """Of what begins visits, each of which counts one; beside it purchases, and every kind of event by itself."""
        begun = beginnings(history, visit_events)
        unpriced = History(begun.offsets, {name: values for name, values in begun.columns.items() if name not in ("price", "quantity")})
        visits = cls.of(unpriced, intent_events=visit_events, event_names=[])
        beside = cls.of(history, intent_events=intent_events, event_names=event_names)
        return replace(visits, first_seen=beside.first_seen, beside=beside)

    def seen(self, now: int) -> np.ndarray:
        """The customers that have an event by `now`: positions, int64."""
        return np.flatnonzero(self.first_seen <= now)

    def came_back(self, now: int, horizon: int) -> np.ndarray:
        """Whether each customer has an intent event in (now, now + horizon] (µs): bool [C]."""
        return self.steps.where((self.steps.timestamp > now) & (self.steps.timestamp <= now + horizon)).total() > 0

    def features(self, now: int) -> tuple[list[str], np.ndarray]:
        """Names [F] and values float32 [C, F] at `now` (µs), from nothing after it."""
        steps = self.steps.where(self.steps.timestamp <= now)
        distinct = np.bincount(self.buyer[self.first_bought <= now], minlength=steps.num_customers).astype(np.float64)
        features = _habit(steps, now) | {"distinct_items": distinct} | _windows(steps, now) | _calendar(steps, now)
        for name, (customer, timestamp) in self.others.items():
            past = timestamp <= now
            features |= _kind(name, customer[past], (now - timestamp[past]) / DAY, num_customers=steps.num_customers)
        names, values = list(features), np.stack(list(features.values()), axis=1).astype(np.float32)
        if self.beside is None:
            return names, values
        more, known = self.beside.features(now)
        return [*names, *(f"beside_{name}" for name in more)], np.concatenate([values, known], axis=1)


def _first_purchases(bought: History) -> tuple[np.ndarray, np.ndarray]:
    """The time (µs) of the first purchase of each (customer, item), and the customer."""
    item = bought.columns["item"].astype(np.int64)
    num_items = int(item.max(initial=0)) + 1
    pair, first = np.unique(customer_of_event(bought.offsets) * num_items + item, return_index=True)
    return bought.columns["timestamp"][first], pair // num_items


def _habit(steps: Steps, now: int) -> dict[str, np.ndarray]:
    """Recency, tenure and rhythm in days; sizes of baskets."""
    number, age = steps.total(), (now - steps.timestamp) / DAY
    follows = np.diff(steps.customer, prepend=-1) == 0
    gap = np.where(follows, -np.diff(age, prepend=0.0), 0.0)
    recency, together = steps.of_last(age), steps.total(gap)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_gap = np.where(number > 1, together / (number - 1), np.nan)
        variance = np.where(number > 1, steps.total(gap**2) / (number - 1), np.nan) - mean_gap**2
        return {
            "recency_days": recency,
            "tenure_days": recency + together,
            "purchases": number,
            "spend": steps.total(steps.spend),
            "mean_gap_days": mean_gap,
            "std_gap_days": np.sqrt(np.maximum(variance, 0.0)),
            "last_gap_days": np.where(number > 1, steps.of_last(gap), np.nan),
            "recency_in_gaps": recency / mean_gap,
            "items_per_purchase": steps.total(steps.items) / number,
            "spend_per_purchase": steps.total(steps.spend) / number,
            "last_purchase_items": steps.of_last(steps.items),
            "last_purchase_spend": steps.of_last(steps.spend),
        }


def _windows(steps: Steps, now: int) -> dict[str, np.ndarray]:
    """Purchases, items and spend in the last days."""
    features: dict[str, np.ndarray] = {}
    for days in WINDOWS_DAYS:
        lately = steps.where(steps.timestamp > now - days * DAY)
        totals = lately.total(), lately.total(lately.items), lately.total(lately.spend)
        features |= {f"{word}_{days}d": total for word, total in zip(("purchases", "items", "spend"), totals, strict=True)}
    return features


def _calendar(steps: Steps, now: int) -> dict[str, np.ndarray]:
    """The moment's weekday (Monday is 0), how many of the last weeks saw a purchase, the share of purchases on each weekday."""
    weekday, week = (steps.timestamp // DAY + 3) % 7, (now - steps.timestamp) // (7 * DAY)
    active = np.unique((steps.customer * NUM_WEEKS + week)[week < NUM_WEEKS]) // NUM_WEEKS
    features = {
        "weekday": np.full(steps.num_customers, (now // DAY + 3) % 7, dtype=np.float64),
        f"active_weeks_of_{NUM_WEEKS}": np.bincount(active, minlength=steps.num_customers).astype(np.float64),
    }
    with np.errstate(invalid="ignore"):
        return features | {f"share_weekday_{day}": steps.total(weekday == day) / steps.total() for day in range(7)}


def _kind(name: str, customer: np.ndarray, age_days: np.ndarray, *, num_customers: int) -> dict[str, np.ndarray]:
    """One kind of event: how many in the last 28 days, and days since the last."""
    since = np.full(num_customers, np.inf)
    np.minimum.at(since, customer, age_days)
    recent = np.bincount(customer[age_days < 28], minlength=num_customers)
    return {f"{name}_28d": recent.astype(np.float64), f"{name}_since_days": np.where(np.isinf(since), np.nan, since)}
