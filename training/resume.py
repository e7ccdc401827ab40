"""What lets an interrupted run go on as if nothing had happened: checkpoints in time, each whole, and what callbacks have to remember."""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping
from pytorch_lightning.plugins.io import TorchCheckpointIO

from training.files import replacing_file


class LastCheckpoint(Checkpoint):
    """Writes `path` after each epoch, every so many minutes within one, and when the system asks the run to stop.

    Never after the last batch of an epoch: Lightning would go on behind the validation that this epoch has yet to see.
    """

    def __init__(self, path: Path, *, minutes: float) -> None:
        self.path, self.seconds = path, 60 * minutes
        self.written = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, _module: pl.LightningModule, _outputs: object, _batch: object, index: int) -> None:
        if trainer.is_last_batch or (index + 1) % trainer.accumulate_grad_batches:  # gradients of half a step are in no checkpoint
            return
        is_due = trainer.received_sigterm or time.perf_counter() - self.written >= self.seconds
        if trainer.strategy.reduce_boolean_decision(is_due, all=False):  # all processes or none: each has its part in a checkpoint
            self._write(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self.written = time.perf_counter()


class WholeFiles(TorchCheckpointIO):
    """Checkpoints appear whole: Lightning writes to the system's temporary folder, from where another disk gets them by a copy."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        assert storage_options is None
        with replacing_file(Path(path)) as aside:
            torch.save(checkpoint, aside)


class Stopping(EarlyStopping):
    """Early stopping that a resumed run remembers: one interrupted after it had stopped, while results were written, trains no further."""

    def on_train_start(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        trainer.should_stop = self.wait_count >= self.patience


class Elapsed(pl.Callback):
    """How long a run has taken, over every session up to its last checkpoint and the present one since it began.

    before: what came before it began, the store made or checked for example: part of `total` alone.
    """

    def __init__(self, *, before: float = 0.0) -> None:
        self.earlier, self.before, self.began = 0.0, before, time.perf_counter()

    @property
    def seconds(self) -> float:
        return self.earlier + time.perf_counter() - self.began

    @property
    def total(self) -> float:
        return self.before + self.seconds

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.earlier = state["seconds"]
