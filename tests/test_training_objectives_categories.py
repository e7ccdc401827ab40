"""Intent category by category: labels, what the model reads of them, baselines, and the way to a caller of the exported graph."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from helpers_runs import summary
from helpers_sequences import PURCHASE, START, log_of
from helpers_training import composed, make_run, make_store, shop_rows, train_config

from serving.client import Answer
from serving.contract import read_contract
from serving.golden import prove
from serving.predictor import Predictor
from serving.repository import write_repository
from training.build import Parts, build
from training.errors import ConfigError
from training.export import export, load_run
from training.models.facts import Facts
from training.objectives.calibration import Calibration
from training.objectives.categories import Categories
from training.objectives.category_intent import CategoryIntent
from training.objectives.intent import Intent
from training.run import run
from training.sequences.history import take
from training.sequences.split import DAY
from training.sequences.store import SequenceStore
from training.sequences.vocabulary import Vocabulary
from training.showcase import raw_events

KINDS = ("bread", "cheese", "tea")
ASKED = ["objective=[intent]", "categories=[item,event,category]", "objectives.intent.categories=2"]
TEA, BREAD = 2, 3  # items of the small log below


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{**row, "category": KINDS[int(str(row["item"])[1:]) % 3]} for row in shop_rows(num_customers=40, num_days=120)]
    next(row for row in rows if row["event"] == "purchase")["category"] = "wine"  # bought once, long ago
    return make_store(tmp_path_factory.mktemp("kinds"), rows)


@pytest.fixture(scope="module")
def finished(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(store, tmp_path_factory.mktemp("runs") / "kinds", *ASKED, "max_events=60")


@pytest.fixture(scope="module")
def parts(finished: Path) -> Parts:
    return load_run(finished)


def facts() -> Facts:
    """One customer who bought tea twice and bread once; the log's items have a category as an attribute."""
    log = log_of([[(START, PURCHASE, TEA), (START + DAY, PURCHASE, TEA), (START + 2 * DAY, PURCHASE, BREAD)]])
    items = Vocabulary(["", "", "t", "b", "n"], np.zeros(5, dtype=np.int64), {"category": ["", "", "tea", "bread", ""]})
    return Facts({"item": 5, "event": 5}, {"purchase": PURCHASE}, log, log.columns["timestamp"][-1:], vocabularies={"item": items})


def test_categories_are_those_most_bought_or_those_named() -> None:
    most = Categories.of(facts(), "category", 1, kinds=np.array([PURCHASE]))
    assert (most.names, most.field, most.place.tolist()) == (["tea"], "item", [-1, -1, 0, -1, -1])
    assert Categories.of(facts(), "category", 9, kinds=np.array([PURCHASE])).names == ["tea", "bread"]
    named = Categories.of(facts(), "category", ["bread", "tea"], kinds=np.array([PURCHASE]))
    assert named.place.tolist() == [-1, -1, 1, 0, -1]
    with pytest.raises(ConfigError, match="to name values of category, received 'breat'; did you mean bread"):
        Categories.of(facts(), "category", ["breat"], kinds=np.array([PURCHASE]))
    with pytest.raises(ConfigError, match=r"an attribute of its items \(category\), received aisle"):
        Categories.of(facts(), "aisle", 2, kinds=np.array([PURCHASE]))


def test_a_label_is_of_its_category_and_within_its_horizon() -> None:
    known = facts()
    asked = Categories.of(known, "category", ["tea", "bread"], kinds=np.array([PURCHASE]))
    intent = CategoryIntent(asked, kinds=np.array([PURCHASE]), horizon=2 * DAY, facts=known, dim=4, dropout=0.0)

    def labels(now: int, until: int) -> list[float]:
        return intent.labels(known.training, np.array([now]), np.array([0]), np.array([until]))[0].tolist()

    assert labels(START, START + 9 * DAY) == [1, 1]
    assert labels(START - DAY, START + 9 * DAY) == [1, 0], "bread comes after three days"
    assert labels(START + DAY, START + 9 * DAY) == [0, 1]
    assert labels(START, START + DAY) == [1, 0], "nothing is known after a day"


def test_what_was_bought_of_a_category_is_known_and_the_future_is_not(parts: Parts) -> None:
    intent = parts.model.objective(Intent)
    assert intent is not None
    assert intent.of_categories is not None
    names, log = intent.of_categories.categories.names, parts.store
    now = int(parts.split.test.now[0]) - 20 * DAY
    customers = np.flatnonzero(np.diff(log.offsets) <= parts.questions.max_events)  # of whom all is read
    later = np.stack([np.full(len(customers), moment) for moment in (now, now + 15 * DAY)], 1).ravel()
    with torch.inference_mode():
        once, twice = (
            parts.questions.ask(customers, moments, np.full(len(customers), size)) for moments, size in ((later[::2], 1), (later, 2))
        )
        alone, among = (intent.of_categories.own(parts.model.represent(batch)) for batch in (once, twice))
    torch.testing.assert_close(among[::2], alone)
    assert not torch.equal(among[1::2], alone)
    keys, events = log.vocabularies["category"].keys, log.vocabularies["event"].keys
    for place, position in enumerate(customers):
        rows = slice(int(log.offsets[position]), int(log.offsets[position + 1]))
        past = log.columns["timestamp"][rows] <= now
        bought = np.array([events[event] == "purchase" for event in log.columns["event"][rows]]) & past
        count = [(bought & (log.columns["category"][rows] == keys.index(name))).sum() for name in names]
        np.testing.assert_allclose(np.expm1(alone[place, :, -2].numpy()), count, atol=1e-3)


