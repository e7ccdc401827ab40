"""The table is what a loop over the log counts; what is blended stays a distribution; validation chooses how much."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from helpers_sequences import NUM_ITEMS, PURCHASE, START, VIEW, facts_of, log_of, one_each, questions_of, random_log, small_model
from torch import Tensor

from training.models.model import SequenceModel
from training.objectives import neighbours
from training.objectives.neighbours import Neighbours
from training.objectives.next_item import NextItem
from training.objectives.objective import Context
from training.sequences.history import History, step_starts
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
    table, wanted = Neighbours(KINDS, facts_of(log, LATER)), counted(log)
    assert wanted
    dense = torch.zeros(NUM_ITEMS, NUM_ITEMS).scatter_add(1, table.near, table.strength)
    for (a, b), strength in wanted.items():
        assert dense[a, b] == pytest.approx(strength, rel=1e-5)
    assert float(dense.sum()) == pytest.approx(sum(wanted.values()), rel=1e-5)
    torch.testing.assert_close(dense.sum(1), table.support)


def test_popular_neighbours_are_damped_and_only_the_strongest_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Neighbours(KINDS, facts_of(shop(), LATER))
    monkeypatch.setattr(neighbours, "KEPT", 3)
    cut = Neighbours(KINDS, facts_of(shop(), LATER))
    torch.testing.assert_close(cut.strength, whole.strength[:, :3])
    torch.testing.assert_close(cut.support, whole.support)


def asked(log: History) -> tuple[SequenceModel, Context, NextItem, dict[str, Tensor]]:
    model = small_model(log, repeat=False, neighbours=True).requires_grad_(False).eval()
    customers, now, ones = one_each(log, NOW)
    batch = questions_of(log, model).ask(customers, now, ones, np.full(log.num_customers, UNTIL))
    objective = model.objectives["next_item"]
    assert isinstance(objective, NextItem)
    return model, model.represent(batch), objective, dict(batch.labels["next_item"])


def test_what_is_blended_is_a_distribution() -> None:
    _, context, objective, _ = asked(shop())
    scores = objective.scores(context)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(len(scores)))
    assert objective.neighbours is not None
    objective.neighbours.favour.fill_(100.0)  # the model alone
    torch.testing.assert_close(objective.scores(context), objective._alone(context), atol=1e-4, rtol=1e-4)


def test_neighbours_are_those_of_the_latest_steps() -> None:
    """Somebody who took one item, and whose model counts for nothing, is answered with a row of the table."""
    log = shop()
    model = small_model(log, repeat=False, neighbours=True).requires_grad_(False).eval()
    objective = model.objectives["next_item"]
    assert isinstance(objective, NextItem)
    table = objective.neighbours
    assert table is not None
    table.favour.fill_(-100.0)
    source = int(table.support.argmax())
    one = log_of([[(START, PURCHASE, source)]])
    scores = objective.scores(model.represent(questions_of(one, model).ask(*one_each(one, NOW))))[0]
    row = torch.zeros(NUM_ITEMS).scatter_add(0, table.near[source], table.strength[source]) / (table.support[source] + neighbours.PRIOR)
    can_be = objective.candidate_bias.isfinite() & (row > 0.02)  # what the prior leaves to the model is spread thin
    assert can_be.any()
    rest = 1 - row.sum()
    assert ((scores.exp() - row)[can_be] >= -1e-6).all()
    assert ((scores.exp() - row)[can_be] <= rest + 1e-6).all()


def test_validation_chooses_how_much_they_count() -> None:
    """Where the answers lie in the table it is trusted; where the model has them it is not."""
    _, context, objective, labels = asked(shop())
    table = objective.neighbours
    assert table is not None
    by_favour = {}
    for favour in neighbours.FAVOURS:
        table.favour.fill_(favour)
        by_favour[favour] = np.nanmean(objective.judge(context, labels)["ndcg@10"])
    objective.calibrate([(context, labels)])
    assert by_favour[round(float(table.favour), 6)] == max(by_favour.values())
    assert len(set(by_favour.values())) > 1


def test_neighbours_are_not_learned() -> None:
    log = shop()
    model = small_model(log, repeat=False, neighbours=True)
    assert not any("neighbours" in name for name, _ in model.named_parameters())
    assert "objectives.next_item.neighbours.favour" in model.state_dict()


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
