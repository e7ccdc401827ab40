"""How the retailer's systems write events down: each with its own columns, its own words and its own key of a customer."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from training.simulator.catalogue import Catalogue
from training.simulator.customers import MEDIA
from training.simulator.events import CAMPAIGN, COUPON, MESSAGES, NAMES, SEARCH, Events
from training.simulator.keys import ACCOUNT, TOKENS, customer_keys, keys
from training.simulator.seasons import APP, CHANNELS, STORE, WEB
from training.simulator.settings import Settings

# What each system calls a search, view, cart, purchase, coupon, return and campaign.
WEB_WORDS = ("search", "page_view", "add_to_basket", "order", "coupon_used", "refund", "")
APP_WORDS = ("find", "open_item", "to_cart", "buy", "redeem", "send_back", "")
STORE_WORDS = ("", "", "", "sale", "coupon", "refund", "")
FIELDS = ("customer", "timestamp", "event", "item", "price", "quantity")


@dataclass(frozen=True)
class Texts:
    """The texts of every item, search and campaign, made once: a file refers to them by number."""

    items: pa.Array
    categories: pa.Array
    category: np.ndarray
    num_items: int

    def item(self, events: Events) -> pa.Array:
        """What each event is about: an item, `search:WORDS`, `campaign:NUMBER` or `coupon:NUMBER`."""
        shift = np.zeros(len(NAMES), dtype=np.int32)
        shift[SEARCH] = self.num_items
        shift[[CAMPAIGN, COUPON]] = self.num_items + len(self.categories) + np.array([0, self._num_campaigns])
        return pa.DictionaryArray.from_arrays(events["item"] + shift[events["event"]], self.items)

    def query(self, events: Events) -> pa.Array:
        """What was searched for, null where nothing was."""
        return pa.DictionaryArray.from_arrays(pa.array(events["item"], mask=events["event"] != SEARCH), self.categories)

    def category_of(self, events: Events) -> pa.Array:
        """The category of the item or of the search; null for campaigns and coupons."""
        is_item = events["event"] != SEARCH
        absent = (events["event"] == CAMPAIGN) | (events["event"] == COUPON)
        number = np.where(is_item, self.category[np.where(is_item & ~absent, events["item"], 0)], events["item"])
        return pa.DictionaryArray.from_arrays(pa.array(number, mask=absent), self.categories)

    @property
    def _num_campaigns(self) -> int:
        return (len(self.items) - self.num_items - len(self.categories)) // 2


def make_texts(catalogue: Catalogue, settings: Settings) -> Texts:
    """The texts of a catalogue and of the campaigns that the log has room for."""
    categories, campaigns = catalogue.category_names(), range(settings.days)
    extra = [f"search:{name}" for name in categories]
    extra += [f"{word}:{number}" for word in ("campaign", "coupon") for number in campaigns]
    items = pa.array([*catalogue.item_keys(), *extra])
    return Texts(items, pa.array(categories), catalogue.category, catalogue.num_items)


@dataclass(frozen=True)
class Source:
    """One system: which events are its own, how it writes them, and which of its columns hold our fields (a customer may have two)."""

    name: str
    channels: tuple[int, ...]
    table: Callable[[Events, Texts], pa.Table]
    columns: dict[str, tuple[str, ...]]

    def own(self, events: Events) -> Events:
        """Those of the events that it writes down."""
        is_own = np.isin(np.arange(MESSAGES + 1), self.channels)
        return events.take(np.flatnonzero(is_own[events["channel"]]))


def _columns(*names: str) -> dict[str, tuple[str, ...]]:
    """Of each of our fields in turn, the columns that hold it."""
    return {field: tuple(columns.split()) for field, columns in zip(FIELDS, names, strict=False) if columns}


def _web(events: Events, texts: Texts) -> pa.Table:
    return pa.table(
        {
            "cookie": keys(TOKENS[WEB], events["token"]),
            "account": _account(events),
            "time": _time(events),
            "action": _word(events, WEB_WORDS),
            "item": texts.item(events),
            "query": texts.query(events),
            "price": _number(events["price"]),
            "pieces": _pieces(events),
            "seconds": _number(events["dwell"]),
        }
    )


def _app(events: Events, texts: Texts) -> pa.Table:
    return pa.table(
        {
            "device": keys(TOKENS[APP], events["token"]),
            "account": _account(events),
            "epoch_ms": pa.array(events["time"] // 1000),
            "name": _word(events, APP_WORDS),
            "item": texts.item(events),
            "query": texts.query(events),
            "price": _number(events["price"]),
            "pieces": _pieces(events),
            "seconds": _number(events["dwell"]),
        }
    )


def _store(events: Events, texts: Texts) -> pa.Table:
    return pa.table(
        {
            "card": keys(TOKENS[STORE], events["token"]),
            "sold_at": _time(events),
            "kind": _word(events, STORE_WORDS),
            "article": texts.item(events),
            "unit_price": _number(events["price"]),
            "pieces": _pieces(events),
        }
    )


def _messages(events: Events, texts: Texts) -> pa.Table:
    return pa.table(
        {
            "account": keys(ACCOUNT, events["customer"]),
            "sent_at": _time(events),
            "campaign": texts.item(events),
            "medium": _choice(events["medium"], MEDIA),
            "kind": _choice(events["quantity"], ("message", "message_with_coupon")),
        }
    )


def _events(events: Events, texts: Texts) -> pa.Table:
    return pa.table(
        {
            "customer": customer_keys(events["customer"]),
            "timestamp": _time(events),
            "event": _word(events, NAMES),
            "item": texts.item(events),
            "category": texts.category_of(events),
            "price": _number(events["price"]),
            "quantity": _pieces(events),
            "channel": _choice(np.where(events["medium"] < 0, events["channel"], events["medium"] + MESSAGES), (*CHANNELS, *MEDIA)),
            "dwell_seconds": _number(events["dwell"]),
            "query": texts.query(events),
        }
    )


LAYOUTS = {
    "sources": (
        Source("web", (WEB,), _web, _columns("cookie account", "time", "action", "item", "price", "pieces")),
        Source("app", (APP,), _app, _columns("device account", "epoch_ms", "name", "item", "price", "pieces")),
        Source("store", (STORE,), _store, _columns("card", "sold_at", "kind", "article", "unit_price", "pieces")),
        Source("messages", (MESSAGES,), _messages, _columns("account", "sent_at", "", "campaign")),
    ),
    "events": (Source("events", (WEB, APP, STORE, MESSAGES), _events, _columns(*FIELDS)),),
}


def _account(events: Events) -> pa.Array:
    """The account of those who are logged in."""
    return keys(ACCOUNT, events["customer"], absent=~events["linked"])


def _time(events: Events) -> pa.Array:
    return pa.array(events["time"]).cast(pa.timestamp("us", "UTC"))


def _word(events: Events, words: tuple[str, ...]) -> pa.Array:
    return _choice(events["event"], words)


def _choice(codes: np.ndarray, words: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(codes, pa.array(words))


def _number(values: np.ndarray) -> pa.Array:
    return pa.array(values, from_pandas=True)


def _pieces(events: Events) -> pa.Array:
    return pa.array(events["quantity"], mask=(events["quantity"] == 0) | (events["channel"] == MESSAGES))
