"""From customers and moments to a batch: the right rows, in the right shape, and to each objective only what it may know."""

import numpy as np
import torch
from helpers_sequences import FIELDS, START, one_each, random_log, rows_of

from training.sequences.batch import Batch
from training.sequences.history import History
from training.sequences.questions import Questions
from training.sequences.split import DAY

LOG = random_log(4)


class Notes:
    """An objective that writes down what it is told."""

    def labels(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> dict[str, np.ndarray]:
        self.known, self.owner, self.until = known, owner, until
        return {"now": now}


def questions(max_events: int = 1000, **objectives: Notes) -> Questions:
    return Questions(LOG, fields=FIELDS, max_events=max_events, objectives=objectives)


def rows_in(batch: Batch) -> list[list[tuple[int, int, int]]]:
    log = History(batch.offsets.numpy(), {field: values.numpy() for field, values in batch.fields.items()})
    return [list(rows_of(log, customer)) for customer in range(log.num_customers)]


def test_every_customer_once() -> None:
    now = START + 30 * DAY
    batch = questions().ask(*one_each(LOG, now))
    assert rows_in(batch) == [[row for row in rows_of(LOG, customer) if row[0] <= now] for customer in range(LOG.num_customers)]
    assert batch.now.tolist() == [now] * LOG.num_customers
    assert batch.question_offsets.tolist() == list(range(LOG.num_customers + 1))
    assert batch.labels == {}


def test_several_moments_share_the_history_before_the_last_of_them() -> None:
    customers, counts = np.array([7, 3, 0, 2]), np.array([2, 1, 0, 3])
    now = START + np.array([10, 20, 15, 5, 50, 40]) * DAY  # need not rise
    batch = questions().ask(customers, now, counts)
    latest = START + np.array([20, 15, -1000, 50]) * DAY
    expected = [[row for row in rows_of(LOG, customer) if row[0] <= moment] for customer, moment in zip(customers, latest, strict=True)]
    assert rows_in(batch) == expected
    assert expected[1] == expected[2] == []  # one has no event, one no question
    assert batch.question_offsets.tolist() == [0, 2, 3, 3, 6]


def test_types_that_embeddings_and_the_exported_graph_take() -> None:
    batch = questions().ask(*one_each(LOG, START + 30 * DAY))
    assert list(batch.fields) == FIELDS
    assert [values.dtype for values in batch.fields.values()] == [torch.int64] * 3 + [torch.float32] * 2
    assert {batch.now.dtype, batch.offsets.dtype, batch.question_offsets.dtype} == {torch.int64}
    assert batch.fields["price"].isnan().any()


def test_a_batch_keeps_the_latest_whole_steps() -> None:
    now = START + 90 * DAY
    for max_events in (1, 3, 6):
        batch = questions(max_events).ask(*one_each(LOG, now))
        for customer, rows in enumerate(rows_in(batch)):
            times = [time for time, *_ in rows_of(LOG, customer)]
            assert len(rows) <= max_events or len({row[0] for row in rows}) == 1
            assert rows == [row for row in rows_of(LOG, customer) if rows and row[0] >= rows[0][0]]  # no step is cut, none left out
            assert bool(rows) == bool(times)


def test_objectives_are_told_of_nothing_after_until() -> None:
    notes, customers = Notes(), np.array([1, 5, 2])
    now, until = START + np.array([5, 20, 30, 30]) * DAY, START + np.array([25, 40, 60]) * DAY
    batch = questions(2, notes=notes).ask(customers, now, np.array([1, 2, 1]), until)
    assert notes.owner.tolist() == [0, 1, 1, 2]
    assert notes.until.tolist() == until[[0, 1, 1, 2]].tolist()
    known = [[row for row in rows_of(LOG, customer) if row[0] <= end] for customer, end in zip(customers, until, strict=True)]
    assert [list(rows_of(notes.known, place)) for place in range(3)] == known  # all of it, however few events the model may see
    assert batch.labels["notes"]["now"].tolist() == now.tolist()


def test_a_batch_moves_whole() -> None:
    batch = questions(notes=Notes()).ask(*one_each(LOG, START + 30 * DAY), np.full(LOG.num_customers, START + 40 * DAY))
    moved = batch.to("meta")
    tensors = [*moved.fields.values(), moved.offsets, moved.now, moved.question_offsets, moved.labels["notes"]["now"]]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
