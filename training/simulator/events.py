"""Events as columns of numbers: what happens, before it becomes the files of the retailer's systems."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NAMES = ("search", "view", "cart", "purchase", "coupon", "return", "campaign")
SEARCH, VIEW, CART, PURCHASE, COUPON, RETURN, CAMPAIGN = range(len(NAMES))
MESSAGES = 3  # the channel after web, app and store

COLUMNS = {
    "time": np.int64,
    "visit": np.int32,
    "token": np.uint32,
    "customer": np.int32,
    "item": np.int32,
    "price": np.float32,
    "dwell": np.float32,
    "quantity": np.int16,
    "channel": np.int8,
    "event": np.int8,
    "medium": np.int8,
    "linked": np.bool_,
}
ABSENT = {"visit": 0, "token": 0, "price": np.nan, "dwell": np.nan, "quantity": 0, "medium": -1, "linked": False}


@dataclass(frozen=True)
class Events:
    """One entry an event in each column, of the types of `COLUMNS`.

    time        µs; visit: a number of its own for each visit, 0 for what is part of none
    token       cookie, device or card, by the channel; customer: the true one
    item        an item; of searches a category, of coupons and campaigns the campaign's number
    price       of one piece, NaN where there is none; dwell: seconds, NaN where there are none
    quantity    0 where there is none; of a message 1 with a coupon
    channel     web, app, store, messages; event: position in `NAMES`
    medium      of a message: email, push, sms; -1 for other events
    linked      the retailer sees the account too
    """

    time: np.ndarray
    visit: np.ndarray
    token: np.ndarray
    customer: np.ndarray
    item: np.ndarray
    price: np.ndarray
    dwell: np.ndarray
    quantity: np.ndarray
    channel: np.ndarray
    event: np.ndarray
    medium: np.ndarray
    linked: np.ndarray

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, rows: slice) -> "Events":
        """The events of a stretch of rows, nothing copied."""
        return Events(*(column[rows] for column in vars(self).values()))

    def take(self, rows: np.ndarray) -> "Events":
        """The events at some positions."""
        return Events(*(column.take(rows) for column in vars(self).values()))


def make_events(size: int, **columns: np.ndarray | float) -> Events:
    """`size` events of some columns, each an array or one value for all, which takes no room; what isn't given is absent."""
    given = {**ABSENT, **columns} if size else dict.fromkeys(COLUMNS, 0)
    return Events(*(np.broadcast_to(np.asarray(given[name], dtype=dtype), size) for name, dtype in COLUMNS.items()))


def stacked(parts: Sequence[Events]) -> Events:
    """The events of some parts, one part after the other."""
    return Events(*(np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS))


def order_of_time(time: np.ndarray, start: int) -> np.ndarray:
    """int64 [n]: the positions of times (µs), none before `start`, in their order; of those at the same time the earlier one first."""
    bits = max(len(time) - 1, 1).bit_length()
    since = time - start
    if len(time) and int(since.max()).bit_length() + bits > 63:
        return np.argsort(since, kind="stable")
    # Sorting one number a row is far faster than sorting positions by it.
    return np.sort((since << bits) | np.arange(len(time))) & ((1 << bits) - 1)
