"""Why a model says what it says of a customer: the steps of the history without which it would have said something else.

Each of the latest steps is left out in turn and the customer asked again (leave-one-out; Li, Monroe and Jurafsky, "Understanding Neural
Networks through Representation Erasure", 2016). The effect of a step is what the answer loses without it, in the answer's own unit. What
counts is that exactly this happens when the events are deleted from the log: nothing about the model is approximated.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from training.answers import ask
from training.build import Parts
from training.sequences.history import History, customer_of_event, offsets_of, step_starts, take
from training.sequences.split import date_of
from training.showcase import item_name

EVENTS_A_RUN = 20_000  # that the model reads at once
ITEMS_NAMED = 3
_ROW = "_row"  # no field of a log begins so
REASONS = pa.list_(pa.struct([("words", pa.string()), ("timestamp", pa.timestamp("us", "UTC")), ("effect", pa.float32())]))


def reasons(parts: Parts, customers: np.ndarray, now: int, said: np.ndarray, *, explained: str, most: int, tried: int) -> pa.Array:
    """The `most` steps that moved an answer most, the strongest first, of each customer: a column of REASONS, [n].

    customers: positions in the store [n]; said: what was answered [n]; explained: the name of that answer; tried: how many of the latest
    steps of each are left out.
    """
    history = History.at(take(parts.store, customers), now)
    steps = Steps.of(history, tried)
    effects = said[steps.owner] - _without(parts, history, steps, now, explained)
    by_owner = np.lexsort((-np.abs(effects), steps.owner))
    rows: list[list[dict[str, object]]] = [[] for _ in customers]
    for step in by_owner[steps.place < most].tolist():
        rows[steps.owner[step]].append(_reason(parts, history, steps, step, float(effects[step]), explained))
    return pa.array(rows, REASONS)


@dataclass(frozen=True)
class Steps:
    """The latest steps of each customer of a history. Each [S]: owner, a position, rising; place: how many steps of the same owner come
    before; first, end: where its events lie.
    """

    owner: np.ndarray
    place: np.ndarray
    first: np.ndarray
    end: np.ndarray

    @classmethod
    def of(cls, history: History, tried: int) -> "Steps":
        first = np.flatnonzero(step_starts(history))
        owner = customer_of_event(history.offsets)[first]
        ends_of_owner = np.cumsum(np.bincount(owner, minlength=history.num_customers))
        latest = np.arange(len(first)) >= ends_of_owner[owner] - tried
        kept = owner[latest]
        place = np.arange(len(kept)) - offsets_of(np.bincount(kept, minlength=history.num_customers))[kept]
        return cls(kept, place, first[latest], np.append(first[1:], history.offsets[-1])[latest])


def _without(parts: Parts, history: History, steps: Steps, now: int, explained: str) -> np.ndarray:
    """What is answered when each step is left out: [S]."""
    answers = np.zeros(len(steps.owner), dtype=np.float32)
    numbered = History(history.offsets, {**history.columns, _ROW: np.arange(history.offsets[-1])})
    for some in _runs(history.num_events[steps.owner]):
        copies = take(numbered, steps.owner[some])
        first, end = (np.repeat(bounds[some], copies.num_events) for bounds in (steps.first, steps.end))
        left = copies.where((copies.columns[_ROW] < first) | (copies.columns[_ROW] >= end))
        answers[some] = ask(parts, left, np.arange(len(some)), now).values[explained]
    return answers


def _runs(num_events: np.ndarray) -> Iterator[np.ndarray]:
    """Positions, in stretches that hold about EVENTS_A_RUN events."""
    run = np.cumsum(num_events) // EVENTS_A_RUN
    yield from np.split(np.arange(len(num_events)), np.flatnonzero(np.diff(run)) + 1)


def _reason(parts: Parts, history: History, steps: Steps, step: int, effect: float, explained: str) -> dict[str, object]:
    rows = slice(int(steps.first[step]), int(steps.end[step]))
    timestamp = int(history.columns["timestamp"][rows.start])
    what = _in_words(parts, history.columns["event"][rows], history.columns["item"][rows])
    moved = f"{'raises' if effect > 0 else 'lowers'} {explained} by {abs(effect):.3g}"
    return {"words": f"{what} on {date_of(timestamp)} {moved}", "timestamp": timestamp, "effect": effect}


def _in_words(parts: Parts, events: np.ndarray, items: np.ndarray) -> str:
    """ "view of tea and purchase of tea, milk, bread and 2 more"."""
    kinds = []
    for event in dict.fromkeys(events.tolist()):
        names = list(dict.fromkeys(item_name(parts, item) for item in items[events == event].tolist()))
        more = f" and {len(names) - ITEMS_NAMED} more" if len(names) > ITEMS_NAMED else ""
        of = f" of {', '.join(filter(None, names[:ITEMS_NAMED]))}" if any(names) else ""
        kinds.append(f"{parts.store.vocabularies['event'].keys[event] or 'unknown event'}{of}{more}")
    return " and ".join(kinds)
