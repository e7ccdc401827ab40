"""Logs with ties and gaps, a model small enough to ask in milliseconds, and the checks that nothing looks into the future.

`assert_blind_to_the_future` and `assert_labels_lie_in_the_window` take any function of a log: whoever adds a feature, an encoder, an
objective or a baseline hands it over and knows whether it leaks. tests/test_leaks.py also shows that both can fail.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from training.models.bsarec import BSARec
from training.models.encoder import Encoder
from training.models.facts import Facts
from training.models.features import Features
from training.models.gated import Gated
from training.models.gru4rec import GRU4Rec
from training.models.hstu import HSTU
from training.models.model import SequenceModel
from training.models.sasrec import SASRec
from training.objectives.intent import Intent
from training.objectives.next_item import NextItem
from training.sequences.batch import Batch
from training.sequences.history import History, Log, customer_of_event, offsets_of
from training.sequences.questions import Questions
from training.sequences.split import DAY
from training.sequences.vocabulary import Vocabulary

VIEW, PURCHASE, CAMPAIGN = 2, 3, 4
EVENT_NAMES = ["", "", "view", "purchase", "campaign"]
NUM_ITEMS, FIRST_ADVERT = 16, 13  # items from 13 on are adverts: never bought
START = 19_000 * DAY
FIELDS = ["item", "event", "timestamp", "price", "quantity"]

searched = settings(max_examples=80, deadline=None, derandomize=True, database=None)  # the same examples on every machine

Answers = Mapping[str, np.ndarray | Tensor]


def log_of(customers: list[list[tuple[int, int, int]]], *, seed: int = 0) -> History:
    """Customers as lists of (time µs, event, item); prices and quantities at random, some missing."""
    random = np.random.default_rng(seed)
    rows = [row for customer in customers for row in sorted(customer, key=lambda row: row[0])]
    time, event, item = (np.array(column, dtype=np.int64) for column in (zip(*rows, strict=True) if rows else ([], [], [])))
    return History(
        offsets_of(np.array([len(customer) for customer in customers], dtype=np.int64)),
        {
            "item": item.astype(np.int32),
            "event": event.astype(np.int32),
            "timestamp": time,
            "price": np.where(random.random(len(rows)) < 0.2, np.nan, random.uniform(1, 9, len(rows))).astype(np.float32),
            "quantity": np.where(random.random(len(rows)) < 0.2, np.nan, random.integers(1, 4, len(rows))).astype(np.float32),
        },
    )


def random_log(seed: int, *, num_customers: int = 12, most_steps: int = 9, days: float = 60) -> History:
    """Customers with baskets, views and campaigns at a few shared times of day; the fourth has no event at all, the fifth one."""
    random = np.random.default_rng(seed)
    num_steps = random.integers(2, most_steps + 1, num_customers)
    num_steps[3:5] = 0, 1
    customers: list[list[tuple[int, int, int]]] = []
    for steps in num_steps:
        times = START + np.sort(random.choice(int(days * 4), steps, replace=False)) * (DAY // 4)
        rows = [(int(time), *_event(random)) for time in times for _ in range(random.integers(1, 4))]
        customers.append(rows)
    return log_of(customers, seed=seed)


def _event(random: np.random.Generator) -> tuple[int, int]:
    kind = int(random.choice([VIEW, PURCHASE, PURCHASE, CAMPAIGN]))
    return kind, int(random.integers(FIRST_ADVERT, NUM_ITEMS) if kind == CAMPAIGN else random.integers(2, FIRST_ADVERT))


@st.composite
def logs(draw: st.DrawFn, *, most_customers: int = 4, most_events: int = 8, last_time: int = 6) -> History:
    """Logs of few customers on few instants, so that ties and empty customers are common."""
    row = st.tuples(st.integers(0, last_time), st.sampled_from([VIEW, PURCHASE]), st.integers(2, 5))
    return log_of(draw(st.lists(st.lists(row, max_size=most_events), min_size=1, max_size=most_customers)))


def rows_of(log: Log, customer: int) -> Iterator[tuple[int, int, int]]:
    """A customer's events as (time, event, item), one at a time: what naive loops are made of."""
    columns = log.columns
    for index in range(int(log.offsets[customer]), int(log.offsets[customer + 1])):
        yield int(columns["timestamp"][index]), int(columns["event"][index]), int(columns["item"][index])


