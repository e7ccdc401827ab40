"""An item is known by what is said of it: what is hashed, what is learned of it, and what that does for items that are new."""

import numpy as np
import pytest
import torch
from helpers_sequences import EVENT_NAMES, PURCHASE, START, facts_of, log_of, questions_of
from torch import Tensor

from training.errors import ConfigError
from training.models.facts import Facts
from training.models.features import Features
from training.models.item_tower import ItemTower, codes_of
from training.models.items import Items
from training.models.model import SequenceModel
from training.models.sasrec import SASRec
from training.objectives.next_item import NextItem
from training.optimiser import AdamWByRow
from training.sequences.history import History
from training.sequences.split import DAY
from training.sequences.vocabulary import Vocabulary

NUM_ITEMS = 12
NEW = [10, 11]  # sold only after training
COLOURS = ["", "", *("red" if item % 2 else "blue" for item in range(2, NUM_ITEMS))]


def colourful() -> History:
    """Half of the customers take red items alone, the others blue ones; the last purchase is a new item of that colour."""
    customers = []
    for customer in range(40):
        items = [2 + (customer * 3 + 2 * day) % 8 // 2 * 2 + customer % 2 for day in range(6)]
        customers.append([(START + day * DAY, PURCHASE, item) for day, item in enumerate([*items, NEW[customer % 2]])])
    return log_of(customers)


def facts(item_tower: bool | list[str] = True, log: History | None = None) -> Facts:
    items = Vocabulary(["", "", *map(str, range(2, NUM_ITEMS))], np.ones(NUM_ITEMS, dtype=np.int64), {"colour": COLOURS})
    events = Vocabulary(EVENT_NAMES, np.ones(len(EVENT_NAMES), dtype=np.int64))
    log = log or colourful()
    until = np.full(log.num_customers, START + 5 * DAY)
    return Facts.of(log, {"item": items, "event": events}, until, item_tower=item_tower)


def model_of(given: Facts, *, loss: str = "full") -> SequenceModel:
    torch.manual_seed(0)
    features = Features(
        categories=["item", "event"],
        numbers=[],
        rhythm_events=["purchase"],
        dim=16,
        dropout=0.0,
        facts=given,
        sparse_items=loss != "full",
    )
    objective = NextItem(
        events=["purchase"],
        dim=16,
        repeat=False,
        top_k=3,
        every=1,
        weight=1.0,
        loss=loss,
        num_negatives=32,
        facts=given,  # type: ignore[arg-type]
    )
    return SequenceModel(features, SASRec(dim=16, num_blocks=1, num_heads=2, dropout=0.0), {"next_item": objective})


def test_texts_become_themselves_and_their_words() -> None:
    codes = codes_of(["", "Red wine", "red", "White wine, dry"])
    words = [set(row[row > 0].tolist()) for row in codes]
    assert [len(row) for row in words] == [0, 3, 1, 4]
    assert words[2] < words[1]
    assert len(words[1] & words[3]) == 1
    assert codes_of(["", "", ""]).tolist() == [[0], [0], [0]]


def test_numbers_become_buckets_of_about_as_many_items() -> None:
    prices = np.random.default_rng(0).lognormal(size=320)
    codes = codes_of(["", *map(str, prices)])[:, 0]
    assert codes[0] == 0
    assert np.bincount(codes[1:])[1:].tolist() == [20] * 16
    assert (np.diff(codes[1:][np.argsort(prices)]) >= 0).all()


def test_an_item_is_the_mean_of_its_words_of_each_field() -> None:
    tower = ItemTower({"name": ["", "a b", "c"], "size": ["", "7", "3"]}, 4)
    name, size = tower.tables["name"].weight, tower.tables["size"].weight
    codes = codes_of(["", "a b", "c"])
    expected = [torch.zeros(4), name[codes[1]].mean(0) + size[tower.codes_size[1, 0]], name[codes[2, 0]] + size[tower.codes_size[2, 0]]]
    torch.testing.assert_close(tower(), torch.stack(expected))
    torch.testing.assert_close(tower(torch.tensor([2, 1])), tower()[[2, 1]])


def test_some_items_and_all_items_are_the_same_vectors() -> None:
    items = Items(NUM_ITEMS, 4)
    items.tower = ItemTower({"colour": COLOURS}, 4)
    items.eval()
    torch.testing.assert_close(items(torch.tensor([[5, 2]])), items.table[[5, 2]][None])


def test_in_training_some_items_go_by_what_is_said_alone() -> None:
    torch.manual_seed(0)
    items = Items(1000, 4)
    items.tower = ItemTower({"colour": ["x"] * 1000}, 4)
    alone = (items.table == items.tower()).all(1)
    assert 60 < alone.sum() < 140


def test_new_items_are_those_that_training_never_saw() -> None:
    assert np.flatnonzero(facts().new_items()).tolist() == NEW
    assert not facts(item_tower=False).new_items().any()
    model = model_of(facts())
    assert torch.nonzero((model.features.items.weight == 0).all(1))[:, 0].tolist() == NEW
    offered = model.objectives["next_item"].candidate_bias.isfinite()
    assert torch.nonzero(offered)[:, 0].tolist() == list(range(2, NUM_ITEMS))
    offered = model_of(facts(item_tower=False)).objectives["next_item"].candidate_bias.isfinite()
    assert torch.nonzero(offered)[:, 0].tolist() == list(range(2, NEW[0]))


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_new_items_of_the_right_kind_are_found(loss: str) -> None:
    """Of two items that nobody has taken yet the customer's colour ranks first; without attributes neither is ranked at all."""
    log = colourful()
    evidence = {item_tower: judged(model_of(facts(item_tower=item_tower), loss=loss), log) for item_tower in (True, False)}
    assert not [metric for metric in evidence[False] if metric.startswith("new_items_")]
    assert evidence[False]["mrr"].max() == 0
    np.testing.assert_array_equal(evidence[True]["new_items_mrr"], evidence[True]["mrr"])  # all that followed was new
    assert evidence[True]["ahead"].mean() > 0.9


def judged(model: SequenceModel, log: History) -> dict[str, np.ndarray]:
    """What is found on the last day after a short training on the days before; `ahead`: the new item of the colour before the other one."""
    questions = questions_of(log, model)
    everybody, end = np.arange(log.num_customers), np.full(log.num_customers, START + 5 * DAY)
    moments = START + np.tile(np.arange(5), len(everybody)) * DAY
    batch, learner = questions.ask(everybody, moments, np.full(len(everybody), 5), end), AdamWByRow(model.parameters(), lr=0.02)
    for _ in range(100):
        learner.zero_grad()
        summed, count = model.objectives["next_item"].loss(model.represent(batch), batch.labels["next_item"])
        (summed / count).backward()
        learner.step()
    model.eval()
    batch = questions.ask(everybody, end, np.ones(len(everybody), dtype=np.int64), end + DAY)
    with torch.inference_mode():
        context = model.represent(batch)
        scores: Tensor = model.objectives["next_item"].scores(context)  # type: ignore[operator]
        own, other = (scores[everybody, [NEW[(customer + shift) % 2] for customer in everybody]] for shift in (0, 1))
        return {**model.objectives["next_item"].judge(context, batch.labels["next_item"]), "ahead": (own > other).numpy()}


def test_attributes_that_no_item_has_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected item_tower to name attributes of this log's items \(colour\), received brand"):
        facts(["brand"])
    log = colourful()
    with pytest.raises(ConfigError, match=r"items \(none\), received true"):
        Facts.of(log, {"item": Vocabulary(["", ""], np.zeros(2)), "event": Vocabulary(EVENT_NAMES, np.zeros(5))}, START, item_tower=True)  # type: ignore[arg-type]
    assert not facts_of(log, START).said
