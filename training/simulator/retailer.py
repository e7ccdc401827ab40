"""The retailer as the log finds it: what is sold, to whom, by which keys they are known, and when they come."""

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import DataError
from training.simulator.catalogue import Catalogue, make_catalogue
from training.simulator.customers import Customers, make_customers
from training.simulator.identities import Identities, make_identities
from training.simulator.pace import paced
from training.simulator.seasons import Seasons, make_seasons
from training.simulator.settings import Settings, settings_from_config

NOTE = "simulated.json"  # beside the log: its settings
CUSTOMERS = "truth/customers.parquet"


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


def retailer_of(log: Path) -> Retailer | None:
    """The retailer whose log lies in a folder, made again of its settings; None where the log is not one of ours.

    Raises DataError where this release makes other customers of the same settings.
    """
    if not (log / NOTE).is_file() or not (log / CUSTOMERS).is_file():
        return None
    retailer = make_retailer(settings_from_config(json.loads((log / NOTE).read_text())["settings"]))
    if not pq.read_table(log / CUSTOMERS).equals(pa.table(retailer.customers.truth())):
        raise DataError(
            f"expected {log / CUSTOMERS} as this release makes it, found other customers; python -m training.simulate force=true"
        )
    return retailer
