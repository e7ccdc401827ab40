"""What can be chosen of the simulated retailer: `conf/simulate.yaml`, typed and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from training.errors import ConfigError

DAY = 86_400_000_000  # µs


@dataclass
class Responses:
    """What a message adds to the number of visits: 0.2 is a fifth more, -0.1 a tenth less."""

    email: float
    push: float
    sms: float


@dataclass
class Channels:
    """Where visits take place."""

    web: float
    app: float
    store: float


@dataclass
class Kind:
    """A kind of customer; what is a number of a customer is drawn around it.

    share             of all customers
    activity          visits a day, relative to other kinds
    lifetime_days     mean time from joining to churn
    views             mean views a visit
    conversion        chance that a visit at list price ends in an order
    price_elasticity  an order is (price / list price) ** -elasticity times as likely
    habit             share of views that go to the customer's favourites
    regulars          consumables that are bought again and again (0 to 2)
    returns           share of purchases that come back
    coupon_lift       what a coupon adds to the chance of an order, as a share
    """

    share: float
    activity: float
    lifetime_days: float
    views: float
    conversion: float
    price_elasticity: float
    habit: float
    regulars: int
    returns: float
    coupon_lift: float
    responses: Responses
    channels: Channels


@dataclass
class Benefits:
    """Campaigns: each customer with an account is drawn to be left alone, to get a message, or a message with a coupon."""

    every_days: int
    window_days: int
    treated: float
    with_coupon: float
    coupon_discount: float


@dataclass
class Token:
    """A cookie, device or card: how long one lasts, and the share of customers who use that of another one."""

    lifetime_days: float
    shared: float


@dataclass
class Identity:
    """Which keys customers have, and how much of them the retailer can connect."""

    with_account: float
    with_app: float
    with_card: float
    logged_in: float
    registered_cards: float
    on_a_terminal: float
    customers_a_terminal: int
    cookie: Token
    device: Token
    card: Token


@dataclass
class Dirt:
    """The share of each source's rows that is spoilt, by reason."""

    missing_timestamp: float
    timestamp_out_of_range: float
    missing_customer: float
    missing_item: float
    unknown_event: float
    unreadable_price: float
    negative_price: float
    negative_quantity: float
    over_long_item: float
    exact_repeat: float
    unreadable_timestamp: float
    broken_encoding: float
    truncated_row: float


TEXT_ONLY = ("unreadable_timestamp", "broken_encoding", "truncated_row")


@dataclass
class Settings:
    """All that decides what the log holds. `num_events` is what is aimed at; the log comes close."""

    seed: int
    start: str
    days: int
    num_customers: int
    num_events: int
    num_items: int
    format: str
    layout: str
    kinds: dict[str, Kind]
    benefits: Benefits
    identity: Identity
    dirt: Dirt

    @property
    def begin(self) -> int:
        """The first microsecond of the log."""
        return int(datetime.combine(date.fromisoformat(self.start), datetime.min.time(), UTC).timestamp()) * 1_000_000

    @property
    def end(self) -> int:
        """The first microsecond after the log."""
        return self.begin + self.days * DAY


def settings_from_config(config: Mapping[str, Any]) -> Settings:
    """Check the composed config. Raises ConfigError, naming the setting, what was expected and what came."""
    names = [field.name for field in fields(Settings)]
    try:
        node = OmegaConf.merge(OmegaConf.structured(Settings), {name: config[name] for name in names})
        settings: Settings = OmegaConf.to_object(node)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'settings'}: {str(error).splitlines()[0]}; correct it") from error
    _check_size(settings)
    _check_words(settings)
    _check_shares(node, settings)
    for name, kind in settings.kinds.items():
        _check_kind(name, kind)
    return settings


