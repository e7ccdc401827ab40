"""The retailer as the log finds it: what is sold, to whom, by which keys they are known, and when they come."""

from dataclasses import dataclass

from training.simulator.catalogue import Catalogue, make_catalogue
from training.simulator.customers import Customers, make_customers
from training.simulator.identities import Identities, make_identities
from training.simulator.pace import paced
from training.simulator.seasons import Seasons, make_seasons
from training.simulator.settings import Settings


@dataclass(frozen=True)
class Retailer:
    """Everything that stays as it is while the log is written."""

    settings: Settings
    catalogue: Catalogue
    customers: Customers
    identities: Identities
    seasons: Seasons


def make_retailer(settings: Settings) -> Retailer:
    """The retailer that the settings describe. Raises ConfigError where so few events can't be met."""
    catalogue, seasons = make_catalogue(settings), make_seasons(settings)
    customers = make_customers(settings, catalogue, seasons)
    identities = make_identities(settings, customers)
    return Retailer(settings, catalogue, paced(customers, settings, identities, seasons), identities, seasons)
