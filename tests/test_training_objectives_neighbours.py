"""The table is what a loop over the log counts; a customer's own cases are taken off it; what is blended stays a distribution."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from helpers_sequences import NUM_ITEMS, PURCHASE, START, VIEW, facts_of, one_each, questions_of, random_log, small_model
from torch import Tensor

from training.models.model import SequenceModel
from training.objectives import neighbours
from training.objectives.neighbours import Neighbours
from training.objectives.next_item import NextItem
from training.objectives.objective import Context
from training.sequences.history import History, step_starts, take
from training.sequences.split import DAY

KINDS = np.array([PURCHASE])
NOW, UNTIL, LATER = START + 25 * DAY, START + 45 * DAY, START + 1000 * DAY


def shop(num_customers: int = 8) -> History:
    log = random_log(num_customers)
    return log.where(np.isin(log.columns["event"], (VIEW, PURCHASE)))


def counted(log: History) -> dict[tuple[int, int], float]:
    """n(a, b) by the definition, pair by pair."""
    starts, items, events = step_starts(log), log.columns["item"], log.columns["event"]
    counts: dict[tuple[int, int], float] = defaultdict(float)
    for first, last in zip(log.offsets[:-1], log.offsets[1:], strict=True):
        step = np.cumsum(starts[first:last])
        for i in range(last - first):
            for j in range(last - first):
                distance = step[j] - step[i]
                a, b = items[first + i], items[first + j]
                if 0 < abs(distance) <= neighbours.REACH and events[first + j] in KINDS and a > 1 and b > 1:
                    counts[int(a), int(b)] += (1.0 if distance > 0 else neighbours.BACKWARDS) / abs(distance)
    return counts


def test_the_table_is_what_a_loop_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "DAMPING", 0.0)
    log = shop()
    table, wanted = Neighbours(4, KINDS, facts_of(log, LATER)), counted(log)
    assert wanted
    dense = torch.zeros(NUM_ITEMS, NUM_ITEMS).scatter_add(1, table.near, table.strength)
    for (a, b), strength in wanted.items():
        assert dense[a, b] == pytest.approx(strength, rel=1e-5)
    assert float(dense.sum()) == pytest.approx(sum(wanted.values()), rel=1e-5)
    torch.testing.assert_close(dense.sum(1), table.support)


def test_popular_neighbours_are_damped_and_only_the_strongest_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Neighbours(4, KINDS, facts_of(shop(), LATER))
    monkeypatch.setattr(neighbours, "KEPT", 3)
    cut = Neighbours(4, KINDS, facts_of(shop(), LATER))
    torch.testing.assert_close(cut.strength, whole.strength[:, :3])
    torch.testing.assert_close(cut.support, whole.support)


def test_own_cases_are_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is blended for a customer in training is what a table would say that was made without that customer."""
    monkeypatch.setattr(neighbours, "DAMPING", 0.0)  # counts of items are not corrected
    log, mine = shop(), 3
    others = log.where(np.repeat(np.arange(log.num_customers), log.num_events) != mine)
    with_me, without_me = (Neighbours(8, KINDS, facts_of(training, LATER)) for training in (log, others))
    model = small_model(log)
    customers, now, ones = np.array([mine]), np.array([NOW]), np.array([1])
    context = model.represent(questions_of(log, model).ask(customers, now, ones))
    items = torch.arange(2, NUM_ITEMS)
    log_p = torch.full((len(items),), 1 / len(items)).log()
    offsets = torch.tensor([0, len(items)])
    own = {name: torch.from_numpy(values) for name, values in with_me.own_cases(take(log, customers)).items()}
    torch.testing.assert_close(
        with_me.blended(log_p, context, items, offsets, own), without_me.blended(log_p, context, items, offsets), atol=1e-4, rtol=1e-3
    )


def asked(log: History) -> tuple[SequenceModel, Context, NextItem, dict[str, Tensor]]:
    model = small_model(log, repeat=False, neighbours=True).requires_grad_(False).eval()
    customers, now, ones = one_each(log, NOW)
    batch = questions_of(log, model).ask(customers, now, ones, np.full(log.num_customers, UNTIL))
    objective = model.objectives["next_item"]
    assert isinstance(objective, NextItem)
    return model, model.represent(batch), objective, dict(batch.labels["next_item"])


def test_what_is_learned_is_what_is_answered() -> None:
    _, context, objective, labels = asked(shop())
    scores = objective.scores(context)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(len(scores)))
    summed, count = objective.loss(context, labels)
    counts = labels["offsets"].diff()
    question = torch.arange(len(counts)).repeat_interleave(counts)
    losses = -scores[question, labels["items"]] * counts.repeat_interleave(counts) ** -0.5
    torch.testing.assert_close(summed, losses.sum())
    assert count > 0


def test_the_model_learns_beside_its_neighbours() -> None:
    """Encoder and items get the gradient that they would get alone; how to blend has one of its own."""
    log = shop()
    alone, beside = (small_model(log, repeat=False, neighbours=wanted).train() for wanted in (False, True))
    beside.load_state_dict(alone.state_dict(), strict=False)
    alone_gradients, gradients = gradients_of(alone, log), gradients_of(beside, log)
    for name, gradient in alone_gradients.items():
        torch.testing.assert_close(gradient, gradients[name])
    assert gradients["objectives.next_item.neighbours.of_lag"].abs().sum() > 0


def gradients_of(model: SequenceModel, log: History) -> dict[str, Tensor]:
    customers, now, ones = one_each(log, NOW)
    batch = questions_of(log, model).ask(customers, now, ones, np.full(log.num_customers, UNTIL))
    summed, _ = model.objectives["next_item"].loss(model.represent(batch), batch.labels["next_item"])
    summed.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_what_was_had_is_left_out() -> None:
    log = shop()
    model = small_model(log, repeat=False, leave_out_seen=True).requires_grad_(False).eval()
    customers, now, ones = one_each(log, NOW)
    scores = model.objectives["next_item"].scores(model.represent(questions_of(log, model).ask(customers, now, ones)))
    known = History.at(log, NOW)
    for customer in range(log.num_customers):
        had = known.columns["item"][known.offsets[customer] : known.offsets[customer + 1]]
        assert scores[customer, had].isneginf().all()
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(len(scores)))
