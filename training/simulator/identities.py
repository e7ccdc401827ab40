"""The keys by which the retailer's systems know its customers: cookies, devices and cards that come and go and are shared, and accounts."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from training.simulator.customers import Customers
from training.simulator.draws import draws
from training.simulator.events import Events
from training.simulator.keys import ACCOUNT, TOKENS, customer_keys, keys
from training.simulator.seasons import APP, CHANNELS, STORE, WEB
from training.simulator.settings import DAY, Settings, Token

CUSTOMER_BITS = (1 << 32) - 1


@dataclass(frozen=True)
class Tokens:
    """The cookies, devices or cards of all customers: one follows the other, each with a number of its own.

    owner   int32 [C]: whose token a customer uses: their own or that of another one of the household
    first   int64 [C]: the number of each customer's first token; phase int64 [C]: µs of it that had passed when the log began
    """

    owner: np.ndarray
    first: np.ndarray
    phase: np.ndarray
    lifetime: int
    begin: int
    total: int

    def number(self, customer: np.ndarray, time: np.ndarray) -> np.ndarray:
        """int64 [n]: the token that each customer has at a time (µs)."""
        owner = self.owner[customer].astype(np.int64)
        return self.first[owner] + (time - self.begin + self.phase[owner]) // self.lifetime


@dataclass(frozen=True)
class Identities:
    """Everyone's keys; `tokens` has one entry for each of `CHANNELS`."""

    tokens: tuple[Tokens, ...]
    has_account: np.ndarray
    has_app: np.ndarray
    has_card: np.ndarray
    has_registered_card: np.ndarray
    num_terminals: int

    def usable(self, customer: np.ndarray, channel: np.ndarray) -> np.ndarray:
        """int8 [n]: the channel, or the web where the customer has neither app nor card for it."""
        without = ((channel == APP) & ~self.has_app[customer]) | ((channel == STORE) & ~self.has_card[customer])
        return np.where(without, WEB, channel).astype(np.int8)

    def token(self, customer: np.ndarray, channel: np.ndarray, time: np.ndarray, on_terminal: np.ndarray) -> np.ndarray:
        """int64 [n]: the number of the token that each visit shows. The web's last ones are those of the terminals in the stores."""
        number = np.empty(len(customer), dtype=np.int64)
        for place, tokens in enumerate(self.tokens):
            rows = np.flatnonzero(channel == place)
            number[rows] = tokens.number(customer[rows], time[rows])
        rows = np.flatnonzero(on_terminal)
        number[rows] = self.tokens[WEB].total + customer[rows] % self.num_terminals
        return number


def make_identities(settings: Settings, customers: Customers) -> Identities:
    """The keys that the settings describe."""
    rng, size, identity = draws(settings.seed, "identity"), len(customers), settings.identity
    tokens = tuple(_tokens(settings, token, size, rng) for token in (identity.cookie, identity.device, identity.card))
    shares = (identity.with_account, identity.with_app, identity.with_card, identity.registered_cards)
    has_account, has_app, has_card, registered = (rng.random(size) < share for share in shares)
    terminals = max(1, size // identity.customers_a_terminal)
    return Identities(tokens, has_account, has_app & has_account, has_card, has_card & has_account & registered, terminals)


class Sightings:
    """Which customers were seen with which token, and on which of them with their account: what links and truth are made of."""

    def __init__(self) -> None:
        self._seen: list[list[np.ndarray]] = [[] for _ in range(2 * len(CHANNELS))]  # by channel, and whether the account was seen

    def add(self, events: Events, *, until: int) -> None:
        """Note the tokens of those events on the web, in the app and in stores that happen before `until` (µs)."""
        pairs = (events.token.astype(np.int64) << 32) | events.customer
        where = (events.channel << 1) | events.linked
        # The events of a visit lie together: one of each is enough.
        changes = (np.diff(pairs, prepend=-1) != 0) | (np.diff(where, prepend=-1) != 0)
        rows = np.flatnonzero(changes & (events.time < until))
        pairs, where = pairs[rows], where[rows]
        for key in range(2 * len(CHANNELS)):
            self._seen[key].append(_distinct(pairs[where == key]))

    def links(self) -> pa.Table:
        """links.parquet: key, account."""
        columns = []
        for place, letter in enumerate(TOKENS):
            pairs = self._pairs(2 * place + 1)
            columns.append((keys(letter, pairs >> 32), keys(ACCOUNT, pairs & CUSTOMER_BITS)))
        return _stacked(("key", "account"), columns)

    def truth(self, has_account: np.ndarray) -> pa.Table:
        """truth/identities.parquet: key, customer; a key that several customers used has as many rows."""
        accounts = np.flatnonzero(has_account)
        columns = [(keys(ACCOUNT, accounts), customer_keys(accounts))]
        for place, letter in enumerate(TOKENS):
            pairs = self._pairs(2 * place, 2 * place + 1)
            columns.append((keys(letter, pairs >> 32), customer_keys(pairs & CUSTOMER_BITS)))
        return _stacked(("key", "customer"), columns)

    def _pairs(self, *where: int) -> np.ndarray:
        return _distinct(np.concatenate([part for key in where for part in self._seen[key]]))


def _tokens(settings: Settings, token: Token, size: int, rng: np.random.Generator) -> Tokens:
    lifetime = int(token.lifetime_days * DAY)
    phase = (rng.random(size) * lifetime).astype(np.int64)
    counts = 1 + (settings.days * DAY - 1 + phase) // lifetime
    first = np.concatenate([[0], np.cumsum(counts)])
    owner = np.arange(size, dtype=np.int32)
    guests = np.flatnonzero((owner % 2 == 1) & (rng.random(size) < 2 * token.shared))
    owner[guests] -= 1
    return Tokens(owner, first[:-1], phase, lifetime, settings.begin, int(first[-1]))


def _distinct(pairs: np.ndarray) -> np.ndarray:
    """Each once, in order; faster than np.unique, which hashes first."""
    ordered = np.sort(pairs)
    return ordered[np.flatnonzero(np.diff(ordered, prepend=-1))]


def _stacked(names: tuple[str, str], columns: list[tuple[pa.Array, pa.Array]]) -> pa.Table:
    texts = ([pair[number].cast(pa.string()) for pair in columns] for number in range(len(names)))
    return pa.table(dict(zip(names, map(pa.chunked_array, texts), strict=True)))
