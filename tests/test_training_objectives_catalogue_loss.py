"""Every way to learn from a catalogue beside its plain formula, gradients too; what is drawn is drawn as often as is said."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from helpers_sequences import NUM_ITEMS, PURCHASE, START, facts_of, log_of, questions_of, random_log
from torch import Tensor
from torch.nn import functional as F

from training.errors import ConfigError
from training.models.items import Items
from training.objectives import next_item
from training.objectives.catalogue_loss import Negatives, power_of
from training.objectives.next_item import NextItem
from training.objectives.objective import Context
from training.sequences.datamodule import TrainingBatches
from training.sequences.moments import MomentAfterEachStep
from training.sequences.split import DAY, leave_one_out

LOG = random_log(3, num_customers=8)
UNTIL = START + 60 * DAY
DIM = 4


class Asked:
    """An objective, what it is asked, and what came: baskets of one to three items, and none."""

    def __init__(self, *, repeat: bool = False, **settings: Any) -> None:
        torch.manual_seed(0)
        facts = facts_of(LOG, UNTIL)
        self.objective = NextItem(
            events=["purchase"], dim=DIM, repeat=repeat, top_k=3, every=1, weight=1.0, facts=facts, num_negatives=6, **settings
        )
        items = Items(NUM_ITEMS, DIM, sparse=self.objective.sees_a_sample)
        customers, now = np.arange(8), START + np.tile([10, 30], 8) * DAY
        questions = questions_of(LOG)
        questions.objectives = {"next_item": self.objective}
        batch = questions.ask(customers, now, np.full(8, 2), np.full(8, UNTIL))
        x = torch.randn(16, DIM, requires_grad=True)
        self.context = Context(batch, None, torch.zeros(16, 1), x, items)  # type: ignore[arg-type]
        self.labels: Mapping[str, Tensor] = batch.labels["next_item"]
        self.learned = [x, items.weight, *self.objective.parameters()]
        with torch.no_grad():
            for parameter in self.objective.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)

    @property
    def loss(self) -> Tensor:
        return self.objective.loss(self.context, self.labels)[0]

    @property
    def targets(self) -> list[tuple[int, int, float]]:
        """Question, item and weight of each."""
        offsets, items = self.labels["offsets"].tolist(), self.labels["items"].tolist()
        return [
            (question, item, (stop - start) ** -0.5)
            for question, (start, stop) in enumerate(pairwise(offsets))
            for item in items[start:stop]
        ]

    def logits(self) -> Tensor:
        """Of exploring, [Q, num_items]."""
        objective, items = self.objective, self.context.items.weight
        items = items / items.norm(dim=1, keepdim=True) if objective.normalise else items
        x = objective.question(self.context.representation) / objective.temperature
        return x @ items.T + objective.popularity + objective.candidate_bias

    def copies(self) -> list[tuple[int, int, Tensor]]:
        """Question, item and logit of each event that may be copied."""
        if self.objective.repeat is None:
            return []
        item = self.context.batch.fields["item"].tolist()
        pairs = zip(*self.objective.repeat(self.context), strict=True)
        return [(int(question), item[int(event)], logit) for question, event, logit in pairs]

    def odds(self, question: int, item: int, explored: Tensor) -> tuple[Tensor, Tensor]:
        """e to the logits of an item by both ways, and of all there is: `explored` [N], and what may be copied."""
        copied = [(other, logit.exp()) for at, other, logit in self.copies() if at == question]
        own = sum([self.logits()[question, item].exp(), *(value for other, value in copied if other == item)])
        return own, sum([explored.sum(), *(value for _, value in copied)])  # type: ignore[return-value]

    def gradients(self, loss: Tensor) -> list[Tensor]:
        given = torch.autograd.grad(loss, self.learned, allow_unused=True, materialize_grads=False)
        shapes = zip(given, self.learned, strict=True)
        return [torch.zeros_like(learned) if one is None else one.to_dense() if one.is_sparse else one for one, learned in shapes]


def assert_same(asked: Asked, naive: Tensor) -> None:
    loss = asked.loss
    torch.testing.assert_close(loss, naive)
    for ours, theirs in zip(asked.gradients(loss), asked.gradients(naive), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_the_whole_catalogue(temperature: float, normalise: bool, label_smoothing: float) -> None:
    asked = Asked(temperature=temperature, normalise=normalise, label_smoothing=label_smoothing)
    candidates = asked.objective.candidate_bias.isfinite().nonzero()[:, 0]
    logits, place = asked.logits()[:, candidates], {item: place for place, item in enumerate(candidates.tolist())}
    naive = [
        weight * F.cross_entropy(logits[question], torch.tensor(place[item]), label_smoothing=label_smoothing)
        for question, item, weight in asked.targets
    ]
    assert_same(asked, torch.stack(naive).sum())
    asked.objective.eval()
    plain = [weight * F.cross_entropy(logits[question], torch.tensor(place[item])) for question, item, weight in asked.targets]
    torch.testing.assert_close(asked.loss, torch.stack(plain).sum())  # validation is not smoothed


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_the_whole_catalogue_beside_what_may_be_copied(label_smoothing: float) -> None:
    """The share that asks for all items alike asks how likely they are to be explored."""
    asked = Asked(repeat=True, temperature=0.5, normalise=True, label_smoothing=label_smoothing)
    logits, naive = asked.logits()[:, asked.objective.candidate_bias.isfinite()], []
    for question, item, weight in asked.targets:
        own, total = asked.odds(question, item, logits[question].exp())
        taken, all_alike = total.log() - own.log(), total.log() - logits[question].mean()
        naive.append(weight * ((1 - label_smoothing) * taken + label_smoothing * all_alike))
    assert_same(asked, torch.stack(naive).sum())


def drawn(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """The negatives of one draw, which the loss will then be given, with their chances."""
    negatives = asked.objective.negatives
    assert negatives is not None
    ids, log_q = negatives(torch.tensor([item for _, item, _ in asked.targets]))
    monkeypatch.setattr(negatives, "forward", lambda _targets: (ids, log_q))
    return list(zip(ids.tolist(), log_q.exp().tolist(), strict=True))


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("negatives", ["uniform", "popularity", "in_batch"])
def test_a_sample_of_the_catalogue(negatives: str, repeat: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(loss="sampled", negatives=negatives, repeat=repeat, temperature=0.5, normalise=True)
    draws, logits, naive = drawn(asked, monkeypatch), asked.logits(), []
    for question, item, weight in asked.targets:
        others = [logits[question, other].exp() / (len(draws) * chance) for other, chance in draws if other != item]
        own, total = asked.odds(question, item, torch.stack([logits[question, item].exp(), *others]))
        naive.append(weight * (total / own).log())
    assert_same(asked, torch.stack(naive).sum())


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.5, "normalise": True}], ids=["", "temperature and length one"])
@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_gbce(calibration: float, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(loss="gbce", calibration=calibration, **settings)
    draws, logits, naive = drawn(asked, monkeypatch), asked.logits(), []
    num_items = int(asked.objective.candidate_bias.isfinite().sum())
    share = 6 / (num_items - 1)
    power = share * (calibration * (1 - 1 / share) + 1 / share)
    for question, item, weight in asked.targets:
        against = [(1 - logits[question, other].sigmoid()).log() for other, _ in draws if other != item]
        naive.append(-weight * sum([(logits[question, item].sigmoid() ** power).log(), *against]) / 7)
    assert_same(asked, torch.stack(naive).sum())


def test_the_power_of_gbce_runs_from_one_to_the_share_that_is_drawn() -> None:
    assert power_of(10, 101, calibration=0.0) == pytest.approx(1.0)
    assert power_of(10, 101, calibration=1.0) == pytest.approx(0.1)
    assert power_of(500, 101, calibration=0.5) == pytest.approx(1.0)


CANDIDATES = torch.tensor([False, False, True, True, False, True, True])
COUNTS = torch.tensor([0, 9, 1, 5, 7, 10, 4])


@pytest.mark.parametrize(("draws", "chances"), [("uniform", [0.25, 0.25, 0.25, 0.25]), ("popularity", [0.05, 0.25, 0.5, 0.2])])
def test_items_are_drawn_as_often_as_is_said(draws: Any, chances: list[float]) -> None:
    torch.manual_seed(0)
    ids, log_q = Negatives(draws, 40_000, candidates=CANDIDATES, counts=COUNTS)(torch.empty(0, dtype=torch.int64))
    said = dict(zip([2, 3, 5, 6], chances, strict=True))
    assert set(ids.tolist()) == set(said)
    for item, chance in said.items():
        assert (ids == item).double().mean().item() == pytest.approx(chance, abs=0.01)
        torch.testing.assert_close(log_q[ids == item].exp().unique(), torch.tensor([chance]))


def test_what_a_batch_took_is_offered_as_often_as_is_said() -> None:
    """Over one epoch, in which every step but a customer's first is asked for once."""
    random = np.random.default_rng(0)
    items = 2 + np.minimum(random.geometric(0.4, (60, 12)), 9)
    log = log_of([[(START + day * DAY, PURCHASE, int(item)) for day, item in enumerate(walk)] for walk in items])
    split, questions = leave_one_out(log), questions_of(log)
    sampled = {"loss": "sampled", "negatives": "in_batch", "repeat": False, "top_k": 3, "every": 1, "weight": 1.0}
    objective = NextItem(events=["purchase"], dim=DIM, facts=facts_of(log, split.train_until), **sampled)
    questions.objectives = {"next_item": objective}
    batches = TrainingBatches(questions, split, MomentAfterEachStep(), customers_per_batch=20, seed=0, epoch=0, rank=0, num_ranks=1)
    offered = [objective.negatives(batches[index].labels["next_item"]["items"]) for index in range(len(batches))]
    ids, log_q = (torch.cat(parts) for parts in zip(*offered, strict=True))
    said = dict(zip(ids.tolist(), log_q.exp().tolist(), strict=True))
    assert sum(said.values()) == pytest.approx(1)
    assert max(said.values()) > 20 * min(said.values())
    for item, chance in said.items():
        assert (ids == item).double().mean().item() == pytest.approx(chance, abs=0.02)


