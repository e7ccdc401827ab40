"""The customers of a log as a whole, at the test moment and before it: what every chapter about them reads.

Large logs are looked at through customers drawn by the seed, so that no chapter grows with the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.audience.asking import Told, ask_over_time
from training.baselines.features import Activity
from training.build import Parts
from training.evaluation.compared import Comparison
from training.objectives.dormancy import Dormancy
from training.objectives.intent import Intent
from training.objectives.loyalty import Loyalty
from training.sequences.history import History, customer_of_event, take
from training.sequences.money import bought_on_discount
from training.sequences.split import DAY

MOST_DRAWN = 20_000  # customers whose events are counted
MOST_ASKED = 2_000  # of these, about whom the model is asked: at three moments, and day by day
JUDGED_DAYS = 7  # of the test window, on which old and fresh knowledge are compared: one of each weekday
QUARTER = 91  # days, after which RFM is usually refreshed
DISCOUNT_EVENT = "coupon"  # says that a discount was used, unless the run's loyalty names others
WHO = ("age", "region", "gender", "segment", "channel")  # fields that say what kind of customer somebody is, where a log has them
READ = ("event", "item", "timestamp", "price", "quantity")


@dataclass(frozen=True)
class Scene:
    """drawn: positions in the store, rising [n]; log: their events up to the end of the test window; all that follows is of these [n].

    purchases, discounts: ids of events. now: the test moment, until: the end of its window, taught: the last moment of the training
    window, earlier: the refresh before `now`, a quarter ago or, in a short log, a horizon (µs). asked: places in `drawn` of whom the
    model was asked [m]; told: what it said at `earlier`, `taught` and `now`, the columns of `moments`.
    """

    parts: Parts
    compared: Mapping[str, Comparison]
    drawn: np.ndarray
    log: History
    activity: Activity
    purchases: np.ndarray
    discounts: np.ndarray
    taught: int
    earlier: int
    now: int
    until: int
    asked: np.ndarray
    told: Told
    seed: int
    customers_per_batch: int

    @classmethod
    def of(cls, parts: Parts, compared: Mapping[str, Comparison], *, seed: int, customers_per_batch: int) -> "Scene":
        """Of a split by time: customers who share no moments make no audience."""
        now, until = int(parts.split.test.now[0]), int(parts.split.test.until[0])
        first_seen, random = _first_seen(parts), np.random.default_rng(seed)
        drawn = _some(np.flatnonzero(first_seen <= now), MOST_DRAWN, random)
        asked = _some(np.arange(len(drawn)), MOST_ASKED, random)
        taught, earlier = int(parts.split.validation.now[0]), _refreshed_before(now, until, int(first_seen.min()))
        moments, place = np.unique([earlier, taught, now], return_inverse=True)  # two of them may be the same
        told = ask_over_time(parts, drawn[asked], moments, customers_per_batch=customers_per_batch)
        columns = {name: values for name, values in parts.store.columns.items() if name in {*READ, *WHO}}
        log = History.at(take(History(parts.store.offsets, columns), drawn), until)
        purchases = np.flatnonzero(parts.model.features.rhythm.is_purchase.numpy())
        return cls(
            parts=parts,
            compared=compared,
            drawn=drawn,
            log=log,
            activity=Activity.of(log, intent_events=purchases, event_names=parts.store.vocabularies["event"].keys),
            purchases=purchases,
            discounts=_discounts(parts),
            taught=taught,
            earlier=earlier,
            now=now,
            until=until,
            asked=asked,
            told=Told({name: values[:, place] for name, values in told.values.items()}, told.embedding[:, place]),
            seed=seed,
            customers_per_batch=customers_per_batch,
        )

    @property
    def apart_days(self) -> int:
        """Between two refreshes."""
        return (self.now - self.earlier) // DAY

    @property
    def window_days(self) -> float:
        return (self.until - self.now) / DAY

    @property
    def soon_days(self) -> float:
        """How soon a purchase counts where it is asked who buys next: within the model's horizon, as far as the window holds it.

        From each of the first days of the window, if it is long enough.
        """
        intent, dormancy = self.parts.model.objective(Intent), self.parts.model.objective(Dormancy)
        asked = intent.horizon_days if intent else dormancy.horizon_days if dormancy else self.window_days
        left = self.window_days - (JUDGED_DAYS - 1)
        return min(asked, left if left >= self.window_days / 2 else self.window_days)

    @property
    def chance(self) -> str:
        """The output that is the chance of a purchase; empty where no objective says one."""
        return next((name for name in ("purchase_probability", "return_probability") if name in self.told.values), "")

    def said(self, section: str, column: str) -> np.ndarray | None:
        """A column of a comparison for each customer [n], NaN where they were not judged; None where the run has no such section."""
        comparison = self.compared.get(section)
        if comparison is None or column not in comparison.columns:
            return None
        values = np.full(self.parts.store.num_customers, np.nan)
        values[comparison.customers] = comparison.columns[column]
        return values[self.drawn]

    def followed(self, after: int, until: int) -> tuple[np.ndarray, np.ndarray]:
        """How often each customer bought in (after, until] (µs), and for how much: float64 [n] each."""
        steps = self.activity.steps
        between = steps.where((steps.timestamp > after) & (steps.timestamp <= until))
        return between.total(), between.total(between.spend)

    def discount_share(self, now: int) -> np.ndarray | None:
        """The share of each customer's purchases that fell on days with a discount: [n], NaN without any; None in a log without them."""
        if not len(self.discounts):
            return None
        past = History.at(self.log, now)
        bought = past.where(np.isin(past.columns["event"], self.purchases))
        owner, used = customer_of_event(bought.offsets), bought_on_discount(bought, past, self.discounts)
        with np.errstate(invalid="ignore"):
            return np.bincount(owner[used], minlength=len(self.drawn)) / bought.num_events


def _first_seen(parts: Parts) -> np.ndarray:
    """µs of each customer's first event [C]; the largest int64 for who has none."""
    offsets, first = parts.store.offsets, np.full(parts.store.num_customers, np.iinfo(np.int64).max)
    known = np.diff(offsets) > 0
    first[known] = parts.store.columns["timestamp"][offsets[:-1][known]]
    return first


def _refreshed_before(now: int, until: int, begin: int) -> int:
    """A quarter before `now` where the log began as long again before that, else a horizon: in whole days, at least one (µs)."""
    days = QUARTER if now - begin >= 2 * QUARTER * DAY else max(1, (until - now) // DAY)
    return now - days * DAY


def _some(customers: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
    return customers if len(customers) <= most else np.sort(random.choice(customers, most, replace=False))


def _discounts(parts: Parts) -> np.ndarray:
    """Ids of the events that say that a discount was used: those of the run's loyalty, or coupons, if any customer used one."""
    loyalty = parts.model.objective(Loyalty)
    if loyalty is not None and len(loyalty.discounts):
        return loyalty.discounts
    known = parts.facts.events
    return np.array([known[DISCOUNT_EVENT]]) if DISCOUNT_EVENT in known else np.zeros(0, dtype=np.int64)
