"""What happens in a visit: a search, views, carts, an order with or without a coupon, and later perhaps returns."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from training.simulator.behaviour import (
    AT_THE_CHECKOUT,
    BACK_IN_STORE,
    BUYS_MORE,
    CARTS,
    FIRST_RETURN,
    LAST_RETURN,
    MEAN_DWELL,
    SEARCHES,
    SECOND,
    SEVERAL_PIECES,
)
from training.simulator.benefits import Campaign
from training.simulator.events import CART, COUPON, PURCHASE, RETURN, SEARCH, VIEW, Events, make_events
from training.simulator.interest import items_of_visits
from training.simulator.retailer import Retailer
from training.simulator.seasons import STORE
from training.simulator.visits import Visits


@dataclass(frozen=True)
class Looks:
    """The items that each visit turns to, visit after visit.

    visit   int64 [n]: the position of the visit; start int64 [V]: where each visit's looks begin
    item    int32 [n]; price float32 [n]: of the item then; discount float32 [n]: what that is below the list price, as a share
    time    int64 [n] µs; dwell float32 [n] µs: how long it is looked at
    end     int64 [V] µs: when the visit ends, in an order if there is one
    """

    visit: np.ndarray
    start: np.ndarray
    item: np.ndarray
    price: np.ndarray
    discount: np.ndarray
    time: np.ndarray
    dwell: np.ndarray
    end: np.ndarray


def events_of_visits(retailer: Retailer, visits: Visits, *, campaign: Campaign | None, rng: np.random.Generator) -> list[Events]:
    """The events in parts, by what they are, each in the visits' order. A visit to a store without an order leaves none: nobody sees it."""
    looks = _looks(retailer, visits, rng)
    orders = _orders(retailer, visits, looks, campaign, rng)
    coupon = orders & _has_coupon(visits, campaign)
    bought = _bought(visits, looks, orders, rng)
    online = visits.channel != STORE
    free = online & (visits.item < 0)
    carted = bought | ((rng.random(len(bought), dtype=np.float32) < CARTS) & free[looks.visit])
    shown = online[looks.visit]
    searching = np.flatnonzero(free & (rng.random(len(visits), dtype=np.float32) < SEARCHES))
    topic = retailer.catalogue.category[looks.item[looks.start]]  # who searches, searches for the category of what is found
    purchases = _purchases(retailer, visits, looks, np.flatnonzero(bought), coupon, rng)
    parts = [
        make_events(len(searching), event=SEARCH, time=visits.time[searching], item=topic[searching], **_of(visits, searching)),
        _views(visits, looks, np.flatnonzero(shown)),
        _carts(visits, looks, np.flatnonzero(shown & carted)),
        purchases,
        _returns(retailer, purchases, rng),
    ]
    if campaign:
        redeemed = np.flatnonzero(coupon)
        parts.append(make_events(len(redeemed), event=COUPON, time=looks.end[redeemed], item=campaign.number, **_of(visits, redeemed)))
    return parts


def _of(visits: Visits, rows: np.ndarray) -> dict[str, Any]:
    """The columns that events have from the visits at some positions."""
    columns = {name: getattr(visits, name)[rows] for name in ("customer", "token", "linked", "channel")}
    return {**columns, "visit": visits.number[rows]}


def _looks(retailer: Retailer, visits: Visits, rng: np.random.Generator) -> Looks:
    customers = retailer.customers
    further = rng.poisson((customers.of_kind("views") - 1).take(customers.kind[visits.customer]))
    count = np.where(visits.item < 0, 1 + further, 1)
    start = np.cumsum(count) - count
    visit = np.repeat(np.arange(len(visits)), count)
    item = items_of_visits(retailer, visits, visit, start, rng)
    dwell = np.maximum(rng.standard_exponential(len(visit), dtype=np.float32) * np.float32(MEAN_DWELL), SECOND)
    passed = np.cumsum(dwell.astype(np.float64)).astype(np.int64)
    before = np.concatenate([[0], passed])
    time = (visits.time - before[start] + 5 * SECOND)[visit] + before[:-1]
    end = visits.time + before[start + count] - before[start] + AT_THE_CHECKOUT
    discount = retailer.catalogue.discount(item, time)
    price = np.round(retailer.catalogue.price.take(item) * (1 - discount), 2)
    return Looks(visit, start, item, price, discount, time, dwell, end)


