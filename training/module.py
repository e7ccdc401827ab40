"""The LightningModule: steps and optimiser, nothing else."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig

from training.errors import ConfigError
from training.models.model import SequenceModel
from training.optimiser import AdamWByRow, clip_gradients
from training.sequences.batch import Batch
from training.settings import NotNegative, Whole


class SequenceModule(pl.LightningModule):
    """Trains a model on all its objectives together; the quality of those in `judged_by` chooses the checkpoint.

    learning_rate rises over `warmup_steps` and then falls in a line to a fiftieth at `total_steps`. Every batch draws its random numbers
    from `seed` and its own place in training alone, so that a resumed run goes on exactly as an uninterrupted one would have.
    """

    def __init__(
        self,
        model: SequenceModel,
        *,
        judged_by: Collection[str],
        learning_rate: NotNegative,
        weight_decay: NotNegative,
        warmup_steps: Whole,
        total_steps: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.judged_by = judged_by
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.seed = seed
        self._evidence: dict[str, list[dict[str, np.ndarray]]] = {}

    def training_step(self, batch: Batch, index: int) -> dict[str, Any]:
        """The loss, and what the curve says of this batch: {"loss": Tensor, "figures": {name: Tensor}}."""
        # not once an epoch: between its start and its first batch a resumed run draws other numbers than an uninterrupted one
        self._seed(hash((self.seed, self.current_epoch, index, self.global_rank)))
        context = self.model.represent(batch)
        total = context.representation.new_zeros(())
        figures = {}
        for name, objective in self.model.objectives.items():
            summed, count = objective.loss(context, batch.labels[name])
            # divided by the questions of all processes, not of this one: processes then agree with one process on the same batch
            loss = summed * self.trainer.world_size / self.trainer.strategy.reduce(count.float(), reduce_op="sum").clamp(min=1)
            figures[f"train/{name}_loss"] = loss.detach()
            total = total + objective.weight * loss
        figures["train/loss"] = total.detach()
        figures["train/padding"] = total.new_tensor(self.model.share_of_padding(context))
        return {"loss": total, "figures": figures}

    def _seed(self, number: int) -> None:
        """As torch.manual_seed, of what draws here alone: where no GPU is in use, that notes the call of each step for the day one is."""
        torch.default_generator.manual_seed(number)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(number)

    def on_validation_epoch_start(self) -> None:
        self._evidence = {name: [] for name in self.model.objectives}

    def validation_step(self, batch: Batch, _index: int) -> None:
        context = self.model.represent(batch)
        for name, objective in self.model.objectives.items():
            summed, count = objective.loss(context, batch.labels[name])
            loss = np.array([[summed.item(), count.item()]])
            self._evidence[name].append({"loss": loss, **objective.judge(context, batch.labels[name])})

    def on_validation_epoch_end(self) -> None:
        """Log every figure, and `validation/quality`, by which checkpoints are chosen: the mean of what each objective is chosen by."""
        qualities = []
        for name, objective in self.model.objectives.items():
            evidence = joined(self._evidence[name])
            summed, count = evidence.pop("loss").sum(0)
            is_judged = name in self.judged_by
            figures = objective.summarise(evidence) if is_judged else {}
            figures = {metric: value for metric, value in figures.items() if not np.isnan(value)}
            # infinite where an answer can't be recommended, an item that training never saw for example: no figure then
            loss = {"loss": summed / max(count, 1)} if np.isfinite(summed) else {}
            if objective.chosen_by_loss:
                qualities += [-value for value in loss.values() if is_judged and count]
            else:
                qualities += [figures[objective.headline]] if objective.headline in figures else []
            for metric, value in {**loss, **figures}.items():
                self._log(f"validation/{name}_{metric}", float(value), prog_bar=metric == objective.headline)
        if not qualities:
            raise ConfigError("expected something to predict in the validation window, found nothing; set data.split to fit the log")
        self._log("validation/quality", float(np.mean(qualities)))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = AdamWByRow(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._share_of_learning_rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]  # self.parameters() walks all modules
        if gradient_clip_val and any(parameter.grad is not None and parameter.grad.is_sparse for parameter in parameters):
            clip_gradients(parameters, max_norm=gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val=gradient_clip_val, gradient_clip_algorithm=gradient_clip_algorithm)

    def _share_of_learning_rate(self, step: int) -> float:
        return min(1.0, (step + 1) / max(1, self.warmup_steps)) * max(0.02, 1 - step / self.total_steps)

    def _log(self, name: str, value: float, *, prog_bar: bool = False) -> None:
        self.log(name, value, on_epoch=True, batch_size=1, sync_dist=True, prog_bar=prog_bar)


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The evidence of several batches as one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
