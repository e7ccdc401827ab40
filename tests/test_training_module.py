"""Steps and optimiser: what is summed, what is drawn, how the learning rate goes."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.errors import ConfigError
from training.module import SequenceModule


class Asked(nn.Module):
    """An objective with a loss of `summed` over `count` questions, which draws a random number as dropout does."""

    headline = "good"

    def __init__(
        self, *, summed: float, count: int, weight: float, quality: dict[str, float] | None = None, chosen_by_loss: bool = False
    ) -> None:
        super().__init__()
        self.summed, self.count, self.weight, self.quality = summed, count, weight, quality or {}
        self.chosen_by_loss = chosen_by_loss
        self.drawn: list[float] = []

    def loss(self, _context: object, _labels: object) -> tuple[Tensor, Tensor]:
        self.drawn.append(torch.rand(()).item())
        return torch.tensor(self.summed), torch.tensor(self.count)

    def judge(self, _context: object, _labels: object) -> dict[str, np.ndarray]:
        return {}

    def summarise(self, _evidence: object) -> dict[str, float]:
        return self.quality


class Model(nn.Module):
    def __init__(self, **objectives: Asked) -> None:
        super().__init__()
        self.objectives = nn.ModuleDict(objectives)

    def represent(self, _batch: object) -> Any:
        return SimpleNamespace(representation=torch.zeros(1, 1))

    def share_of_padding(self, _context: object) -> float:
        return 0.25


BATCH: Any = SimpleNamespace(labels={"first": None, "second": None})


def module_of(
    *, seed: int = 0, warmup_steps: int = 4, total_steps: int = 100, not_judged: str = "", **objectives: Asked
) -> tuple[SequenceModule, dict[str, float]]:
    """A module in a run of one process, and what it logs."""
    schedule = {"learning_rate": 1.0, "weight_decay": 0.0, "warmup_steps": warmup_steps, "total_steps": total_steps}
    judged_by = objectives.keys() - {not_judged}
    module = SequenceModule(Model(**objectives), judged_by=judged_by, seed=seed, **schedule)  # type: ignore[arg-type]
    set_trainer(module)
    logged: dict[str, float] = {}
    module._log = lambda name, value, **_: logged.update({name: float(value)})  # type: ignore[method-assign]
    return module, logged


def set_trainer(module: SequenceModule, *, epoch: int = 0, rank: int = 0, world_size: int = 1, elsewhere: int = 0) -> None:
    """A trainer at an epoch, on one process of several; the others had `elsewhere` questions."""
    strategy = SimpleNamespace(reduce=lambda count, reduce_op: count + elsewhere)
    module._trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank, world_size=world_size, strategy=strategy)  # type: ignore[assignment]


def test_objectives_add_up_by_weight_each_as_a_mean_over_its_questions() -> None:
    module, _ = module_of(first=Asked(summed=6.0, count=3, weight=0.5), second=Asked(summed=4.0, count=8, weight=2.0))
    step = module.training_step(BATCH, 0)
    assert step["loss"].item() == pytest.approx(0.5 * 2.0 + 2.0 * 0.5)
    assert {name: value.item() for name, value in step["figures"].items()} == {
        "train/first_loss": 2.0,
        "train/second_loss": 0.5,
        "train/loss": 2.0,
        "train/padding": 0.25,
    }


def test_a_batch_without_questions_costs_nothing() -> None:
    module, _ = module_of(first=Asked(summed=0.0, count=0, weight=1.0))
    assert module.training_step(BATCH, 0)["loss"].item() == 0


def test_shares_of_a_batch_average_to_the_whole() -> None:
    whole = (6.0 + 9.0) / (2 + 8)
    losses = []
    for summed, count, elsewhere in ((6.0, 2, 8), (9.0, 8, 2)):
        module, _ = module_of(first=Asked(summed=summed, count=count, weight=1.0))
        set_trainer(module, world_size=2, elsewhere=elsewhere)
        losses.append(module.training_step(BATCH, 0)["loss"].item())
    assert np.mean(losses) == pytest.approx(whole)


def test_random_numbers_depend_on_the_place_in_training_alone() -> None:
    def drawn(*, seed: int = 0, epoch: int = 0, batch: int = 0, rank: int = 0, before: int = 0) -> float:
        asked = Asked(summed=1.0, count=1, weight=1.0)
        module, _ = module_of(seed=seed, first=asked)
        set_trainer(module, epoch=epoch, rank=rank)
        torch.rand(before)
        module.training_step(BATCH, batch)
        return asked.drawn[0]

    assert drawn() == drawn(before=5)
    assert len({drawn(), drawn(seed=1), drawn(epoch=1), drawn(batch=1), drawn(rank=1)}) == 5


def test_a_checkpoint_is_judged_by_the_mean_of_the_headlines() -> None:
    first = Asked(summed=6.0, count=3, weight=1.0, quality={"good": 0.4, "better": 0.9, "unknown": float("nan")})
    module, logged = module_of(first=first, second=Asked(summed=1.0, count=2, weight=1.0, quality={"good": 0.8}))
    module.on_validation_epoch_start()
    for _ in range(2):
        module.validation_step(BATCH, 0)
    module.on_validation_epoch_end()
    assert logged == pytest.approx(
        {
            "validation/first_loss": 2.0,
            "validation/first_good": 0.4,
            "validation/first_better": 0.9,
            "validation/second_loss": 0.5,
            "validation/second_good": 0.8,
            "validation/quality": 0.6,
        }
    )


@pytest.mark.parametrize(("summed", "count", "quality"), [(6.0, 3, (0.8 - 2.0) / 2), (0.0, 0, 0.8)], ids=["asked", "nobody asked"])
def test_outcomes_choose_the_checkpoint_by_their_loss(summed: float, count: int, quality: float) -> None:
    outcome = Asked(summed=summed, count=count, weight=3.0, quality={"good": 0.4}, chosen_by_loss=True)
    module, logged = module_of(first=outcome, second=Asked(summed=1.0, count=2, weight=1.0, quality={"good": 0.8}))
    module.on_validation_epoch_start()
    module.validation_step(BATCH, 0)
    module.on_validation_epoch_end()
    assert (logged["validation/first_good"], logged["validation/quality"]) == pytest.approx((0.4, quality))


@pytest.mark.parametrize(("chosen_by_loss", "quality"), [(False, 0.4), (True, -1.0)])
def test_what_cannot_be_judged_has_no_say(chosen_by_loss: bool, quality: float) -> None:
    judged = Asked(summed=1.0, count=1, weight=1.0, quality={"good": 0.4}, chosen_by_loss=chosen_by_loss)
    other = Asked(summed=5.0, count=1, weight=1.0, quality={"good": 0.8}, chosen_by_loss=chosen_by_loss)
    module, logged = module_of(not_judged="other", judged=judged, other=other)
    module.on_validation_epoch_start()
    module.validation_step(SimpleNamespace(labels={"judged": None, "other": None}), 0)  # type: ignore[arg-type]
    module.on_validation_epoch_end()
    assert logged == pytest.approx(
        {"validation/judged_loss": 1.0, "validation/judged_good": 0.4, "validation/other_loss": 5.0, "validation/quality": quality}
    )


def test_a_validation_window_without_a_question_is_refused() -> None:
    module, _ = module_of(first=Asked(summed=0.0, count=0, weight=1.0, quality={"good": float("nan")}))
    module.on_validation_epoch_start()
    module.validation_step(BATCH, 0)
    with pytest.raises(ConfigError, match="expected something to predict in the validation window, found nothing"):
        module.on_validation_epoch_end()


@pytest.mark.parametrize(
    ("warmup", "step", "rate"),
    [
        (4, 0, 0.25),
        (4, 1, 0.5 * 0.99),
        (4, 3, 0.97),
        (4, 50, 0.5),
        (4, 99, 0.02),
        (4, 100, 0.02),
        (4, 500, 0.02),
        (0, 0, 1.0),
        (0, 50, 0.5),
    ],
)
def test_the_learning_rate_rises_then_falls_to_a_fiftieth(warmup: int, step: int, rate: float) -> None:
    module, _ = module_of(warmup_steps=warmup, first=Asked(summed=1.0, count=1, weight=1.0))
    assert module._share_of_learning_rate(step) == pytest.approx(rate)
