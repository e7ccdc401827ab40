"""How often customers come, so that a log has about as many events as asked for."""

from dataclasses import replace

import numpy as np

from training.errors import ConfigError
from training.simulator.behaviour import BUYS_MORE, CARTS, SEARCHES
from training.simulator.benefits import EVENING
from training.simulator.customers import Customers
from training.simulator.identities import Identities
from training.simulator.seasons import STORE, Seasons, campaign_days
from training.simulator.settings import DAY, Settings


def paced(customers: Customers, settings: Settings, identities: Identities, seasons: Seasons) -> Customers:
    """The customers at the pace at which about `num_events` events come together. Raises ConfigError where that is too few."""
    start, end = np.maximum(customers.joined, settings.begin), np.minimum(customers.churned, settings.end)
    looked, sold, replenished = _events_a_visit(customers, identities)
    joins = (customers.joined >= settings.begin) & (customers.joined < settings.end)
    regulars = customers.regulars
    replenishments = (np.maximum(end - start, 0) / DAY)[regulars.customer] / regulars.period
    certain = (
        (joins * (looked + sold)).sum()
        + (replenishments * replenished[regulars.customer]).sum()
        + _messages(customers, settings, identities)
    )
    if settings.num_events <= certain:
        raise ConfigError(
            f"expected num_events above {int(certain)}, which are those of joining, replenishing and messages, "
            f"received {settings.num_events}; raise it or lower num_customers"
        )
    chance = customers.conversion * customers.effect_of_discounts
    browsing = (customers.pace * seasons.between(start, end) * (looked + chance * sold)).sum()
    return replace(customers, pace=customers.pace * np.float32((settings.num_events - certain) / browsing))


def _events_a_visit(customers: Customers, identities: Identities) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float64 [C] each: the events of any visit, those that an order adds, and those of a visit that replenishes."""
    online = 1 - customers.channels()[:, STORE][customers.kind].astype(float) * identities.has_card
    views = customers.of_kind("views")[customers.kind].astype(float)
    sold_and_returned = 1 + customers.of_kind("returns")[customers.kind]
    looked = online * (SEARCHES + views + CARTS * views)
    sold = (1 + (views - 1) * BUYS_MORE) * (sold_and_returned + online * (1 - CARTS))
    return looked, sold, sold_and_returned + 2 * online


def _messages(customers: Customers, settings: Settings, identities: Identities) -> float:
    joined = np.sort(customers.joined[identities.has_account])
    starts = settings.begin + np.array(campaign_days(settings), dtype=np.int64) * DAY
    return float(np.searchsorted(joined, starts - EVENING).sum() * settings.benefits.treated)
