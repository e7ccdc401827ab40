"""The retailer's life, slice of time after slice of time: memory holds the customers and one slice, however long the log is."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.simulator.benefits import Campaign, make_campaign
from training.simulator.draws import draws
from training.simulator.events import Events, make_events, order_of_time, stacked
from training.simulator.funnel import events_of_visits
from training.simulator.retailer import Retailer
from training.simulator.seasons import campaign_days, slices
from training.simulator.settings import DAY
from training.simulator.visits import Visits, visits_of_slice

EVENTS_A_SLICE = 1_000_000


@dataclass(frozen=True)
class Slice:
    """end        µs: everything before it has been told
    events     in order of time
    happened   what follows from the visits that began in this slice, in parts, in each those of a visit together; some is told later
    drawn      the campaign whose messages went out at the end of this slice, if one did
    """

    end: int
    events: Events
    happened: list[Events]
    drawn: Campaign | None


@dataclass(frozen=True)
class Stage:
    """The visits that begin in the slice [start, end) µs, the campaign that works then, and the one whose messages go out at its end."""

    number: int
    start: int
    end: int
    visits: Visits
    campaign: Campaign | None
    drawn: Campaign | None


def simulate(retailer: Retailer) -> Iterator[Slice]:
    """The log's slices in order of time. What happens later than its slice (the end of a visit, a return) is told in a later one."""
    later = make_events(0)
    for stage in stages(retailer):
        rng = draws(retailer.settings.seed, "funnel", stage.number)
        happened = events_of_visits(retailer, stage.visits, campaign=stage.campaign, rng=rng)
        messages = [stage.drawn.messages()] if stage.drawn else []
        known = stacked([later, *happened, *messages])
        told = known.take(order_of_time(known.time, stage.start))
        num_now = int(np.searchsorted(told.time, stage.end))
        yield Slice(stage.end, told[:num_now], happened, stage.drawn)
        later = told[num_now:]


def stages(retailer: Retailer) -> Iterator[Stage]:
    """Who comes when, slice after slice."""
    settings, customers, has_account = retailer.settings, retailer.customers, retailer.identities.has_account
    campaigns = {settings.begin + day * DAY: number for number, day in enumerate(campaign_days(settings))}
    campaign: Campaign | None = None
    first_number = 1
    for number, (start, end) in enumerate(slices(settings, max_events=EVENTS_A_SLICE)):
        campaign = campaign if campaign and start < campaign.end else None
        rng = draws(settings.seed, "visits", number)
        visits = visits_of_slice(retailer, start=start, end=end, campaign=campaign, first_number=first_number, rng=rng)
        drawn = make_campaign(settings, customers, has_account, campaigns[end]) if end in campaigns else None
        yield Stage(number, start, end, visits, campaign, drawn)
        campaign, first_number = drawn or campaign, first_number + len(visits)
