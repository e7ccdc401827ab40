"""The learning curve: one row an epoch, in the checkpoint and as metrics.csv, so that an interrupted run still has one whole curve."""

import csv
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from training.files import replacing_file


def read_curve(path: Path) -> list[dict[str, float]]:
    """The learning curve, a row an epoch; figures that an epoch lacks are left out."""
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


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
