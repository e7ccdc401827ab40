"""Who the customers are: their kind, when they join and leave, what they like, what prices, messages and coupons do to them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from training.simulator.catalogue import Catalogue, mean_effect_of_discounts
from training.simulator.draws import draws
from training.simulator.keys import customer_keys
from training.simulator.seasons import CHANNELS, Seasons
from training.simulator.settings import DAY, Kind, Settings

TASTES, FAVOURITES = 3, 6
MEDIA = ("email", "push", "sms")
ALREADY_THERE = 0.5  # of the customers whose kind stays for long have joined before the log begins
LONG = 30  # days


@dataclass(frozen=True)
class Regulars:
    """Who buys what again and again: customer and item int32 [n], every `period` days from `phase` on (float64 [n], days since 1970)."""

    customer: np.ndarray
    item: np.ndarray
    period: np.ndarray
    phase: np.ndarray


@dataclass(frozen=True)
class Customers:
    """One entry a customer.

    kind           int8: position in the settings' kinds
    joined, churned  int64 µs; a churn time may lie beyond the log
    pace           float32: visits on an average day, replenishing and joining apart
    conversion     float32: chance that a visit at list prices ends in an order
    elasticity     float32: true price sensitivity
    responses      float32 [3, C]: what a message by each of `MEDIA` adds to the visits, as a share
    coupon_lift    float32: what a coupon adds to the chance of an order, as a share
    tastes         int32 [TASTES, C]: categories, the dearest first
    favourites     int32 [FAVOURITES, C]: items
    regulars       the consumables that some of them replenish
    """

    kinds: list[Kind]
    kind_names: list[str]
    kind: np.ndarray
    joined: np.ndarray
    churned: np.ndarray
    pace: np.ndarray
    conversion: np.ndarray
    elasticity: np.ndarray
    responses: np.ndarray
    coupon_lift: np.ndarray
    tastes: np.ndarray
    favourites: np.ndarray
    regulars: Regulars

    def __len__(self) -> int:
        return len(self.kind)

    @cached_property
    def effect_of_discounts(self) -> np.ndarray:
        """float64 [C]: by what the discounts of an average week multiply the orders."""
        return mean_effect_of_discounts(self.elasticity)

    def of_kind(self, name: str) -> np.ndarray:
        """float32 [kinds]: one number of each kind, to be looked up by `kind`."""
        return np.array([getattr(kind, name) for kind in self.kinds], dtype=np.float32)

    def channels(self) -> np.ndarray:
        """float32 [kinds, 3]: the share of each of `CHANNELS` in the visits of each kind."""
        return np.array([[getattr(kind.channels, name) for name in CHANNELS] for kind in self.kinds], dtype=np.float32)

    def truth(self) -> dict[str, Any]:
        """The columns of truth/customers.parquet."""
        names = pa.DictionaryArray.from_arrays(self.kind, self.kind_names).cast(pa.string())
        times = {"joined": self.joined, "churned": self.churned}
        return {
            "customer": customer_keys(np.arange(len(self))).cast(pa.string()),
            "kind": names,
            **{name: pa.array(time).cast(pa.timestamp("us", "UTC")) for name, time in times.items()},
            "visits_a_day": self.pace,
            "conversion": self.conversion,
            "price_elasticity": self.elasticity,
            **{f"response_{medium}": response for medium, response in zip(MEDIA, self.responses, strict=True)},
            "coupon_lift": self.coupon_lift,
        }


def make_customers(settings: Settings, catalogue: Catalogue, seasons: Seasons) -> Customers:
    """The customers that the settings describe. `pace` is relative here; `calibrated` in visits.py makes it one that meets `num_events`."""
    rng, size = draws(settings.seed, "customers"), settings.num_customers
    kinds = list(settings.kinds.values())
    kind = rng.choice(len(kinds), size, p=[k.share for k in kinds]).astype(np.int8)
    joined, churned = _lifetimes(settings, kinds, kind, seasons, rng)
    elasticity = np.clip(_around(kinds, kind, "price_elasticity", 0.3, rng), 0, 2)
    responses = np.stack([_response(kinds, kind, medium, rng) for medium in MEDIA])
    regulars = _regulars(kinds, kind, catalogue, rng)
    tastes = np.stack([catalogue.popular_categories(rng.random(size, dtype=np.float32)) for _ in range(TASTES)])
    liked = [catalogue.popular_items(tastes[number % TASTES], rng.random(size, dtype=np.float32)) for number in range(FAVOURITES)]
    return Customers(
        kinds=kinds,
        kind_names=list(settings.kinds),
        kind=kind,
        joined=joined,
        churned=churned,
        pace=_by_kind(kinds, kind, "activity") * rng.gamma(2.0, 0.5, size).astype(np.float32),
        conversion=np.minimum(_by_kind(kinds, kind, "conversion") * rng.lognormal(0, 0.2, size), 0.2).astype(np.float32),
        elasticity=elasticity,
        responses=responses,
        coupon_lift=np.clip(_around(kinds, kind, "coupon_lift", 0.1, rng), -0.5, 0.6),
        tastes=tastes,
        favourites=np.stack(liked),
        regulars=regulars,
    )


def browsing_orders(customers: Customers, seasons: Seasons, who: np.ndarray, start: int, end: int) -> np.ndarray:
    """float64 [n]: the orders expected of visits in [start, end) µs with neither message nor coupon; replenishing and joining apart."""
    alive = seasons.between(np.maximum(customers.joined[who], start), np.minimum(customers.churned[who], end))
    chance = customers.conversion[who] * customers.effect_of_discounts[who]
    return customers.pace[who] * alive * chance


def _lifetimes(
    settings: Settings, kinds: list[Kind], kind: np.ndarray, seasons: Seasons, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Half of those who stay for long are there when the log begins: a lifetime without memory goes on then as if it began."""
    size, mean = len(kind), _by_kind(kinds, kind, "lifetime_days").astype(float)
    day = rng.integers(0, settings.days, size)
    store = np.full(size, CHANNELS.index("store"))
    joined = settings.begin + day * DAY + seasons.time_of_day(store, rng.random(size))
    there = (rng.random(size) < ALREADY_THERE) & (mean > LONG)
    joined[there] = settings.begin - (rng.exponential(mean[there]) * DAY).astype(np.int64)
    churned = np.maximum(joined, settings.begin) + (rng.exponential(mean) * DAY).astype(np.int64) + 1
    return joined, churned


