"""Every customer of a store in one table: what the model says, as it says it elsewhere; the same bytes after a kill; reasons that hold."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from helpers_training import composed

from training import score as scoring
from training.answers import ask, checked_explained
from training.baselines.rfm import NUM_GROUPS
from training.build import Parts
from training.errors import ArtifactError, ConfigError
from training.export import load_run
from training.reasons import Steps
from training.score import return_dates, score
from training.sequences.history import History, customer_of_event, step_starts, take
from training.sequences.split import DAY

MAY = 19_844 * DAY  # 2024-05-01
OUTPUTS = [
    "return_probability", "silence_probability", "return_days", "slipping_away", "visit_probability", "absence_probability",
    "value", "value_low", "value_high", "value_zero_probability",
    "value_purchases", "value_evenness", "value_amount_shape", "value_rate_days", "loyalty",
]  # fmt: skip


@pytest.fixture(scope="module")
def parts(outcomes_run: Path) -> Parts:
    return load_run(outcomes_run)


def scored(run: Path, out: Path, *overrides: str) -> pl.DataFrame:
    return pl.read_parquet(score(composed("score", [f"run={run}", f"out={out}", *overrides])))


def test_the_table_holds_every_answer_of_everybody(outcomes_run: Path, parts: Parts, tmp_path: Path) -> None:
    table = scored(outcomes_run, tmp_path / "scores.parquet", "now=2024-05-01", "customers_per_batch=7")
    assert table.columns == ["customer", "rfm", *OUTPUTS, "embedding", "return_date"]
    assert table["customer"].to_list() == parts.store.customers
    everybody = np.arange(parts.store.num_customers)
    batch = parts.questions.ask(everybody, np.full(len(everybody), MAY - 1), np.ones_like(everybody))
    with torch.inference_mode():
        expected = {**parts.model(batch), "embedding": parts.model.represent(batch).representation}
    for name, values in expected.items():
        np.testing.assert_allclose(np.stack(table[name].to_numpy()), values.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)
    assert not list(tmp_path.glob("*.work"))


def test_the_return_date_is_so_many_days_later_unless_nobody_expects_it() -> None:
    dates = return_dates(np.array([0.0, 1.5, 3650.0], dtype=np.float32), MAY - 1)
    assert dates.to_pylist() == [date(2024, 4, 30), date(2024, 5, 2), None]


def test_items_and_events_stand_there_as_keys(small_run: Path, tmp_path: Path) -> None:
    table = scored(small_run, tmp_path / "scores.parquet")
    assert table.columns == ["customer", "rfm", "item", "item_score", "purchase_probability", "embedding"]
    assert {item for items in table["item"].to_list() for item in items} <= {f"i{number:02d}" for number in range(30)}


def test_the_moment_is_after_the_last_event_or_before_a_date(outcomes_run: Path, parts: Parts, tmp_path: Path) -> None:
    after = scored(outcomes_run, tmp_path / "after.parquet")
    told = ask(parts, parts.store, np.arange(parts.store.num_customers), int(parts.store.columns["timestamp"].max()))
    np.testing.assert_allclose(after["value"].to_numpy(), told.values["value"], rtol=1e-4)
    early = scored(outcomes_run, tmp_path / "early.parquet", "now=2024-01-04")
    seen = parts.store.columns["timestamp"][parts.store.offsets[:-1]] < 19_726 * DAY
    assert 0 < seen.sum() < len(seen)
    assert early["customer"].to_list() == [key for key, known in zip(parts.store.customers, seen, strict=True) if known]


def test_rfm_is_that_of_the_purchases_by_then(outcomes_run: Path, parts: Parts, tmp_path: Path) -> None:
    table = scored(outcomes_run, tmp_path / "scores.parquet", "now=2024-05-01")
    purchase = parts.store.vocabularies["event"].keys.index("purchase")
    columns = parts.store.columns
    past = (columns["timestamp"] < MAY) & (columns["event"] == purchase)
    latest = np.zeros(parts.store.num_customers)
    np.maximum.at(latest, customer_of_event(parts.store.offsets)[past], columns["timestamp"][past])
    fifth = np.ceil((latest.argsort().argsort() + 1) / len(latest) * NUM_GROUPS).astype(int)
    assert [int(rfm[0]) for rfm in table["rfm"]] == fifth.tolist()


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(outcomes_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BATCHES_A_PART", 2)
    settings = ["customers_per_batch=5", "reasons=1", "steps_tried=2"]
    scored(outcomes_run, tmp_path / "whole.parquet", *settings)
    asked: list[int] = []

    def counting(*arguments: object, limit: int) -> object:
        if len(asked) == limit:
            raise KeyboardInterrupt
        asked.append(1)
        return ask(*arguments)  # type: ignore[arg-type]

    out = tmp_path / "killed.parquet"
    monkeypatch.setattr(scoring, "ask", lambda *arguments: counting(*arguments, limit=5))
    with pytest.raises(KeyboardInterrupt):
        scored(outcomes_run, out, *settings)
    assert not out.exists()
    assert {path.name for path in out.with_name("killed.parquet.work").iterdir() if not path.suffix} == {"000000", "000001"}
    asked.clear()
    monkeypatch.setattr(scoring, "ask", lambda *arguments: counting(*arguments, limit=-1))
    scored(outcomes_run, out, *settings)
    assert len(asked) == 10 - 4
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.parquet", "whole.parquet"]


def test_a_table_is_made_once_and_anew_for_another_moment(outcomes_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scores.parquet"
    first = scored(outcomes_run, out)
    made = out.stat().st_ino
    scored(outcomes_run, out)
    assert out.stat().st_ino == made
    assert "is of this run and moment already; force=true scores anew" in capsys.readouterr().out
    assert not scored(outcomes_run, out, "now=2024-05-01").equals(first)


# Reasons


def leave_out(parts: Parts, customer: int, steps: np.ndarray, now: int) -> History:
    """One customer's past without some of its steps, by their numbers."""
    past = History.at(take(parts.store, np.array([customer])), now)
    number = np.cumsum(step_starts(past)) - 1
    return past.where(~np.isin(number, steps))


