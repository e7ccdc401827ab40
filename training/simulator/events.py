"""Events as rows of numbers: what happens, before it becomes the files of the retailer's systems."""

import numpy as np

NAMES = ("search", "view", "cart", "purchase", "coupon", "return", "campaign")
SEARCH, VIEW, CART, PURCHASE, COUPON, RETURN, CAMPAIGN = range(len(NAMES))
MESSAGES = 3  # the channel after web, app and store

# One row an event, so that putting events in order fetches a row once and not every column of it.
Events = np.ndarray
ROW = np.dtype(
    [
        ("time", np.int64),  # µs
        ("visit", np.int64),  # a number of its own for each visit, 0 for what is part of none
        ("token", np.int64),  # cookie, device or card, by the channel
        ("customer", np.int32),  # the true one
        ("item", np.int32),  # an item; of searches a category, of coupons and campaigns the campaign's number
        ("price", np.float32),  # of one piece, NaN where there is none
        ("dwell", np.float32),  # seconds, NaN where there are none
        ("quantity", np.int16),  # 0 where there is none; of a message 1 with a coupon
        ("channel", np.int8),  # web, app, store, messages
        ("event", np.int8),  # position in NAMES
        ("medium", np.int8),  # of a message: email, push, sms; -1 for other events
        ("linked", np.bool_),  # the retailer sees the account too
    ],
    align=True,
)
ABSENT = {"visit": 0, "token": 0, "price": np.nan, "dwell": np.nan, "quantity": 0, "medium": -1, "linked": False}


def make_events(size: int, **columns: np.ndarray | float) -> Events:
    """`size` events of the columns of `ROW`, each an array or one value for all; what isn't given is absent."""
    events = np.empty(size, dtype=ROW)
    for name, values in {**ABSENT, **columns}.items():
        events[name] = values
    return events


def in_order_of_time(events: Events, start: int) -> Events:
    """The events, none of which is before `start` (µs), by time; of those at the same time the earlier row first."""
    bits = max(len(events) - 1, 1).bit_length()
    since = events["time"] - start
    if len(events) and int(since.max()).bit_length() + bits > 63:
        return events.take(np.argsort(since, kind="stable"))
    # Sorting one number a row is far faster than sorting positions by it.
    return events.take(np.sort((since << bits) | np.arange(len(events))) & ((1 << bits) - 1))
