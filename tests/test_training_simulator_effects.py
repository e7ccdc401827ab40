"""What the truth says about customers is what their events show: benefits, prices, seasons, tastes and rhythms."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers_simulator import read, simulated

SIZE = ("num_customers=4000", "num_events=400000", "num_items=600", "days=240", "layout=events", "benefits.treated=0.6")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("effects") / "log", *SIZE)


@pytest.fixture(scope="module")
def events(log: Path) -> pl.DataFrame:
    return read(log, "events").with_columns(read(log, "truth/events")["visit"])


def orders(events: pl.DataFrame) -> pl.DataFrame:
    """A row an order."""
    return events.filter(pl.col("event") == "purchase").group_by("visit", "customer").agg(pl.col("timestamp").first())


def orders_in_windows(log: Path, events: pl.DataFrame) -> pl.DataFrame:
    """truth/benefits with the orders of each window, those apart that benefits have nothing to do with: joining and replenishing."""
    customers = read(log, "truth/customers").filter(pl.col("kind") != "loyal")  # only loyal customers replenish
    made = orders(events).join(customers, on="customer").sort("timestamp")
    made = made.filter(pl.col("timestamp") - pl.col("joined") > pl.duration(days=1))
    windows = read(log, "truth/benefits").join(customers.select("customer"), on="customer", how="semi")
    pairs = windows.join(made.select("customer", "timestamp"), on="customer", how="left")
    within = (pl.col("timestamp") >= pl.col("start")) & (pl.col("timestamp") < pl.col("end"))
    return pairs.group_by(windows.columns).agg(orders=within.fill_null(False).sum())


def test_randomised_benefits_do_what_the_truth_says(log: Path, events: pl.DataFrame) -> None:
    rows = orders_in_windows(log, events)
    expected = rows["orders_left_alone"] + rows["uplift"]
    for part in (pl.col("channel") == "none", pl.col("coupon"), (pl.col("channel") == "email") & pl.col("coupon")):
        where = rows.select(part).to_series()
        difference = (rows["orders"] - expected).filter(where)
        assert abs(difference.sum()) < 4 * np.sqrt(expected.filter(where).sum()), "orders are as good as Poisson"
    treated = rows.filter(pl.col("coupon"))
    assert treated["uplift"].sum() > 4 * np.sqrt(treated["orders_left_alone"].sum()), "the effect is there to be found"


def test_who_gets_what_is_drawn_with_the_propensities_of_the_truth(log: Path) -> None:
    arms = read(log, "truth/benefits").group_by("channel", "coupon").agg(pl.len(), pl.col("propensity").first())
    assert arms["propensity"].sum() == pytest.approx(1)
    assert arms.height == 7
    total = arms["len"].sum()
    expected = arms["propensity"] * total
    assert ((arms["len"] - expected).abs() < 4 * expected.sqrt()).all()


def test_coupons_are_redeemed_by_those_who_hold_them_and_make_the_order_cheaper(log: Path, events: pl.DataFrame) -> None:
    redeemed = events.filter(pl.col("event") == "coupon")
    held = read(log, "truth/benefits").filter(pl.col("coupon")).with_columns(item=pl.format("coupon:{}", "campaign"))
    known = redeemed.join(held, on=["customer", "item"])
    assert known.height == redeemed.height > 50
    after_it_began, before_it_ended = known["timestamp"] >= known["start"], known["timestamp"] < known["end"] + timedelta(hours=2)
    assert (after_it_began & before_it_ended).all(), "a visit that began in time may end a little later"
    seen = events.filter(pl.col("event") == "view").select("visit", "item", shown="price")
    paid = events.filter(pl.col("event") == "purchase").join(redeemed.select("visit"), on="visit").join(seen, on=["visit", "item"])
    np.testing.assert_allclose(paid["price"], paid["shown"] * 0.9, atol=0.006)


def test_orders_follow_prices_as_elasticities_say(log: Path, events: pl.DataFrame) -> None:
    views = events.filter((pl.col("event") == "view") & (pl.col("visit") > 0)).sort("timestamp")
    first = views.group_by("visit", "customer").agg(pl.col("item").first(), pl.col("price").first(), pl.col("timestamp").first())
    customers = read(log, "truth/customers").filter(pl.col("kind") == "bargain_hunter")
    first = first.join(customers, on="customer").join(read(log, "items").select("item", list="price"), on="item")
    first = first.filter(pl.col("timestamp") - pl.col("joined") > pl.duration(hours=1))
    first = first.with_columns(is_order=pl.col("visit").is_in(orders(events)["visit"].implode()), share=pl.col("price") / pl.col("list"))
    first = first.with_columns(chance=pl.col("conversion") * pl.col("share") ** -pl.col("price_elasticity"))
    for low, high in ((0.55, 0.65), (0.95, 1.01)):
        rows = first.filter(pl.col("share").is_between(low, high))
        expected = rows["chance"].sum()
        assert expected > 50
        # coupons add up to a few percent
        assert -4 * np.sqrt(expected) < rows["is_order"].sum() - expected < 4 * np.sqrt(expected) + 0.1 * expected


def test_the_year_the_week_and_the_day_show(tmp_path: Path) -> None:
    log = simulated(tmp_path / "log", "num_events=120000", "layout=events")
    views = read(log, "events").filter(pl.col("event").is_in(["view", "purchase"]))
    day, hour = views["timestamp"].dt.date(), views["timestamp"].dt.hour()
    months = views.group_by(views["timestamp"].dt.month().alias("month")).len().sort("month")["len"]
    assert months[11] > 1.3 * months[6]
    of_week = views.group_by(day.dt.weekday().alias("day")).len().sort("day")["len"]
    assert of_week.arg_max() == 5, "Saturday"
    in_store = views.filter(pl.col("channel") == "store")["timestamp"].dt.hour()
    assert in_store.min() >= 8
    assert in_store.max() <= 20
    assert (hour == 20).sum() > 5 * (hour == 3).sum()


def test_a_few_items_are_looked_at_most_and_each_customer_has_own_ones(log: Path, events: pl.DataFrame) -> None:
    views = events.filter(pl.col("event") == "view")
    counts = views["item"].value_counts()["count"].sort(descending=True)
    assert counts[:60].sum() > 0.3 * counts.sum(), "a tenth of the items"
    kinds = read(log, "truth/customers").select("customer", "kind")
    of_customer = views.group_by("customer", "item").len().group_by("customer").agg(most=pl.col("len").max(), all=pl.col("len").sum())
    often = of_customer.filter(pl.col("all") >= 20).join(kinds, on="customer")
    top = often.group_by("kind").agg((pl.col("most") / pl.col("all")).mean())
    by_kind = dict(top.iter_rows())
    assert by_kind["loyal"] > 2 * by_kind["explorer"]


def test_consumables_are_bought_in_a_rhythm(log: Path, events: pl.DataFrame) -> None:
    loyal = read(log, "truth/customers").filter(pl.col("kind") == "loyal")
    bought = events.filter(pl.col("event") == "purchase").join(loyal.select("customer"), on="customer", how="semi").sort("timestamp")
    gaps = bought.with_columns(gap=pl.col("timestamp").diff().over("customer", "item").dt.total_hours() / 24)
    regular = gaps.with_columns(pl.len().over("customer", "item"), middle=pl.col("gap").median().over("customer", "item"))
    near = regular.filter(pl.col("len") >= 6).drop_nulls("gap").select(pl.col("gap") / pl.col("middle")).to_series()
    assert near.is_between(0.7, 1.4).mean() > 0.6


def test_what_goes_together_is_seen_together(events: pl.DataFrame) -> None:
    views = events.filter(pl.col("event") == "view").sort("visit", "timestamp").with_columns(next=pl.col("item").shift(-1).over("visit"))
    pairs = views.drop_nulls("next").filter(pl.col("item") != pl.col("next"))
    likeliest = pairs.group_by("item", "next").len().sort("len").group_by("item").agg(pl.col("len").last(), total=pl.col("len").sum())
    assert likeliest.filter(pl.col("total") > 200).select((pl.col("len") / pl.col("total")).mean()).item() > 0.1
