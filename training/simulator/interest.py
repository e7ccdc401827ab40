"""Which items a visit turns to: what the customer likes, what goes together, what is popular, what is in season."""

import numpy as np

from training.simulator.behaviour import FOLLOWS, IN_SEASON, STAYS_ON_TOPIC, TASTE
from training.simulator.customers import FAVOURITES
from training.simulator.draws import mixed
from training.simulator.retailer import Retailer
from training.simulator.settings import DAY
from training.simulator.visits import Visits

SEASON = 30 * DAY


def items_of_visits(retailer: Retailer, visits: Visits, visit: np.ndarray, start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int32 [n]: the item of each look.

    visit   int64 [n]: the position of each look's visit; start int64 [V]: where the looks of each visit begin
    """
    catalogue, customers = retailer.catalogue, retailer.customers
    off_topic = np.flatnonzero(rng.random(len(visit), dtype=np.float32) >= STAYS_ON_TOPIC)
    anything = rng.random(len(visit), dtype=np.float32)
    category = _topics(retailer, visits, rng)[visit]
    category[off_topic] = catalogue.popular_categories(anything[off_topic])
    item = catalogue.popular_items(category, rng.random(len(visit), dtype=np.float32))
    habit = customers.of_kind("habit").take(customers.kind[visits.customer])
    habitual = np.flatnonzero(rng.random(len(visit), dtype=np.float32) < habit[visit])
    item[habitual] = customers.favourites[rng.integers(0, FAVOURITES, len(habitual)), visits.customer[visit[habitual]]]
    _let_companions_follow(item, visit, start, catalogue.companion, rng)
    replenished = np.flatnonzero(visits.item >= 0)
    item[start[replenished]] = visits.item[replenished]
    return item


def _topics(retailer: Retailer, visits: Visits, rng: np.random.Generator) -> np.ndarray:
    """int32 [V]: the category that each visit is about: one of the customer's tastes, or the season's."""
    tastes = retailer.customers.tastes
    uniform = rng.random(len(visits), dtype=np.float32)
    taste = (uniform >= TASTE[0]).astype(np.int8) + (uniform >= TASTE[1])
    season = (mixed(visits.time // SEASON) % retailer.catalogue.num_categories).astype(np.int32)
    in_season = rng.random(len(visits), dtype=np.float32) < IN_SEASON
    return np.where(in_season, season, tastes.ravel()[taste * np.int64(tastes.shape[1]) + visits.customer])


def _let_companions_follow(item: np.ndarray, visit: np.ndarray, start: np.ndarray, companion: np.ndarray, rng: np.random.Generator) -> None:
    """Every second look of a visit turns, now and then, to what goes with the item before it."""
    second = ((np.arange(len(item)) - start[visit]) & 1).astype(bool)
    rows = np.flatnonzero(second & (rng.random(len(item), dtype=np.float32) < FOLLOWS))
    item[rows] = companion[item[rows - 1]]
