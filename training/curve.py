"""The learning curve: one row an epoch, in the checkpoint and as metrics.csv, so that an interrupted run still has one whole curve."""

import csv
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from training.files import replacing_file


def read_curve(path: Path) -> list[dict[str, float]]:
    """The learning curve, a row an epoch; figures that an epoch lacks are left out."""
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


class EpochMeans(pl.Callback):
    """Logs each figure of the training steps as its mean over the epoch. Lightning's own means begin anew where a run goes on within one.

    Every batch counts once: weighed by its questions, the processes' shares of a batch would not add up to the whole.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.num_batches = 0

    def on_train_batch_end(self, trainer: pl.Trainer, _module: pl.LightningModule, outputs: Any, _batch: object, _index: int) -> None:
        figures: dict[str, Tensor] = outputs["figures"]
        # shared batch by batch, so that the checkpoint that one process writes holds what all of them had
        shared = trainer.strategy.reduce(torch.stack([value.float() for value in figures.values()]), reduce_op="mean")
        self.sums = {name: value + self.sums.get(name, 0) for name, value in zip(figures, shared, strict=True)}
        self.num_batches += 1

    def on_train_epoch_end(self, _trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for name, value in self.sums.items():
            module.log(name, value / self.num_batches, sync_dist=True, prog_bar=name == "train/loss")
        self.sums, self.num_batches = {}, 0

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self.sums, "num_batches": self.num_batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums, self.num_batches = state["sums"], state["num_batches"]


class LearningCurve(pl.Callback):
    """Gathers every logged figure at the end of each epoch and writes `path` anew, whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        # validation has run by now; its figures and this epoch's losses stand side by side
        figures = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        self.rows = [*self.rows[: trainer.current_epoch], {"epoch": trainer.current_epoch, **figures}]
        if trainer.is_global_zero:
            self._write()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = state["rows"]

    def _write(self) -> None:
        with replacing_file(self.path) as aside, aside.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(name for row in self.rows for name in row)))
            writer.writeheader()
            writer.writerows(self.rows)