def test_without_its_reasons_a_score_moves_more_than_without_other_events(outcomes_run: Path, parts: Parts, tmp_path: Path) -> None:
    """Deleted from the log: three reasons against three other steps drawn at random; and the first alone, by what was said of it."""
    table = scored(outcomes_run, tmp_path / "scores.parquet", "now=2024-05-01", "reasons=3", "explain=value", "steps_tried=1000")
    now, random = MAY - 1, np.random.default_rng(0)
    moved: list[tuple[float, float]] = []
    for customer, (value, reasons) in enumerate(zip(table["value"], table["reasons"].to_list(), strict=True)):
        past = History.at(take(parts.store, np.array([customer])), now)
        times = np.unique(past.columns["timestamp"])
        if len(times) < 10:
            continue
        named = np.searchsorted(times, [int(reason["timestamp"].timestamp() * 1e6) for reason in reasons])
        others = random.choice(np.setdiff1d(np.arange(len(times)), named), 3, replace=False)
        without = [ask(parts, leave_out(parts, customer, steps, now), np.array([0]), now) for steps in (named, others, named[:1])]
        told, drawn, first = (value - float(said.values["value"][0]) for said in without)
        assert first == pytest.approx(reasons[0]["effect"], rel=1e-3, abs=1e-4)
        assert abs(reasons[0]["effect"]) >= abs(reasons[-1]["effect"])
        moved.append((abs(told), abs(drawn)))
    assert len(moved) > 20
    named, drawn = np.array(moved).T
    assert np.median(named) > 2 * np.median(drawn)
    assert (named > drawn).mean() > 0.8


def test_reasons_are_told_in_words(outcomes_run: Path, tmp_path: Path) -> None:
    table = scored(outcomes_run, tmp_path / "scores.parquet", "reasons=2", "steps_tried=3")
    assert table["reasons"].list.len().max() == 2
    words = [reason["words"] for reasons in table["reasons"].to_list() for reason in reasons]
    pattern = r"^(view|purchase) of i\d\d(, i\d\d)* on 2024-0\d-\d\d (raises|lowers) return_probability by [\d.e-]+$"
    assert all(pl.Series(words).str.contains(pattern))


def test_only_the_latest_steps_are_tried() -> None:
    """Of customers with three steps (the second of two events), one and none."""
    log = History(np.array([0, 4, 5, 5]), {"timestamp": np.array([1, 2, 2, 3, 9])})
    steps = Steps.of(log, tried=2)
    assert [steps.owner.tolist(), steps.place.tolist(), steps.first.tolist(), steps.end.tolist()] == [
        [0, 0, 1],
        [0, 1, 0],
        [1, 3, 4],
        [3, 4, 5],
    ]


# Mistakes


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["now=soon"], "expected now as a date like 2017-12-04, received 'soon'"),
        (["now=1999-01-01"], "expected customers with events before now=1999-01-01, found none; the log begins on 2024-01-01"),
        (
            ["reasons=1", "explain=loyalty"],
            r"expected explain to be an answer of one number a customer \(return_probability, .*received loyalty",
        ),
        (["reasons=-1"], "expected reasons to be a whole number from 0 on, received -1"),
        (["customers_per_batch=0"], "expected customers_per_batch to be a whole number from 1 on, received 0"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(outcomes_run: Path, tmp_path: Path, overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        scored(outcomes_run, tmp_path / "out" / "scores.parquet", *overrides)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_run_must_be_finished_and_another_file_is_not_replaced(outcomes_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected run=FOLDER, received none"):
        score(composed("score", []))
    with pytest.raises(ArtifactError, match="expected a finished run in"):
        scored(tmp_path, tmp_path / "scores.parquet")
    (tmp_path / "scores.parquet").write_text("mine")
    with pytest.raises(ConfigError, match=r"expected scores or nothing in .*scores\.parquet, found another file"):
        scored(outcomes_run, tmp_path / "scores.parquet")
    assert (tmp_path / "scores.parquet").read_text() == "mine"


def test_a_run_without_an_answer_of_one_number_has_nothing_to_explain(parts: Parts) -> None:
    alone = replace(
        parts, model=type(parts.model)(parts.model.features, parts.model.encoder, {"loyalty": parts.model.objectives["loyalty"]})
    )
    with pytest.raises(ConfigError, match=r"\(this run has none\), received None; set reasons=0"):
        checked_explained(alone, None)
