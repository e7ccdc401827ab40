"""Campaigns: who is drawn for which message or coupon, what that does to visits and orders, and the truth about it."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from training.simulator.customers import MEDIA, Customers, browsing_orders
from training.simulator.draws import draws
from training.simulator.events import CAMPAIGN, MESSAGES, Events, make_events
from training.simulator.keys import customer_keys
from training.simulator.seasons import Seasons, campaign_days
from training.simulator.settings import DAY, Settings

EVENING = DAY // 6  # messages go out in the last four hours of the day before


@dataclass(frozen=True)
class Campaign:
    """One randomised campaign; its effect lasts from `start` until `end` (µs).

    who      int64 [n]: all customers who were drawn for, left alone or not
    medium   int8 [n]: position in `MEDIA`, -1 for those left alone
    coupon   bool [n]; sent int64 [n]: when the message went out (µs)
    visit_factor, order_factor   float32 [C]: by what the visits and the chances to buy of all customers are multiplied; has_coupon bool [C]
    """

    number: int
    start: int
    end: int
    who: np.ndarray
    medium: np.ndarray
    coupon: np.ndarray
    sent: np.ndarray
    visit_factor: np.ndarray
    order_factor: np.ndarray
    has_coupon: np.ndarray

    def messages(self) -> Events:
        """The messages that go out, as events."""
        sent = np.flatnonzero(self.medium >= 0)
        columns = {"time": self.sent[sent], "customer": self.who[sent], "medium": self.medium[sent], "quantity": self.coupon[sent]}
        return make_events(len(sent), channel=MESSAGES, event=CAMPAIGN, item=self.number, **columns)

    def truth(self, settings: Settings, customers: Customers, seasons: Seasons) -> pa.Table:
        """The rows of truth/benefits.parquet: what was assigned, how likely that was, and what it does to the orders of the window."""
        orders = browsing_orders(customers, seasons, self.who, self.start, self.end)
        effect = self.visit_factor[self.who] * self.order_factor[self.who] - 1
        treated, coupon = settings.benefits.treated, settings.benefits.with_coupon
        of_treated = treated / len(MEDIA) * np.where(self.coupon, coupon, 1 - coupon)
        columns = {
            "customer": customer_keys(self.who),
            "campaign": np.full(len(self.who), self.number, dtype=np.int32),
            "start": pa.array(np.full(len(self.who), self.start)).cast(pa.timestamp("us", "UTC")),
            "end": pa.array(np.full(len(self.who), self.end)).cast(pa.timestamp("us", "UTC")),
            "channel": pa.DictionaryArray.from_arrays(self.medium + 1, ["none", *MEDIA]),
            "coupon": self.coupon,
            "propensity": np.where(self.medium < 0, 1 - treated, of_treated).astype(np.float32),
            "orders_left_alone": orders.astype(np.float32),
            "uplift": (orders * effect).astype(np.float32),
        }
        return pa.table(columns)


def make_campaign(settings: Settings, customers: Customers, has_account: np.ndarray, number: int) -> Campaign:
    """Draw the campaign `number` (from 0) among the customers with an account who joined before its messages went out."""
    rng, day = draws(settings.seed, "benefits", number), campaign_days(settings)[number]
    start = settings.begin + day * DAY
    who = np.flatnonzero(has_account & (customers.joined < start - EVENING))
    treated = rng.random(len(who)) < settings.benefits.treated
    medium = np.where(treated, rng.integers(0, len(MEDIA), len(who)), -1).astype(np.int8)
    coupon = treated & (rng.random(len(who)) < settings.benefits.with_coupon)
    sent = start - 1 - rng.integers(0, EVENING, len(who))
    end = min(start + settings.benefits.window_days * DAY, settings.end)
    visit_factor, order_factor = np.ones((2, len(customers)), dtype=np.float32)
    visit_factor[who] += np.where(treated, customers.responses[medium, who], 0)
    order_factor[who] += np.where(coupon, customers.coupon_lift[who], 0)
    has_coupon = np.zeros(len(customers), dtype=bool)
    has_coupon[who] = coupon
    return Campaign(number, start, end, who, medium, coupon, sent, visit_factor, order_factor, has_coupon)
