"""Rows by themselves learn what whole tables learn, and the others lie still."""

import copy

import pytest
import torch
from torch import nn

from training.optimiser import AdamWByRow, clip_gradients

SETTINGS = {"lr": 0.1, "weight_decay": 0.2, "betas": (0.8, 0.9), "eps": 1e-6}


def trained(*, sparse: bool, optimiser: type[torch.optim.AdamW], ids: list[int], steps: int = 4) -> torch.Tensor:
    torch.manual_seed(0)
    table = nn.Embedding(6, 3, sparse=sparse)
    learner = optimiser(table.parameters(), **SETTINGS)
    for _ in range(steps):
        learner.zero_grad()
        (table(torch.tensor(ids)) - 1).pow(3).sum().backward()
        learner.step()
    return table.weight.detach()


def test_dense_gradients_go_the_way_of_adamw() -> None:
    ours, theirs = (trained(sparse=False, optimiser=kind, ids=[1, 1, 4]) for kind in (AdamWByRow, torch.optim.AdamW))
    assert ours.equal(theirs)


def test_rows_that_are_always_touched_learn_what_adamw_would_teach_them() -> None:
    ids = [0, 1, 2, 3, 4, 5, 1, 1]
    ours, theirs = trained(sparse=True, optimiser=AdamWByRow, ids=ids), trained(sparse=False, optimiser=torch.optim.AdamW, ids=ids)
    torch.testing.assert_close(ours, theirs)


def test_rows_that_are_not_touched_stay_as_they_are() -> None:
    before, after = (trained(sparse=True, optimiser=AdamWByRow, ids=[1, 4, 4], steps=steps) for steps in (0, 3))
    assert torch.nonzero((before != after).any(1))[:, 0].tolist() == [1, 4]


def test_what_is_learned_survives_a_checkpoint() -> None:
    def pair() -> tuple[nn.Embedding, AdamWByRow]:
        torch.manual_seed(0)
        table = nn.Embedding(6, 3, sparse=True)
        return table, AdamWByRow(table.parameters(), **SETTINGS)

    def step(table: nn.Embedding, learner: AdamWByRow) -> None:
        learner.zero_grad()
        table(torch.tensor([1, 2])).pow(2).sum().backward()
        learner.step()

    (table, learner), (other, resumed) = pair(), pair()
    step(table, learner)
    other.load_state_dict(table.state_dict())
    resumed.load_state_dict(copy.deepcopy(learner.state_dict()))  # else both would count the same steps
    for one in ((table, learner), (other, resumed)):
        step(*one)
    assert table.weight.equal(other.weight)


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_gradients_are_shortened_together(max_norm: float) -> None:
    def gradients(*, sparse: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        table, layer = nn.Embedding(6, 3, sparse=sparse), nn.Linear(3, 2)
        layer(table(torch.tensor([1, 1, 4]))).pow(2).sum().backward()
        parameters = [*table.parameters(), *layer.parameters()]
        if sparse:
            clip_gradients(parameters, max_norm=max_norm)
        else:
            nn.utils.clip_grad_norm_(parameters, max_norm)
        return [parameter.grad.to_dense() for parameter in parameters if parameter.grad is not None]

    for ours, theirs in zip(gradients(sparse=True), gradients(sparse=False), strict=True):
        torch.testing.assert_close(ours, theirs)