def same_log(ours: Log, theirs: Log) -> bool:
    return np.array_equal(ours.offsets, theirs.offsets) and all(
        np.array_equal(ours.columns[field], theirs.columns[field], equal_nan=field in ("price", "quantity")) for field in theirs.columns
    )


def facts_of(
    log: Log, train_until: np.ndarray | int, *, counted: Sequence[str] = ("view", "campaign"), visited: Sequence[str] = ("view", "purchase")
) -> Facts:
    keys = {"item": ["", "", *(f"item {number}" for number in range(2, NUM_ITEMS))], "event": EVENT_NAMES}
    vocabularies = {field: Vocabulary(names, np.ones(len(names), dtype=np.int64)) for field, names in keys.items()}
    return Facts.of(log, vocabularies, np.broadcast_to(train_until, len(log.offsets) - 1), counted=counted, visited=visited)


def _without_heads(*, num_heads: int, **sizes: float) -> Encoder:
    return GRU4Rec(**sizes)  # type: ignore[arg-type]


ENCODERS: dict[str, Callable[..., Encoder]] = {
    "sasrec": SASRec,
    "sasrec with positions": partial(SASRec, num_positions=3),
    "hstu": partial(HSTU, usual_length=8),
    "bsarec": partial(BSARec, alpha=0.7, reach=4),
    "gated": partial(Gated, alpha=0.7, reach=4),
    "gru4rec": _without_heads,
}


def small_model(
    log: Log,
    *,
    train_until: int = START + 30 * DAY,
    dim: int = 8,
    dropout: float = 0.0,
    repeat: bool = True,
    encoder: str = "sasrec",
    knows_times: bool = True,
    **next_item: bool,
) -> SequenceModel:
    """The model of the demo, a few numbers wide, its weights far enough from their first values for every part to matter."""
    facts = replace(facts_of(log, train_until), knows_times=knows_times)
    features = Features(
        categories=["item", "event"],
        numbers=["price", "quantity"],
        rhythm_events=["purchase"],
        dim=dim,
        dropout=dropout,
        facts=facts,
    )
    objectives = {
        "next_item": NextItem(events=["purchase"], dim=dim, repeat=repeat, top_k=5, every=1, weight=1.0, facts=facts, **next_item),
        "intent": Intent(events=["purchase"], horizon_days=7, dim=dim, dropout=dropout, weight=1.0, facts=facts),
    }
    model = SequenceModel(features, ENCODERS[encoder](dim=dim, num_blocks=2, num_heads=2, dropout=dropout), objectives)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def questions_of(log: Log, model: SequenceModel | None = None, *, max_events: int = 1000) -> Questions:
    return Questions(log, fields=FIELDS, max_events=max_events, objectives=dict(model.objectives.items()) if model else {})


