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
    """What events can be about, made once: items, `search:WORDS`, `campaign:NUMBER` and `coupon:NUMBER`. A file refers to it by number.

    items        the text of each
    categories   the category of each, null for campaigns and coupons; queries: what is searched for, null for all but searches
    first        int32 [events]: the number of the first thing that events of each of `NAMES` can be about
    """

    items: pa.StringArray
    categories: pa.DictionaryArray
    queries: pa.DictionaryArray
    first: np.ndarray

    def about(self, events: Events) -> pa.Array:
        """The number of what each event is about."""
        return pa.array(events.item + self.first.take(events.event))

    def named(self, number: pa.Array) -> pa.DictionaryArray:
        """The texts of some numbers."""
        return pa.DictionaryArray.from_arrays(number, self.items)


def make_texts(catalogue: Catalogue, settings: Settings) -> Texts:
    """The texts of a catalogue and of the campaigns that the log has room for."""
    names, campaigns = catalogue.category_names(), range(settings.days)
    searches = [f"search:{name}" for name in names]
    gifts = ([f"{word}:{number}" for number in campaigns] for word in ("campaign", "coupon"))
    items = [catalogue.item_keys(), *map(pa.array, (searches, *gifts))]
    first = np.zeros(len(NAMES), dtype=np.int32)
    first[[SEARCH, CAMPAIGN, COUPON]] = np.cumsum([len(part) for part in items[:-1]])
    searched = pa.array(np.arange(len(names), dtype=np.int32))
    no_item, no_gift = (pa.nulls(size, pa.int32()) for size in (catalogue.num_items, 2 * len(campaigns)))
    category, query = (pa.concat_arrays([of_item, searched, no_gift]) for of_item in (pa.array(catalogue.category), no_item))
    categories, queries = (pa.DictionaryArray.from_arrays(numbers, names) for numbers in (category, query))
    return Texts(pa.concat_arrays(items), categories, queries, first)


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
        return events if is_own.all() else events.take(np.flatnonzero(is_own.take(events.channel)))


def _columns(*names: str) -> dict[str, tuple[str, ...]]:
    """Of each of our fields in turn, the columns that hold it."""
    return {field: tuple(columns.split()) for field, columns in zip(FIELDS, names, strict=False) if columns}


def _web(events: Events, texts: Texts) -> pa.Table:
    about = texts.about(events)
    return pa.table(
        {
            "cookie": keys(TOKENS[WEB], events.token),
            "account": _account(events),
            "time": _time(events),
            "action": _word(events, WEB_WORDS),
            "item": texts.named(about),
            "query": texts.queries.take(about),
            "price": _number(events.price),
            "pieces": _pieces(events),
            "seconds": _number(events.dwell),
        }
    )


def _app(events: Events, texts: Texts) -> pa.Table:
    about = texts.about(events)
    return pa.table(
        {
            "device": keys(TOKENS[APP], events.token),
            "account": _account(events),
            "epoch_ms": pa.array(events.time // 1000),
            "name": _word(events, APP_WORDS),
            "item": texts.named(about),
            "query": texts.queries.take(about),
            "price": _number(events.price),
            "pieces": _pieces(events),
            "seconds": _number(events.dwell),
        }
    )


def _store(events: Events, texts: Texts) -> pa.Table:
    return pa.table(
        {
            "card": keys(TOKENS[STORE], events.token),
            "sold_at": _time(events),
            "kind": _word(events, STORE_WORDS),
            "article": texts.named(texts.about(events)),
            "unit_price": _number(events.price),
            "pieces": _pieces(events),
        }
    )


def _messages(events: Events, texts: Texts) -> pa.Table:
    return pa.table(
        {
            "account": keys(ACCOUNT, events.customer),
            "sent_at": _time(events),
            "campaign": texts.named(texts.about(events)),
            "medium": _choice(events.medium, MEDIA),
            "kind": _choice(events.quantity, ("message", "message_with_coupon")),
        }
    )


def _events(events: Events, texts: Texts) -> pa.Table:
    about = texts.about(events)
    return pa.table(
        {
            "customer": customer_keys(events.customer),
            "timestamp": _time(events),
            "event": _word(events, NAMES),
            "item": texts.named(about),
            "category": texts.categories.take(about),
            "price": _number(events.price),
            "quantity": _pieces(events),
            "channel": _choice(events.channel + np.maximum(events.medium, 0), (*CHANNELS, *MEDIA)),
            "dwell_seconds": _number(events.dwell),
            "query": texts.queries.take(about),
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
    return keys(ACCOUNT, events.customer, absent=~events.linked)


def _time(events: Events) -> pa.Array:
    return pa.array(events.time).cast(pa.timestamp("us", "UTC"))


def _word(events: Events, words: tuple[str, ...]) -> pa.Array:
    return _choice(events.event, words)


def _choice(codes: np.ndarray, words: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(codes, pa.array(words))


def _number(values: np.ndarray) -> pa.Array:
    return pa.array(values, from_pandas=True)


def _pieces(events: Events) -> pa.Array:
    return pa.array(events.quantity, mask=(events.quantity == 0) | (events.channel == MESSAGES))
