"""Training itself, from its first batch or from where it was interrupted: of what validation chooses from, and of a refit."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.utilities.exceptions import SIGTERMException

from training.averaging import MovingAverage
from training.build import Parts, make_trainer
from training.resume import Elapsed, LastCheckpoint, WholeFiles
from training.sequences.store import SequenceStore

STOPPED = 143  # 128 + SIGTERM: what a shell says of a command that was stopped


def resuming_trainer(
    config: DictConfig, store: SequenceStore, elapsed: Elapsed, *, last: Path, callbacks: Sequence[pl.Callback] = (), **options: object
) -> pl.Trainer:
    """Lightning's Trainer that goes on from the checkpoint `last`, which it keeps up to date. callbacks, options: what differs."""
    always = [
        Origin(config, store),
        elapsed,
        LastCheckpoint(last, minutes=config.checkpoint_minutes),  # knows of the best, so it comes behind those given
        *([MovingAverage(config.average_weights)] if config.average_weights else []),
        *([RichProgressBar()] if config.trainer.enable_progress_bar else []),
    ]
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # it tells of other products and of hardware that nobody asked for
    settings: dict[str, object] = {
        "plugins": [WholeFiles()],
        "num_sanity_val_steps": 0,
        "reload_dataloaders_every_n_epochs": 1,  # each epoch draws its own moments
        "use_distributed_sampler": False,  # batches are already shared out
        "log_every_n_steps": 1,
        "enable_model_summary": False,
    }
    return make_trainer(config, callbacks=[*callbacks, *always], **settings, **options)


def fit(trainer: pl.Trainer, parts: Parts, *, last: Path) -> None:
    """Train from the start, or from the last checkpoint where there is one."""
    with without_chatter():
        try:
            trainer.fit(parts.module, parts.data, ckpt_path=str(last) if last.exists() else None)
        except SIGTERMException as stopped:  # Lightning leaves as if all were done, and the next command would begin
            raise SystemExit(STOPPED) from stopped


@contextmanager
def without_chatter() -> Iterator[None]:
    """Lightning asks torch in a way that torch gives up; and going on in a folder with checkpoints is what is wanted here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*", FutureWarning)
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty", UserWarning)
        yield


class Origin(pl.Callback):
    """Puts the composed config and the store's digest into every checkpoint, so that a checkpoint alone tells how it came about."""

    def __init__(self, config: DictConfig, store: SequenceStore) -> None:
        self.origin = {"config": OmegaConf.to_container(config, resolve=True), "store": store.digest}

    def on_save_checkpoint(self, _trainer: pl.Trainer, _module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(self.origin)