def _regulars(kinds: list[Kind], kind: np.ndarray, catalogue: Catalogue, rng: np.random.Generator) -> Regulars:
    how_many = np.array([k.regulars for k in kinds])[kind]
    customer = np.repeat(np.arange(len(kind), dtype=np.int32), how_many)
    category = catalogue.popular_categories(rng.random(len(customer), dtype=np.float32), consumable=True)
    item = catalogue.popular_items(category, rng.random(len(customer), dtype=np.float32))
    period = catalogue.period[item] * rng.lognormal(0, 0.15, len(customer))
    return Regulars(customer, item, period, rng.random(len(customer)) * period)


def _response(kinds: list[Kind], kind: np.ndarray, medium: str, rng: np.random.Generator) -> np.ndarray:
    mean = np.array([getattr(k.responses, medium) for k in kinds], dtype=np.float32)[kind]
    return np.clip(mean + rng.normal(0, 0.15, len(kind)), -0.8, 1.2).astype(np.float32)


def _by_kind(kinds: list[Kind], kind: np.ndarray, name: str) -> np.ndarray:
    return np.array([getattr(k, name) for k in kinds], dtype=np.float32)[kind]


def _around(kinds: list[Kind], kind: np.ndarray, name: str, spread: float, rng: np.random.Generator) -> np.ndarray:
    return (_by_kind(kinds, kind, name) + rng.normal(0, spread, len(kind))).astype(np.float32)
