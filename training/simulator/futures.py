"""What customers might have done from a moment on: the same people and the same past, and what comes by chance told again and again.

It stays as it is who they are, whether they are still there, what has run out and is waited for, and the campaign that works. Visits,
orders, leaving, and who gets which message later, are drawn anew. The share of the tellings in which something happens is its true chance.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from training.simulator.benefits import Campaign, make_campaign
from training.simulator.customers import Customers
from training.simulator.events import Events, stacked
from training.simulator.funnel import events_of_visits
from training.simulator.retailer import Retailer
from training.simulator.seasons import campaign_days
from training.simulator.settings import DAY
from training.simulator.simulation import stages
from training.simulator.visits import visits_of_slice


def futures(retailer: Retailer, *, now: int, until: int, times: int, seed: int) -> Iterator[Events]:
    """The events in (now, until] µs of each telling, in no order; messages, and what follows from earlier visits, are not among them."""
    overdue = overdue_regulars(retailer, now)
    for number in range(times):
        dice = np.random.default_rng([retailer.settings.seed, seed, number])
        events = _told_again(retailer, now, until, overdue, dice)
        yield events.take(np.flatnonzero((events.time > now) & (events.time <= until)))


def overdue_regulars(retailer: Retailer, now: int) -> np.ndarray:
    """Positions of the regulars that fell due by a moment (µs) and were not bought again by then."""
    customers, regulars = retailer.customers, retailer.customers.regulars
    today = (now + 1) / DAY
    due = regulars.phase + np.floor((today - regulars.phase) / regulars.period) * regulars.period
    there = np.maximum(customers.joined[regulars.customer], retailer.settings.begin) / DAY
    return np.flatnonzero((_last_bought(retailer, now) < np.floor(due)) & (due >= there))


def _last_bought(retailer: Retailer, now: int) -> np.ndarray:
    """The day (since 1970) on which each regular was last bought by a moment: float64, -inf where it never was."""
    regulars = retailer.customers.regulars
    wanted, place = np.unique(_pairs(regulars.customer, regulars.item), return_inverse=True)
    last = np.full(len(wanted), -np.inf)
    for stage in stages(retailer):
        if stage.start > now:
            break
        rows = np.flatnonzero((stage.visits.item >= 0) & (stage.visits.time <= now))
        bought = np.searchsorted(wanted, _pairs(stage.visits.customer[rows], stage.visits.item[rows]))
        np.maximum.at(last, bought, stage.visits.time[rows] / DAY)
    return last[place]


def _pairs(customer: np.ndarray, item: np.ndarray) -> np.ndarray:
    return (customer.astype(np.int64) << 32) | item


def _told_again(retailer: Retailer, now: int, until: int, overdue: np.ndarray, dice: np.random.Generator) -> Events:
    settings = replace(retailer.settings, seed=int(dice.integers(2**31)))  # of what will be drawn for later campaigns
    other = replace(retailer, customers=_leaving_anew(retailer.customers, now, dice))
    told: list[Events] = []
    for number, (start, end) in enumerate(_stretches(retailer, now, until)):
        campaign = _campaign(retailer if start <= now + 1 else replace(other, settings=settings), start)
        waited_for = overdue if number == 0 else None
        visits = visits_of_slice(other, start=start, end=end, campaign=campaign, first_number=1, rng=dice, overdue=waited_for)
        told += events_of_visits(other, visits, campaign=campaign, rng=dice)
    return stacked(told)


def _leaving_anew(customers: Customers, now: int, dice: np.random.Generator) -> Customers:
    """Who is there at the moment stays for as long as others of the kind do: a lifetime has no memory."""
    lifetime = np.array([kind.lifetime_days for kind in customers.kinds])[customers.kind] * DAY
    leaving = now + 1 + (dice.exponential(lifetime)).astype(np.int64)
    return replace(customers, churned=np.where(customers.churned > now, leaving, customers.churned))


def _stretches(retailer: Retailer, now: int, until: int) -> list[tuple[int, int]]:
    """Whole days that hold (now, until], cut where a campaign begins or ends to work: (start, end) µs."""
    settings = retailer.settings
    first, last = (now + 1) // DAY * DAY, min((until // DAY + 1) * DAY, settings.end)
    starts = [settings.begin + day * DAY for day in campaign_days(settings)]
    cuts = {first, last, *starts, *(start + settings.benefits.window_days * DAY for start in starts)}
    return list(pairwise(sorted(cut for cut in cuts if first <= cut <= last)))


def _campaign(retailer: Retailer, start: int) -> Campaign | None:
    """The campaign that works from a stretch's start (µs) on, drawn by the retailer's seed."""
    settings = retailer.settings
    day = (start - settings.begin) // DAY
    working = [number for number, first in enumerate(campaign_days(settings)) if first <= day < first + settings.benefits.window_days]
    return make_campaign(settings, retailer.customers, retailer.identities.has_account, working[0]) if working else None
