"""Who is who: links are followed as far as they lead, but not through what everybody shares."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers_events import HEADER, composed
from helpers_simulator import read, simulated
from test_training_events_in_parts import IN_PARTS
from test_training_preprocess import contents

from training.errors import ConfigError, DataError
from training.events.identity import Identities, unite_links
from training.preprocess import preprocess
from training.sequences.store import SequenceStore

LINKS = [("k1", "anna"), ("k2", "anna"), ("card", "anna"), ("k2", "bo"), ("k9", "cy")]


def of(links: list[tuple[str, str]], *, max_component: int = 50) -> Identities:
    return unite_links(pl.DataFrame(links, schema={"key": pl.String, "account": pl.String}, orient="row"), max_component=max_component)


def known_as(identities: Identities, *keys: str) -> list[str]:
    return identities.resolve(pl.Series(keys)).to_list()


def test_links_are_followed_as_far_as_they_lead() -> None:
    assert known_as(of(LINKS), "k1", "bo", "card", "anna", "k9", "stranger") == ["anna", "anna", "anna", "anna", "cy", "stranger"]


def test_a_group_that_is_too_large_is_not_united() -> None:
    identities = of(LINKS, max_component=4)
    assert known_as(identities, "k1", "bo", "k9") == ["k1", "bo", "cy"]
    assert known_as(of(LINKS, max_component=5), "k1", "bo", "k9") == ["anna", "anna", "cy"]
    united = identities.united(np.ones(len(identities.keys), dtype=bool))
    assert united.counts == {"keys": 7, "kept_apart": 5, "customers": 6}
    assert [row for row in united.table.rows() if row[0] != row[1]] == [("k9", "cy")]


def test_the_order_of_links_changes_nothing() -> None:
    shuffled = of([LINKS[place] for place in (4, 2, 0, 3, 1)])
    assert shuffled.keys.equals(of(LINKS).keys)
    assert shuffled.known_as.tolist() == of(LINKS).known_as.tolist()


def test_no_links_unite_nobody() -> None:
    assert known_as(of([]), "k1", "anna") == ["k1", "anna"]


def shop(folder: Path) -> list[str]:
    """The config of a log of two systems with a table of links."""
    (folder / "log").mkdir()
    rows = {
        "web": ["k1,2024-03-01,view,tea,,,web", "k3,2024-03-02,view,tea,,,web", "k2,2024-03-04,cart,tea,,,web"],
        "shop": ["card,2024-03-03,purchase,tea,3,1,shop", "zed,2024-03-03,purchase,tea,3,1,shop"],
    }
    for name, some in rows.items():
        (folder / "log" / f"{name}.csv").write_text("\n".join([HEADER, *some]) + "\n")
    (folder / "log" / "links.csv").write_text(
        "cookie,who\n" + "".join(f"{key},{account}\n" for key, account in [*LINKS, ("", "cy"), ("k3", "")])
    )
    links = "+data.identity={links: links.csv, key: cookie, account: who}"
    return ["data=events", f"data.path={folder / 'log'}", "+data.sources.log.files='[ws]*.csv'", links]


@pytest.mark.parametrize("memory", [4, IN_PARTS / 1000], ids=["at once", "in parts"])
def test_events_of_all_keys_become_one_history(tmp_path: Path, memory: float) -> None:
    store = SequenceStore.open(preprocess(composed(*shop(tmp_path), f"out={tmp_path / 'store'}", f"memory={memory}")), verify=True)
    assert store.customers == ["anna", "k3", "zed"]
    assert store.offsets.tolist() == [0, 3, 4, 5]
    channels = [store.vocabularies["channel"].keys[place] for place in store.columns["channel"]]
    assert channels == ["web", "shop", "web", "web", "shop"]
    assert np.diff(store.columns["timestamp"][:3]).min() > 0
    assert store.meta["identity"] == {"keys": 3, "kept_apart": 0, "customers": 1}
    assert pl.read_parquet(store.path / "identities.parquet").rows() == [("card", "anna"), ("k1", "anna"), ("k2", "anna")]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.identity.key=device", "expected the column device; the file has cookie, who"),
        ("data.identity.links=nothing.csv", "expected the file nothing.csv, found "),
        ("+data.identity.max_component=1", r"data\.identity\.max_component: expected a whole number above 1, found 1"),
        ("+data.identity.cap=3", r"data\.identity: \['cap'\] is no setting"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        preprocess(composed(*shop(tmp_path), setting, f"out={tmp_path / 'store'}"))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.fixture(scope="module")
def retailer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("log") / "log", "identity.on_a_terminal=0.03")


def rightly_united(log: Path, identities: Identities) -> float:
    """The share of accounts whose customers' own keys, linked at some time and used by nobody else, mean them."""
    own = read(log, "truth/identities").group_by("key").len().filter(pl.col("len") == 1)
    links = read(log, "links").join(own, on="key", how="semi")
    right = links.with_columns(right=identities.resolve(links["key"]) == identities.resolve(links["account"]))
    return float(right.group_by("account").agg(pl.col("right").all())["right"].mean())  # type: ignore[arg-type]


def strangers(log: Path, identities: Identities) -> float:
    """The share of accounts that are one with those of customers who share neither device nor card with them."""
    truth = read(log, "truth/identities")
    household = truth.join(truth.group_by("key").len().filter(pl.col("len") == 2).select("key"), on="key", how="semi")
    pairs = household.join(household, on="key").select("customer", "customer_right").unique()
    accounts = truth.filter(pl.col("key").str.starts_with("a"))
    accounts = accounts.with_columns(known=identities.resolve(accounts["key"]))
    welded = accounts.join(accounts, on="known").filter(pl.col("customer") != pl.col("customer_right"))
    return welded.join(pairs, on=["customer", "customer_right"], how="anti")["customer"].n_unique() / accounts.height


def test_the_limit_keeps_strangers_apart_who_share_a_terminal(retailer: Path) -> None:
    links = read(retailer, "links")
    capped, uncapped = unite_links(links, max_component=20), unite_links(links, max_component=10**9)
    assert rightly_united(retailer, uncapped) == 1
    assert strangers(retailer, uncapped) > 0.05
    assert rightly_united(retailer, capped) > 0.85
    assert strangers(retailer, capped) < 0.01


def test_the_simulated_retailer_s_systems_know_one_customer(retailer: Path, tmp_path: Path) -> None:
    arguments = ["data=simulated", f"data.path={retailer}"]
    once, parts = (preprocess(composed(*arguments, f"out={tmp_path / str(memory)}", f"memory={memory}")) for memory in (4.0, 0.002))
    assert contents(parts) == contents(once)
    store, truth = SequenceStore.open(once), read(retailer, "truth/identities")
    keys = {
        key
        for source, name in (("web", "cookie"), ("app", "device"), ("store", "card"), ("messages", "account"))
        for key in read(retailer, source)[name]
    }
    assert store.num_customers < 0.8 * len(keys)
    assert truth["customer"].n_unique() < store.num_customers, "who was never logged in stays unknown"
