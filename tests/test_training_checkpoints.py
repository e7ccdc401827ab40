"""A model of yesterday on the store of today: customers and items that are new are served without training anew."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_training import composed, make_run, shop_rows, write_log

from training import export as exporting
from training.build import Parts
from training.errors import StoreError
from training.export import export, load_run
from training.golden import answer
from training.preprocess import preprocess
from training.sequences.store import SequenceStore
from training.sequences.vocabulary import UNKNOWN

NEW = [("zoe", "purchase"), ("zoe", "view"), ("c003", "purchase")]


def typed(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The rows with a category and a brand of each item."""
    return [{**row, "category": f"shelf{int(str(row['item'])[1:]) % 4}", "brand": f"brand{int(str(row['item'])[1:]) % 3}"} for row in rows]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a store to which a day was added afterwards."""
    folder = tmp_path_factory.mktemp("shop")
    log = ["data=events", f"data.path={write_log(folder / 'log.csv', typed(shop_rows(num_days=90)))}", f"out={folder / 'store'}"]
    run = make_run(preprocess(composed("preprocess", log)), folder / "run", "categories=[item,event,category,brand]")
    row = {"timestamp": "2024-03-31T10:00:00", "price": 2.5, "quantity": 1, "category": "shelf1", "brand": "brand2"}
    day = [{**row, "customer": customer, "event": event, "item": "just out"} for customer, event in NEW]
    preprocess(composed("preprocess", [*log, f"append={write_log(folder / 'day.csv', day)}"]))
    return run


@pytest.fixture(scope="module")
def parts(run: Path) -> Parts:
    return load_run(run)


def test_new_events_are_there_and_new_items_unknown_but_typed(parts: Parts) -> None:
    assert parts.store.num_customers == 49
    zoe = slice(*parts.store.offsets[-2:])
    assert parts.store.customers[-1] == "zoe"
    assert parts.store.columns["item"][zoe].tolist() == [UNKNOWN, UNKNOWN]
    for field, key in (("category", "shelf1"), ("brand", "brand2")):
        vocabulary = parts.store.vocabularies[field]
        assert [vocabulary.keys[place] for place in parts.store.columns[field][zoe]] == [key, key]
    assert SequenceStore.open(parts.store.path).vocabularies["item"].size == parts.store.vocabularies["item"].size + 1


def test_a_new_customer_gets_an_answer(parts: Parts) -> None:
    with torch.inference_mode():
        answers = parts.model(parts.questions.ask(np.array([48]), parts.store.columns["timestamp"][-1:] + 1, np.array([1])))
    assert answers["item_id"].max() < parts.store.vocabularies["item"].size
    assert 0 < float(answers["purchase_probability"]) < 1


@pytest.mark.parametrize("field", ["category", "brand"])
def test_the_answer_hangs_on_what_is_known_of_an_unknown_item(parts: Parts, field: str) -> None:
    def asked(key: str) -> list[float]:
        events: dict[str, Any] = {
            "item": ["just out"],
            "event": ["view"],
            "category": ["shelf1"],
            "brand": ["brand2"],
            "timestamp": [10**15],
        }
        events |= {"price": [2.5], "quantity": [1.0]} | {field: [key]}
        scores: list[float] = answer(parts, events, 10**15 + 1)["item_score"]
        return scores

    assert asked(f"{'shelf' if field == 'category' else field}0") != asked(f"{'shelf' if field == 'category' else field}1")


def test_the_artifact_has_the_ids_that_the_model_knows(run: Path, parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "write_graph", lambda _parts, path: path.write_text("graph"))
    artifact = export(composed("export", [f"run={run}", f"out={tmp_path / 'artifact'}"]))
    sizes = {name: entry["size"] for name, entry in json.loads((artifact / "contract.json").read_text())["vocabularies"].items()}
    assert sizes == {name: vocabulary.size for name, vocabulary in parts.store.vocabularies.items()}


def test_a_store_of_another_log_is_still_refused(run: Path, parts: Parts) -> None:
    config = composed(
        "preprocess", ["data=events", f"data.path={parts.store.path.parent / 'day.csv'}", f"out={parts.store.path}", "force=true"]
    )
    preprocess(config)
    with pytest.raises(StoreError, match="found another log in it"):
        load_run(run)