def one_each(log: Log, now: np.ndarray | int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every customer of a log asked once: the arguments of `Questions.ask`."""
    num_customers = len(log.offsets) - 1
    return np.arange(num_customers), np.broadcast_to(now, num_customers).astype(np.int64), np.ones(num_customers, dtype=np.int64)


def answers_to(model: SequenceModel, batch: Batch) -> dict[str, Tensor]:
    """All that a model has to say about a batch, before anything is cut to a top K."""
    with torch.inference_mode():
        context = model.represent(batch)
        objectives = model.objectives
        return {
            "representation": context.representation,
            "rhythm": model.features.rhythm(batch, context.grouping),
            "item_score": objectives["next_item"].scores(context),  # type: ignore[operator]
            "purchase_probability": objectives["intent"].predict(context)["purchase_probability"],
        }


def assert_same(ours: Answers, theirs: Answers, *, tolerance: float = 1e-5, what: str = "") -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        message = f"{name} differs: {what}"
        np.testing.assert_allclose(np.asarray(ours[name]), np.asarray(theirs[name]), rtol=tolerance, atol=tolerance, err_msg=message)


def assert_blind_to_the_future(answers_of: Callable[[History], Answers], log: History, now: np.ndarray) -> None:
    """Whatever happens to the rows after each customer's `now` (µs, int64 [C]), the answers stay the same."""
    expected = answers_of(log)
    for what, other in with_another_future(log, now):
        assert_same(answers_of(other), expected, what=what)


def assert_labels_lie_in_the_window(labels_of: Callable[[History], Answers], log: History, now: np.ndarray, until: np.ndarray) -> None:
    """Labels change neither with the rows after `until`, nor with what was bought up to `now` (both µs, int64 [C])."""
    expected = labels_of(log)
    for what, other in with_another_future(log, until):
        assert_same(labels_of(other), expected, what=what)
    for what, other in with_another_past(log, now):
        assert_same(labels_of(other), expected, what=what)


def with_another_future(log: History, now: np.ndarray) -> Iterator[tuple[str, History]]:
    """What was changed in the rows after `now`, and the log it makes. Rows up to `now` are the same in all."""
    random, owner = np.random.default_rng(0), customer_of_event(log.offsets)
    time = log.columns["timestamp"]
    later = time > now[owner]
    assert later.any(), "a log without a future can't show anything"
    yield "later rows removed", History.at(log, now)
    yield "later rows replaced", _replaced(log, later, random)
    yield "later rows brought forward", _by_time(log, np.where(later, now[owner] + 1 + (time - now[owner]) // 1000, time))
    yield "later rows put off", _by_time(log, np.where(later, time + 3 * DAY, time))
    yield "rows added right after now", _with_rows(log, now + 1, random)
    yield "rows added much later", _with_rows(log, np.maximum(now, time.max()) + 9 * DAY, random)


def with_another_past(log: History, now: np.ndarray) -> Iterator[tuple[str, History]]:
    """Rows up to `now` are at their times still, but of other events, items, prices."""
    earlier = log.columns["timestamp"] <= now[customer_of_event(log.offsets)]
    assert earlier.any(), "a log without a past can't show anything"
    yield "earlier rows replaced", _replaced(log, earlier, np.random.default_rng(0))


def shuffled_within_steps(log: History, *, seed: int = 0) -> History:
    """The same baskets, their events in another order."""
    random = np.random.default_rng(seed).random(len(log.columns["timestamp"]))
    order = np.lexsort((random, log.columns["timestamp"], customer_of_event(log.offsets)))
    return History(log.offsets, {field: values[order] for field, values in log.columns.items()})


def in_one_step_each(batch: Batch) -> Batch:
    """The batch with every event of a customer at the time of the first one."""
    first = batch.fields["timestamp"][batch.offsets[:-1][batch.offsets.diff() > 0]]
    return replace(batch, fields={**batch.fields, "timestamp": first.repeat_interleave(batch.offsets.diff()[batch.offsets.diff() > 0])})


def _replaced(log: History, where: np.ndarray, random: np.random.Generator) -> History:
    """Each row of `where` becomes another one: no item, event or number stays what it was."""
    size = len(where)
    item, event = log.columns["item"], log.columns["event"]
    columns = {
        **log.columns,
        "item": np.where(where, 2 + (item - 2 + random.integers(1, NUM_ITEMS - 2, size)) % (NUM_ITEMS - 2), item).astype(np.int32),
        "event": np.where(where, 2 + (event - 1) % 3, event).astype(np.int32),
        "price": np.where(where, random.uniform(50, 90, size), log.columns["price"]).astype(np.float32),
        "quantity": np.where(where, random.integers(5, 9, size), log.columns["quantity"]).astype(np.float32),
    }
    return History(log.offsets, columns)


def _by_time(log: History, time: np.ndarray) -> History:
    return _sorted(customer_of_event(log.offsets), {**log.columns, "timestamp": time}, len(log.offsets) - 1)


def _with_rows(log: History, time: np.ndarray, random: np.random.Generator) -> History:
    """Two purchases more for each customer at `time` [C]."""
    num_customers = len(log.offsets) - 1
    owner = np.repeat(np.arange(num_customers), 2)
    extra = {
        "item": random.integers(2, FIRST_ADVERT, len(owner)),
        "event": np.full(len(owner), PURCHASE),
        "timestamp": time[owner],
        "price": np.full(len(owner), 77.0),
        "quantity": np.full(len(owner), 7.0),
    }
    columns = {field: np.concatenate([values, extra[field].astype(values.dtype)]) for field, values in log.columns.items()}
    return _sorted(np.concatenate([customer_of_event(log.offsets), owner]), columns, num_customers)


def _sorted(owner: np.ndarray, columns: Mapping[str, np.ndarray], num_customers: int) -> History:
    order = np.lexsort((columns["timestamp"], owner))
    counts = np.bincount(owner, minlength=num_customers)
    return History(offsets_of(counts), {field: values[order] for field, values in columns.items()})
