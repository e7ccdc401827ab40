"""A future that is told again and again comes as often as the one that the log tells: the truth is the truth."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers_simulator import read, simulated

from training.errors import DataError
from training.simulator.events import PURCHASE
from training.simulator.futures import futures, overdue_regulars
from training.simulator.keys import customer_keys
from training.simulator.retailer import Retailer, retailer_of
from training.simulator.settings import DAY

SIZE = ("num_customers=3000", "num_events=150000", "num_items=400", "days=210", "layout=events")
TIMES = 40


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("futures") / "log", *SIZE)


@pytest.fixture(scope="module")
def retailer(log: Path) -> Retailer:
    retailer = retailer_of(log)
    assert retailer is not None
    return retailer


def buyers(log: Path, retailer: Retailer, now: int, until: int) -> np.ndarray:
    """Whether each customer of the retailer buys in (now, until] of the log: bool [C]."""
    window = (pl.col("event") == "purchase") & (pl.col("timestamp").cast(pl.Int64) > now) & (pl.col("timestamp").cast(pl.Int64) <= until)
    bought = set(read(log, "events").filter(window)["customer"].to_list())
    return np.array([key in bought for key in customer_keys(np.arange(len(retailer.customers))).to_pylist()])


@pytest.mark.parametrize(("day", "days"), [(182, 28), (200, 7), (118, 14)])  # a campaign begins; within one; one begins later
def test_what_is_told_comes_as_often_as_in_the_log(log: Path, retailer: Retailer, day: int, days: int) -> None:
    now = retailer.settings.begin + day * DAY - 1
    until = now + days * DAY
    came = buyers(log, retailer, now, until)
    chance = np.zeros(len(came))
    for events in futures(retailer, now=now, until=until, times=TIMES, seed=0):
        assert events.time.min() > now
        assert events.time.max() <= until
        chance[np.unique(events.customer[events.event == PURCHASE])] += 1 / TIMES
    known = retailer.customers.joined <= now
    assert not chance[known & (retailer.customers.churned <= now)].any(), "who has left does not come"
    for kind, name in enumerate(retailer.customers.kind_names):
        members = known & (retailer.customers.kind == kind)
        spread = np.sqrt((chance[members] * (1 - chance[members])).sum()) + 1
        assert abs(came[members].sum() - chance[members].sum()) < 4 * spread, name
    likely = known & (chance > 0.8)
    assert came[likely].mean() == pytest.approx(chance[likely].mean(), abs=4 * np.sqrt(0.16 / likely.sum()))


def test_what_has_run_out_is_bought_soon(log: Path, retailer: Retailer) -> None:
    now = retailer.settings.begin + 150 * DAY - 1
    waiting = np.unique(retailer.customers.regulars.customer[overdue_regulars(retailer, now)])
    waiting = waiting[retailer.customers.churned[waiting] > now + 7 * DAY]
    came = buyers(log, retailer, now, now + 7 * DAY)
    others = (retailer.customers.kind == retailer.customers.kind_names.index("loyal")) & (retailer.customers.churned > now + 7 * DAY)
    assert came[waiting].mean() > came[others & (retailer.customers.joined <= now)].mean() + 0.1


def test_only_a_simulated_log_has_a_retailer(tmp_path: Path, log: Path) -> None:
    assert retailer_of(tmp_path) is None
    truth = tmp_path / "truth"
    truth.mkdir()
    (tmp_path / "simulated.json").write_bytes((log / "simulated.json").read_bytes())
    read(log, "truth/customers").with_columns(pl.col("visits_a_day") * 2).write_parquet(truth / "customers.parquet")
    with pytest.raises(DataError, match="as this release makes it, found other customers"):
        retailer_of(tmp_path)
