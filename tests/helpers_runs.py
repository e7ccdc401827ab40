"""What a run left, as tests read it, and ways to cut one short."""

import csv
import json
import signal
from pathlib import Path
from types import ModuleType

import pytest
import pytorch_lightning as lightning
import torch

from training import run as running


def curve(out: Path) -> list[dict[str, float]]:
    with (out / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def summary(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


def checkpoint(out: Path, name: str) -> dict:
    return torch.load(out / "checkpoints" / f"{name}.ckpt", weights_only=True)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same_weights(one: dict, other: dict, **tolerance: float) -> None:
    assert one["state_dict"].keys() == other["state_dict"].keys()
    for name, weight in one["state_dict"].items():
        torch.testing.assert_close(weight, other["state_dict"][name], **(tolerance or {"rtol": 0, "atol": 0}), msg=name)


class PowerCutError(Exception):
    """What ends a run without a word of warning."""


class Cut(lightning.Callback):
    """Raises an exception, or gets a signal, at the end of a batch, before the checkpoint that may be due there."""

    def __init__(self, epoch: int, batch: int, reason: type[BaseException] | signal.Signals) -> None:
        self.place, self.reason = (epoch, batch), reason

    def on_train_batch_end(self, trainer: lightning.Trainer, _module: object, _outputs: object, _batch: object, index: int) -> None:
        if (trainer.current_epoch, index) != self.place:
            return
        if isinstance(self.reason, signal.Signals):
            signal.raise_signal(self.reason)
        else:
            raise self.reason


def cut_training(
    monkeypatch: pytest.MonkeyPatch,
    *,
    epoch: int,
    batch: int,
    reason: type[BaseException] | signal.Signals = PowerCutError,
    of: ModuleType = running,
) -> None:
    """of: whose training, that of `training.run` or of `training.refit`."""
    resuming_trainer = of.resuming_trainer
    cut = Cut(epoch, batch, reason)
    monkeypatch.setattr(
        of, "resuming_trainer", lambda *args, callbacks=(), **rest: resuming_trainer(*args, callbacks=[*callbacks, cut], **rest)
    )