@pytest.mark.parametrize("negatives", ["uniform", "popularity"])
def test_on_average_a_sample_says_what_the_catalogue_says(negatives: str) -> None:
    """Of a target with next to no probability, whose loss is the logarithm of what the sample makes of the rest."""
    whole, some = Asked(), Asked(loss="sampled", negatives=negatives)
    question, item, _ = some.targets[0]
    for asked in (whole, some):
        asked.labels = {"items": torch.tensor([item]), "offsets": (torch.arange(17) > question).long()}
        asked.objective.of_item.weight.data[item] -= 20
    assert some.objective.negatives is not None
    some.objective.negatives.num_negatives = 100_000
    total, estimate = ((asked.loss + asked.logits()[question, item]).item() for asked in (whole, some))
    assert estimate == pytest.approx(total, abs=0.02)


@pytest.mark.parametrize("loss", ["sampled", "gbce"])
def test_a_step_touches_what_it_has_drawn_alone(loss: str) -> None:
    asked = Asked(loss=loss, repeat=loss == "sampled")
    asked.loss.backward()
    tables = [asked.context.items.weight, asked.objective.of_item.weight]
    tables += [asked.objective.repeat.of_item.weight] if asked.objective.repeat else []
    for table in tables:
        assert table.grad is not None
        assert table.grad.is_sparse
        assert table.grad._nnz() <= max(6 + len(asked.targets) * 2, len(asked.context.batch.fields["item"]))


