"""The simulated log: its files, its truth, and that the two say the same."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers_simulator import read, simulated, simulator_config

from training.errors import ConfigError
from training.simulate import simulate
from training.simulator.draws import mixed

TOKENS = {"web": "cookie", "app": "device", "store": "card", "messages": "account"}
TIMES = {"web": "time", "store": "sold_at", "messages": "sent_at"}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("log") / "log")


def times(log: Path, source: str) -> pl.Series:
    rows = read(log, source)
    return rows[TIMES[source]] if source in TIMES else rows["epoch_ms"].cast(pl.Datetime("ms")).cast(pl.Datetime("us", "UTC"))


def contents(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    return {str(file.relative_to(folder)): pl.read_parquet(file).rows() for file in folder.rglob("*.parquet")}


def test_about_as_many_events_as_asked_for_by_customers_that_the_truth_knows(log: Path) -> None:
    rows = json.loads((log / "simulated.json").read_text())["rows"]
    assert rows == {f"{source}.parquet": read(log, source).height for source in TOKENS}
    assert sum(rows.values()) == pytest.approx(60_000, rel=0.05)
    assert read(log, "truth/customers").height == read(log, "truth/customers")["customer"].n_unique() == 1_500
    assert read(log, "items").height == read(log, "items")["item"].n_unique() == 600


def test_the_same_seed_gives_the_same_rows_and_another_one_another_log(tmp_path: Path) -> None:
    size = ("num_customers=300", "num_events=9000", "num_items=200", "days=60")
    once, again, other = (simulated(tmp_path / name, *size, f"seed={seed}") for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert contents(once) == contents(again)
    assert contents(once)["web.parquet"] != contents(other)["web.parquet"]


@pytest.mark.parametrize("source", TOKENS)
def test_a_file_is_in_order_of_time_and_within_the_log(log: Path, source: str) -> None:
    when = times(log, source)
    assert when.is_sorted()
    assert when.min() >= pl.Series(["2023-01-01"]).str.to_datetime(time_zone="UTC")[0]
    assert when.max() < pl.Series(["2024-01-01"]).str.to_datetime(time_zone="UTC")[0]


@pytest.mark.parametrize("source", TOKENS)
def test_every_row_shows_a_key_of_its_true_customer(log: Path, source: str) -> None:
    customers = read(log, "truth/customers")["customer"]
    rows = read(log, source).select(key=TOKENS[source]).with_columns(customer=customers.gather(read(log, f"truth/{source}")["customer"]))
    assert rows.join(read(log, "truth/identities"), on=["key", "customer"], how="anti").is_empty()


def test_nobody_comes_before_joining_or_after_leaving(log: Path) -> None:
    truth = read(log, "truth/customers").with_row_index("number").with_columns(pl.col("number").cast(pl.Int32))
    for source in ("web", "app", "store"):
        visits = read(log, f"truth/{source}").with_columns(time=times(log, source).dt.cast_time_unit("us"))
        first = visits.filter(pl.col("visit") > 0).group_by("visit", "customer").agg(pl.col("time").min())
        known = first.join(truth, left_on="customer", right_on="number")
        assert known.height == first.height
        early = pl.duration(milliseconds=1)  # the app's clock shows no less
        assert known.filter((pl.col("time") < pl.col("joined") - early) | (pl.col("time") >= pl.col("churned"))).is_empty()


def test_a_visit_belongs_to_one_customer_and_one_system(log: Path) -> None:
    rows = pl.concat([read(log, f"truth/{source}").with_columns(source=pl.lit(source)) for source in TOKENS])
    visits = rows.filter(pl.col("visit") > 0).group_by("visit").agg(pl.col("customer", "source").n_unique())
    assert visits.select("customer", "source").max().row(0) == (1, 1)


def test_a_customer_has_several_keys_and_a_key_several_customers(log: Path) -> None:
    known = read(log, "truth/identities")
    cookies = known.filter(pl.col("key").str.starts_with("k"))
    assert cookies.group_by("customer").len()["len"].max() >= 3
    owners = known.group_by("key").len()["len"]
    assert (owners == 2).sum() > 50
    assert owners.max() > 5, "a terminal in a store is everybody's"


def test_links_say_the_truth_but_not_all_of_it(log: Path) -> None:
    links, known = read(log, "links"), read(log, "truth/identities")
    accounts = known.filter(pl.col("key").str.starts_with("a")).select(account="key", customer="customer")
    linked = links.join(accounts, on="account")
    assert linked.height == links.height
    assert linked.join(known, on=["key", "customer"], how="anti").is_empty()
    assert 0 < linked.height < known.height - accounts.height
    shown = read(log, "web").filter(pl.col("account").is_not_null()).select(key="cookie", account="account")
    assert shown.join(links, on=["key", "account"], how="anti").is_empty()


def test_the_log_as_one_file_holds_the_same_events_under_the_true_customers(log: Path, tmp_path: Path) -> None:
    events = read(simulated(tmp_path / "one", "layout=events"), "events")
    assert events.height == sum(read(log, source).height for source in TOKENS)
    assert events["timestamp"].is_sorted()
    customers = read(log, "truth/customers")["customer"]
    of_source = {source: customers.gather(read(log, f"truth/{source}")["customer"]) for source in TOKENS}
    assert pl.concat(of_source.values()).value_counts().sort("customer").equals(events["customer"].value_counts().sort("customer"))
    names = read(log, "items").select("item", known="category")
    sold = events.filter(pl.col("event") == "purchase").join(names, on="item", how="left")
    assert (sold["category"] == sold["known"]).all()
    assert events.filter(pl.col("event") == "search").select((pl.lit("search:") + pl.col("query") == pl.col("item")).all()).item()


def test_a_log_that_is_there_is_left_alone_and_another_folder_never_touched(tmp_path: Path) -> None:
    out = simulated(tmp_path / "log", "num_events=20000", "days=40")
    written = (out / "web.parquet").stat().st_ino
    simulated(out, "num_events=20000", "days=40")
    assert (out / "web.parquet").stat().st_ino == written
    simulated(out, "num_events=20000", "days=41")
    assert (out / "web.parquet").stat().st_ino != written
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="found other files; choose another place with out=FOLDER"):
        simulate(simulator_config(tmp_path / "mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("num_events=100", "expected num_events above .* received 100"),
        ("days=1", "expected days to be a whole number from 2 on, received 1"),
        ("start=soon", "expected start to be a date such as 2023-01-01, received 'soon'"),
        ("format=xml", "expected format to be parquet or csv, received 'xml'"),
        ("layout=star", "expected layout to be sources or events"),
        ("num_items=many", r"num_items: .*many"),
        ("kinds.loyal.share=0.9", "expected kinds to be shares that add up to 1, received 1.65"),
        ("kinds.loyal.conversion=0.9", r"expected kinds\.loyal\.conversion to be more than 0, at most 0\.2, received 0\.9"),
        ("kinds.loyal.channels.web=0.9", r"expected kinds\.loyal\.channels to be shares that add up to 1"),
        ("identity.cookie.shared=2", r"expected identity\.cookie\.shared to be a share from 0 to 1"),
        ("benefits.window_days=40", r"expected benefits\.window_days to be 1 to every_days \(28\), received 40"),
        ("dirt.missing_item=0.6", r"expected dirt to be shares that add up to at most 0\.5"),
        ("dirt.unreadable_timestamp=0.1", "expected dirt.unreadable_timestamp to be 0 unless format=csv"),
    ],
    ids=lambda value: value if "=" in value else "",
)
def test_a_setting_that_makes_no_sense_is_named_and_nothing_is_written(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        simulate(simulator_config(tmp_path / "log", override))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_keys_differ_for_billions_of_numbers_and_tell_nothing() -> None:
    numbers = np.arange(0, 1 << 32, 40_009)
    assert len(np.unique(mixed(numbers))) == len(numbers)