def _orders(retailer: Retailer, visits: Visits, looks: Looks, campaign: Campaign | None, rng: np.random.Generator) -> np.ndarray:
    """bool [V]: which visits end in an order. The chance follows the price of the item that came first, beside its list price."""
    customers, who = retailer.customers, visits.customer
    chance = customers.conversion[who] * (1 - looks.discount[looks.start]) ** -customers.elasticity[who]
    if campaign:
        chance *= np.where(visits.time < campaign.end, campaign.order_factor[who], 1)
    return visits.is_certain | (rng.random(len(visits), dtype=np.float32) < chance)


def _has_coupon(visits: Visits, campaign: Campaign | None) -> np.ndarray:
    """bool [V]: whose customer holds a coupon. A late replenishment may come when it has run out."""
    if campaign is None:
        return np.zeros(len(visits), dtype=bool)
    return campaign.has_coupon[visits.customer] & (visits.time < campaign.end)


def _bought(visits: Visits, looks: Looks, orders: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """bool [n]: the looks that end in the order: the first, and some of the others; no item twice."""
    bought = rng.random(len(looks.item), dtype=np.float32) < BUYS_MORE
    bought[looks.start] = True
    rows = np.flatnonzero(bought & orders[looks.visit])
    _, once = np.unique((looks.visit[rows] << 32) | looks.item[rows], return_index=True)
    bought[:] = False
    bought[rows[once]] = True
    return bought


def _views(visits: Visits, looks: Looks, rows: np.ndarray) -> Events:
    dwell = looks.dwell[rows] / np.float32(SECOND)
    shown = {"item": looks.item[rows], "price": looks.price[rows], "dwell": dwell}
    return make_events(len(rows), event=VIEW, time=looks.time[rows], **shown, **_of(visits, looks.visit[rows]))


def _carts(visits: Visits, looks: Looks, rows: np.ndarray) -> Events:
    late = (looks.dwell[rows] * np.float32(0.8)).astype(np.int64)
    shown = {"item": looks.item[rows], "price": looks.price[rows], "quantity": 1}
    return make_events(len(rows), event=CART, time=looks.time[rows] + late, **shown, **_of(visits, looks.visit[rows]))


def _purchases(retailer: Retailer, visits: Visits, looks: Looks, rows: np.ndarray, coupon: np.ndarray, rng: np.random.Generator) -> Events:
    """Of an order with a coupon every piece costs less."""
    visit = looks.visit[rows]
    saved = np.float32(retailer.settings.benefits.coupon_discount) * coupon[visit]
    quantity = 1 + rng.poisson(SEVERAL_PIECES, len(rows))
    columns = {"item": looks.item[rows], "price": np.round(looks.price[rows] * (1 - saved), 2), "quantity": quantity}
    return make_events(len(rows), event=PURCHASE, time=looks.end[visit], **columns, **_of(visits, visit))


def _returns(retailer: Retailer, purchases: Events, rng: np.random.Generator) -> Events:
    """Some of what was bought comes back days later, online or in a store, from customers who are still there."""
    customers, identities = retailer.customers, retailer.identities
    share = customers.of_kind("returns").take(customers.kind.take(purchases.customer))
    rows = np.flatnonzero(rng.random(len(purchases), dtype=np.float32) < share)
    time = purchases.time[rows] + rng.integers(FIRST_RETURN, LAST_RETURN, len(rows))
    there = time < np.minimum(customers.churned[purchases.customer[rows]], retailer.settings.end)
    rows, time = rows[there], time[there]
    customer, same = purchases.customer[rows], purchases.channel[rows]
    in_store = identities.has_card[customer] & (rng.random(len(rows), dtype=np.float32) < BACK_IN_STORE)
    channel = np.where(in_store, STORE, same).astype(np.int8)
    return make_events(
        len(rows),
        event=RETURN,
        time=time,
        customer=customer,
        channel=channel,
        token=identities.token(customer, channel, time, np.zeros(len(rows), dtype=bool)),
        linked=(channel == STORE) & identities.has_registered_card[customer],
        item=purchases.item[rows],
        price=purchases.price[rows],
        quantity=purchases.quantity[rows],
    )