def test_each_category_is_judged_beside_baselines_of_its_own(finished: Path, parts: Parts) -> None:
    told = summary(finished)
    assert list(told["test"]["categories"]) == ["model", "rfm", "boosted_trees"]
    assert set(told["test"]["categories"]["model"]) == {"auroc", "average_precision", "brier", "calibration_error"}
    groups = told["groups"]["categories"]["category"]
    assert len(groups) == 2
    assert told["test"]["categories"]["rfm"]["auroc"] == pytest.approx(np.mean([of["rfm"] for of in groups.values()]))
    assert 0 < told["valid"]["intent"]["category_auroc"] <= 1
    assert "Of what they buy" in (finished / "report.html").read_text()
    written = pl.read_parquet(finished / "predictions.parquet")
    assert written["category_probability_model"].dtype == pl.Array(pl.Float64, 2)
    assert written["category_bought"].drop_nulls().to_numpy().mean(0) == pytest.approx([of["bought"] for of in groups.values()])


def test_a_caller_receives_torchs_answer_by_the_category_s_name(finished: Path, parts: Parts, tmp_path: Path) -> None:
    artifact = export(composed("export", [f"run={finished}", f"out={tmp_path / 'artifact'}"]))
    contract = read_contract(artifact)
    assert [output.served_as for output in contract.outputs] == ["purchase_probability", "category_probability"]
    assert set(contract.terms["purchase_categories"]) < set(KINDS)  # type: ignore[arg-type]
    predictor = Predictor(contract)
    assert prove(predictor, contract).max_abs_score_difference < 1e-4
    everybody, now = np.arange(parts.store.num_customers), int(parts.split.test.now[0])
    with torch.inference_mode():
        asked = parts.questions.ask(everybody, np.full(len(everybody), now), np.ones(len(everybody), dtype=np.int64))
        expected = parts.model(asked)["category_probability"].numpy()
    requests = [raw_events(parts, take(parts.store, np.array([position]))) for position in everybody]
    received = predictor.answer([predictor.encoder.history(events, now) for events in requests])["category_probability"]
    np.testing.assert_allclose(received, expected, atol=1e-4)
    assert expected.std(0).min() > 0
    config = (write_repository(artifact, tmp_path / "repository") / "config.pbtxt").read_text()
    (line,) = (line for line in config.splitlines() if 'key: "purchase_categories"' in line)
    word = json.loads(line.partition("string_value: ")[2].rstrip(" }"))
    answer = Answer({"category_probability": received[0]}, {"purchase_categories": json.loads(word)})
    assert list(answer.category_probabilities) == [contract.terms["purchase_categories"][k] for k in np.argsort(-received[0])]  # type: ignore[index]


def test_without_categories_nothing_is_different(small_store: Path, tmp_path: Path) -> None:
    intent = build(train_config(small_store, tmp_path), SequenceStore.open(small_store)).model.objective(Intent)
    assert intent is not None
    assert ([output.name for output in intent.outputs], list(intent.terms)) == (["purchase_probability"], ["purchase_horizon_days"])
    assert not [name for name in intent.state_dict() if "categor" in name]


def test_what_the_model_does_not_read_or_nobody_buys_is_refused(store: Path, small_store: Path, tmp_path: Path) -> None:
    unread = train_config(store, tmp_path / "out", *ASKED, "categories=[item,event]")
    with pytest.raises(ConfigError, match="expected the model to read category, of which"):
        run(unread)
    without = train_config(small_store, tmp_path / "out", "objective=[intent]", "objectives.intent.categories=2")
    with pytest.raises(ConfigError, match="to be a category field of this log or an attribute"):
        run(without)
    with pytest.raises(ConfigError, match="expected some customers to buy of category wine after the validation cutoff and some not"):
        run(train_config(store, tmp_path / "out", *ASKED, "objectives.intent.categories=[tea,wine]"))
    assert not (tmp_path / "out").exists()


def test_each_number_is_calibrated_by_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 2, generator=generator)
    came = (torch.rand(4000, 2, generator=generator) < torch.sigmoid(torch.tensor([2.0, 0.5]) * x + torch.tensor([0.0, -1.0]))).float()
    calibration = Calibration(2)
    calibration.fit(lambda given: torch.nn.functional.binary_cross_entropy_with_logits(given, came), x)
    torch.testing.assert_close(calibration.scale, torch.tensor([2.0, 0.5]), atol=0.15, rtol=0)
    torch.testing.assert_close(calibration.shift, torch.tensor([0.0, -1.0]), atol=0.15, rtol=0)
