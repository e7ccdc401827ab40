"""A few customers with names: their last events, what was predicted for them and what came."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from training.build import Parts
from training.evaluation.compared import Comparison
from training.objectives.intent import Intent
from training.objectives.next_item import NextItem
from training.sequences.future import Future
from training.sequences.history import History, keep_last, take

NUM_LAST_EVENTS = 12
NUM_PREDICTED = 10
MIN_EVENTS = 20


@dataclass(frozen=True)
class Shown:
    """One customer at the test moment. events: {field: raw values} up to it, as a caller of the server would send them.

    last_events, predicted and taken (what the next basket held) carry names for people.
    """

    customer: str
    now: int
    events: dict[str, list[Any]]
    last_events: list[dict[str, Any]]
    predicted: list[dict[str, Any]]
    taken: list[dict[str, Any]]
    purchase_probability: dict[str, float]
    bought: bool | None
    horizon_days: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def showcase(config: DictConfig, parts: Parts, compared: Mapping[str, Comparison]) -> list[Shown]:
    """Customers drawn by the seed alone from those with some history whom something followed: not the ones that flatter."""
    next_item, ranking, intent = parts.model.objective(NextItem), compared.get(NextItem.section), compared.get(Intent.section)
    if ranking is None or next_item is None:
        return []
    enough = ranking.customers[History.at(parts.store, parts.split.test.now).num_events[ranking.customers] >= MIN_EVENTS]
    pool = enough if len(enough) else ranking.customers
    chosen = np.random.default_rng(config.seed).choice(pool, min(config.showcase, len(pool)), replace=False)
    return [show(parts, int(position), next_item, intent) for position in chosen]


def show(parts: Parts, position: int, next_item: NextItem, intent: Comparison | None) -> Shown:
    """What is known and said of the customer at `position` at the test moment."""
    now = parts.split.test.now[position]
    history = keep_last(History.at(take(parts.store, np.array([position])), now), parts.questions.max_events)
    answers = _answers(parts, position, now)
    predicted = zip(answers["item_id"][0].tolist(), answers["item_score"][0].tolist(), strict=True)
    future = Future.after(
        parts.store, kinds=next_item.kinds, now=np.array([now]), owner=np.array([position]), until=parts.split.test.until[[position]]
    )
    (chances, bought), asked = _intent(intent, position), parts.model.objective(Intent)
    return Shown(
        customer=parts.store.customers[position],
        now=int(now),
        events=raw_events(parts, history),
        last_events=_last_events(parts, history),
        predicted=[{**_item(parts, item), "score": score} for item, score in list(predicted)[:NUM_PREDICTED]],
        taken=[_item(parts, int(item)) for item in future.items(whole_window=False)[0]],
        purchase_probability=chances,
        bought=bought,
        horizon_days=asked.horizon_days if asked else None,
    )


def raw_events(parts: Parts, history: History) -> dict[str, list[Any]]:
    """Events as a caller sends them: keys for ids, None for missing numbers."""
    return {field: _raw(parts, field, history.columns[field]) for field in parts.questions.fields}


def item_name(parts: Parts, item: int) -> str:
    """The item's name where the log has one, otherwise its key."""
    vocabulary = parts.store.vocabularies["item"]
    names: Sequence[str] = vocabulary.attributes.get("name", [])
    return (names[item] if item < len(names) else "") or vocabulary.keys[item]


def _intent(result: Comparison | None, position: int) -> tuple[dict[str, float], bool | None]:
    """Who gave which chance to the customer at `position`, and whether they bought; nothing where they were not asked."""
    if result is None or position not in result.customers:
        return {}, None
    place = int(np.flatnonzero(result.customers == position)[0])
    chances = {name: float(result.columns[f"purchase_probability_{name}"][place]) for name in result.figures}
    return chances, bool(result.columns["bought"][place])


def _item(parts: Parts, item: int) -> dict[str, Any]:
    return {"item": parts.store.vocabularies["item"].keys[item], "name": item_name(parts, item)}


def _answers(parts: Parts, position: int, now: int) -> dict[str, torch.Tensor]:
    batch = parts.questions.ask(np.array([position]), np.array([now]), np.array([1]))
    parts.model.eval()
    with torch.inference_mode():
        return parts.model(batch)


def _raw(parts: Parts, field: str, column: np.ndarray) -> list[Any]:
    if field in parts.store.vocabularies:
        keys = parts.store.vocabularies[field].keys
        return [keys[index] for index in column]
    if column.dtype == np.int64:
        return column.tolist()
    return [None if np.isnan(value) else float(value) for value in column]


def _last_events(parts: Parts, history: History) -> list[dict[str, Any]]:
    events = parts.store.vocabularies["event"].keys
    columns = {field: history.columns[field][-NUM_LAST_EVENTS:] for field in ("timestamp", "event", "item")}
    return [
        {"timestamp": int(time), "event": events[event], **_item(parts, int(item))}
        for time, event, item in zip(columns["timestamp"], columns["event"], columns["item"], strict=True)
    ]