def _check_size(settings: Settings) -> None:
    lowest = {"seed": 0, "days": 2, "num_customers": 1, "num_events": 1, "num_items": 100}
    for name, least in lowest.items():
        _require(name, getattr(settings, name) >= least, f"a whole number from {least} on", getattr(settings, name))
    benefits = settings.benefits
    _require("benefits.every_days", benefits.every_days >= 1, "at least 1", benefits.every_days)
    fits = 1 <= benefits.window_days <= benefits.every_days
    _require("benefits.window_days", fits, f"1 to every_days ({benefits.every_days})", benefits.window_days)
    _require(
        "identity.customers_a_terminal", settings.identity.customers_a_terminal >= 1, "at least 1", settings.identity.customers_a_terminal
    )
    for name in ("cookie", "device", "card"):
        days = getattr(settings.identity, name).lifetime_days
        _require(f"identity.{name}.lifetime_days", days > 0, "more than 0", days)


def _check_words(settings: Settings) -> None:
    _require("format", settings.format in ("parquet", "csv"), "parquet or csv", settings.format)
    _require("layout", settings.layout in ("sources", "events"), "sources or events", settings.layout)
    try:
        within = 1970 <= date.fromisoformat(settings.start).year < 2200
    except ValueError:
        within = False
    _require("start", within, "a date such as 2023-01-01", settings.start)
    if settings.format != "csv":
        for name in TEXT_ONLY:
            share = getattr(settings.dirt, name)
            _require(f"dirt.{name}", share == 0, "0 unless format=csv, since a typed file can't hold it", share)


def _check_shares(node: Any, settings: Settings) -> None:
    shares = ["benefits.treated", "benefits.with_coupon", "benefits.coupon_discount"]
    shares += [f"identity.{name}" for name in ("with_account", "with_app", "with_card", "logged_in", "registered_cards", "on_a_terminal")]
    shares += [f"identity.{name}.shared" for name in ("cookie", "device", "card")]
    shares += [f"dirt.{field.name}" for field in fields(Dirt)]
    for name in shares:
        value = OmegaConf.select(node, name)
        _require(name, 0 <= value <= 1, "a share from 0 to 1", value)
    spoilt = sum(getattr(settings.dirt, field.name) for field in fields(Dirt))
    _require("dirt", spoilt <= 0.5, "shares that add up to at most 0.5", spoilt)
    total = sum(kind.share for kind in settings.kinds.values())
    _require("kinds", abs(total - 1) < 1e-6, "shares that add up to 1", round(total, 6))


def _check_kind(name: str, kind: Kind) -> None:
    # The chance of an order is a product: within these limits it stays below 1, and the truth about its factors is exact.
    where = f"kinds.{name}"
    for field in ("share", "habit", "returns"):
        _require(f"{where}.{field}", 0 <= getattr(kind, field) <= 1, "a share from 0 to 1", getattr(kind, field))
    for field in ("activity", "lifetime_days"):
        _require(f"{where}.{field}", getattr(kind, field) > 0, "more than 0", getattr(kind, field))
    _require(f"{where}.views", kind.views >= 1, "at least 1", kind.views)
    _require(f"{where}.regulars", 0 <= kind.regulars <= 2, "0 to 2", kind.regulars)
    _require(f"{where}.price_elasticity", 0 <= kind.price_elasticity <= 2, "0 to 2", kind.price_elasticity)
    _require(f"{where}.coupon_lift", -0.5 <= kind.coupon_lift <= 0.6, "-0.5 to 0.6", kind.coupon_lift)
    _require(f"{where}.conversion", 0 < kind.conversion <= 0.2, "more than 0, at most 0.2", kind.conversion)
    mix = list(vars(kind.channels).values())
    _require(f"{where}.channels", min(mix) >= 0 and abs(sum(mix) - 1) < 1e-6, "shares that add up to 1", mix)
    for channel, response in vars(kind.responses).items():
        _require(f"{where}.responses.{channel}", -0.8 <= response <= 1, "-0.8 to 1", response)


def _require(name: str, holds: bool, expected: str, received: object) -> None:
    if not holds:
        raise ConfigError(f"expected {name} to be {expected}, received {received!r}; correct it")