def test_a_batch_in_which_nobody_took_anything_costs_nothing() -> None:
    for settings in ({"loss": "gbce"}, {"loss": "sampled"}, {"loss": "sampled", "negatives": "in_batch"}):
        asked = Asked(**settings)
        asked.labels = {"items": torch.empty(0, dtype=torch.int64), "offsets": torch.zeros(17, dtype=torch.int64)}
        assert asked.loss.item() == 0


REFUSED = [
    ({"loss": "gbce", "repeat": True}, r"expected objectives\.next_item\.repeat=false .* received repeat=true and negatives=uniform"),
    ({"loss": "gbce", "negatives": "in_batch"}, "negatives=uniform for loss=gbce, .* negatives=in_batch; correct them"),
    ({"loss": "sampled", "label_smoothing": 0.1}, "label_smoothing=0 for loss=sampled, received 0.1; correct it"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Asked(**settings)


def test_few_scores_at_once_rank_as_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(repeat=True)
    asked.objective.eval()
    with torch.inference_mode():
        together = asked.objective.judge(asked.context, asked.labels)
        monkeypatch.setattr(next_item, "SCORES_AT_ONCE", 3 * NUM_ITEMS)
        for metric, values in asked.objective.judge(asked.context, asked.labels).items():
            np.testing.assert_array_equal(values, together[metric])
