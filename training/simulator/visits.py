"""Who comes when, and how: visits to browse, to join, and to replenish what is used up."""

from dataclasses import dataclass

import numpy as np

from training.simulator.behaviour import LATENESS
from training.simulator.benefits import Campaign
from training.simulator.customers import Customers
from training.simulator.retailer import Retailer
from training.simulator.seasons import STORE, WEB, Seasons
from training.simulator.settings import DAY


@dataclass(frozen=True)
class Visits:
    """One entry a visit.

    number      int64: from 1 on; one never used again
    customer    int64, as numpy looks things up by; time int64 (µs); channel int8
    item        int32: what is replenished, -1 in other visits; is_certain bool: ends in an order in any case
    token       int64: the cookie, device or card that is seen; linked bool: the retailer knows whose account it is
    """

    number: np.ndarray
    customer: np.ndarray
    time: np.ndarray
    channel: np.ndarray
    item: np.ndarray
    is_certain: np.ndarray
    token: np.ndarray
    linked: np.ndarray

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: np.ndarray) -> "Visits":
        """The visits at some positions."""
        return Visits(*(column[rows] for column in vars(self).values()))


def visits_of_slice(
    retailer: Retailer,
    *,
    start: int,
    end: int,
    campaign: Campaign | None,
    first_number: int,
    rng: np.random.Generator,
    overdue: np.ndarray | None = None,
) -> Visits:
    """All visits that begin in [start, end) µs, whole days; a late replenishment may begin after `end`.

    overdue: positions of the regulars that fell due before `start` and are still waited for; None where the slice before tells of them.
    """
    customers, seasons = retailer.customers, retailer.seasons
    browsing = _browsing(customers, seasons, start, end, campaign, rng)
    joining = np.flatnonzero((customers.joined >= start) & (customers.joined < end))
    replenishing, due_item, due_day = _replenishing(customers, start, end, overdue, rng)
    customer = np.concatenate([browsing, joining, replenishing])
    channel = _channels(retailer, customer, rng)
    day = np.concatenate([_days(seasons, start, end, len(browsing), rng), np.zeros(len(joining), dtype=np.int64), due_day])
    time = day + seasons.time_of_day(channel, rng.random(len(customer)))
    time[len(browsing) : len(browsing) + len(joining)] = customers.joined[joining]
    item = np.concatenate([np.full(len(browsing) + len(joining), -1, dtype=np.int32), due_item])
    until = np.minimum(customers.churned[customer], retailer.settings.end)
    alive = np.flatnonzero((time >= customers.joined[customer]) & (time < until))
    is_certain = alive >= len(browsing)
    customer, time, channel, item = customer[alive], time[alive], channel[alive], item[alive]
    number = first_number + np.arange(len(alive))
    return Visits(number, customer, time, channel, item, is_certain, *_seen(retailer, customer, time, channel, rng))


def _seen(
    retailer: Retailer, customer: np.ndarray, time: np.ndarray, channel: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Token and `linked` of each visit: who logs in shows the account, and a registered card tells it by itself."""
    identities, shares = retailer.identities, retailer.settings.identity
    on_terminal = (channel == WEB) & (rng.random(len(customer), dtype=np.float32) < shares.on_a_terminal)
    logged_in = identities.has_account[customer] & (rng.random(len(customer), dtype=np.float32) < shares.logged_in)
    linked = np.where(channel == STORE, identities.has_registered_card[customer], logged_in)
    return identities.token(customer, channel, time, on_terminal), linked


def _browsing(
    customers: Customers, seasons: Seasons, start: int, end: int, campaign: Campaign | None, rng: np.random.Generator
) -> np.ndarray:
    """int64 [n]: the customer of each visit of a Poisson process over the whole slice, in order; who isn't alive then is left out later."""
    alive = np.flatnonzero((customers.joined < end) & (customers.churned > start))
    expected = customers.pace[alive] * np.float32(seasons.between(np.array(start), np.array(end)))
    if campaign:
        expected *= campaign.visit_factor[alive]
    return np.repeat(alive, rng.poisson(expected))


def _days(seasons: Seasons, start: int, end: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """int64 [size]: the midnight (µs) of a day of the slice for each visit, busy days more often."""
    first, last = ((time - seasons.begin) // DAY for time in (start, end))
    share = np.cumsum(seasons.traffic[first:last])
    day = np.searchsorted(share, rng.random(size) * share[-1], side="right")
    return start + np.minimum(day, last - first - 1) * DAY


def _replenishing(
    customers: Customers, start: int, end: int, overdue: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Customer, item and midnight (µs) of what falls due in the slice: every `period` days, and a little late.

    Lateness has no memory: what is overdue is as late from `start` on as if it fell due then.
    """
    regulars = customers.regulars
    first, last = (np.ceil((time / DAY - regulars.phase) / regulars.period).astype(np.int64) for time in (start, end))
    due = np.repeat(np.arange(len(first)), last - first)
    before = np.cumsum(last - first) - (last - first)
    cycle = first[due] + np.arange(len(due)) - before[due]
    when = regulars.phase[due] + cycle * regulars.period[due]
    if overdue is not None:
        due, when = np.append(due, overdue), np.append(when, np.full(len(overdue), start / DAY))
    day = np.floor(when + rng.exponential(LATENESS, len(due)) * regulars.period[due]).astype(np.int64)
    return regulars.customer[due], regulars.item[due], day * DAY


def _channels(retailer: Retailer, customer: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int8 [n]: where each visit takes place."""
    kind = retailer.customers.kind[customer]
    web, web_or_app = (bounds.take(kind) for bounds in np.cumsum(retailer.customers.channels(), axis=1).T[:2])
    uniform = rng.random(len(customer), dtype=np.float32)
    channel = (uniform >= web).astype(np.int8) + (uniform >= web_or_app)
    return retailer.identities.usable(customer, channel)
