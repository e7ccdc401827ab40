"""The retailer's life, slice of time after slice of time: memory holds the customers and one slice, however long the log is."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.simulator.benefits import Campaign, make_campaign
from training.simulator.draws import draws
from training.simulator.events import Events, in_order_of_time, make_events
from training.simulator.funnel import events_of_visits
from training.simulator.retailer import Retailer
from training.simulator.seasons import campaign_days, slices
from training.simulator.settings import DAY
from training.simulator.visits import visits_of_slice

EVENTS_A_SLICE = 1_000_000


@dataclass(frozen=True)
class Slice:
    """end        µs: everything before it has been told
    events     in order of time
    happened   what follows from the visits that began in this slice, those of a visit together; some of it is told later
    drawn      the campaign whose messages went out at the end of this slice, if one did
    """

    end: int
    events: Events
    happened: Events
    drawn: Campaign | None


def simulate(retailer: Retailer) -> Iterator[Slice]:
    """The log's slices in order of time. What happens later than its slice (the end of a visit, a return) is told in a later one."""
    settings, customers, has_account = retailer.settings, retailer.customers, retailer.identities.has_account
    campaigns = {settings.begin + day * DAY: number for number, day in enumerate(campaign_days(settings))}
    later = make_events(0)
    campaign: Campaign | None = None
    first_number = 1
    for number, (start, end) in enumerate(slices(settings, max_events=EVENTS_A_SLICE)):
        campaign = campaign if campaign and start < campaign.end else None
        rng = draws(settings.seed, "visits", number)
        visits = visits_of_slice(retailer, start=start, end=end, campaign=campaign, first_number=first_number, rng=rng)
        happened = events_of_visits(retailer, visits, campaign=campaign, rng=draws(settings.seed, "funnel", number))
        drawn = make_campaign(settings, customers, has_account, campaigns[end]) if end in campaigns else None
        told = in_order_of_time(np.concatenate([later, happened, *([drawn.messages()] if drawn else [])]), start)
        num_now = int(np.searchsorted(told["time"], end))
        yield Slice(end, told[:num_now], happened, drawn)
        later = told[num_now:].copy()
        campaign, first_number = drawn or campaign, first_number + len(visits)
