"""Train a sequence model on a store, compare it with the baselines, write a report.

python -m training.run experiment=demo
"""

import logging
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import SIGTERMException
from rich.console import Console

from training.build import Parts, build, make_trainer
from training.cli import command
from training.curve import LearningCurve
from training.errors import ConfigError, StoreError
from training.evaluation.prerequisites import check_answerable
from training.files import write_text
from training.results import write_results
from training.sequences.store import SequenceStore

QUALITY = "validation/quality"
CONFIG, SUMMARY, LAST, BEST = "config.yaml", "summary.json", "checkpoints/last.ckpt", "checkpoints/best.ckpt"
# what a finished run is known by comes first
LEFT_BEHIND = (SUMMARY, LAST, BEST, "metrics.csv", "predictions.parquet", "showcase.json", "report.html")
STOPPED = 143  # 128 + SIGTERM: what a shell says of a command that was stopped
IGNORED_SETTINGS = ("force",)  # settings that do not change what comes out

console = Console(soft_wrap=True)


def run(config: DictConfig) -> Path:
    """Train, or go on with what was interrupted; then compare and report. Returns the run's folder.

    A run that is finished with the same settings is left as it is; one with other settings is never overwritten unless `force` is set.
    Raises ConfigError, StoreError or DeviceError for what a user can mend, before anything is written.
    """
    if "data" not in config:
        raise ConfigError("expected data=LOG or experiment=NAME, received neither; --help lists them")
    out = Path(config.out)
    if is_finished(config, out):
        console.print(f"{out} is finished; force=true trains it anew")
        return out
    store = SequenceStore.open(config.store, verify=True)
    started = time.perf_counter()
    torch.set_flush_denormal(True)  # numbers too small to matter cost a CPU fifty times what others do
    parts = build(config, store)
    check_answerable(store, parts.split, parts.model.objectives, judged_by=parts.module.judged_by)
    trainer = trainer_for(config, out, store)
    if trainer.is_global_zero:  # of several processes one writes
        prepare(config, out)
    fit(trainer, parts, out)
    if trainer.is_global_zero:
        finish(config, parts, out, seconds=time.perf_counter() - started)
    return out


def trainer_for(config: DictConfig, out: Path, store: SequenceStore) -> pl.Trainer:
    """Lightning's Trainer with best and last checkpoints, early stopping, the learning curve and TensorBoard."""
    at_epoch_end: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    callbacks: list[pl.Callback] = [
        LearningCurve(out / "metrics.csv"),
        Origin(config, store),
        Stopping(QUALITY, mode="max", patience=config.patience, check_on_train_epoch_end=True),
        # two, since save_last=True saves only together with a better one; the last one knows of the best, so it comes second
        ModelCheckpoint(out / "checkpoints", "best", monitor=QUALITY, mode="max", **at_epoch_end),
        ModelCheckpoint(out / "checkpoints", "last", **at_epoch_end),
    ]
    if config.trainer.enable_progress_bar:
        callbacks.append(RichProgressBar())
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # it tells of other products and of hardware that nobody asked for
    return make_trainer(
        config,
        callbacks=callbacks,
        logger=TensorBoardLogger(out, name="", version="tensorboard"),
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,  # each epoch draws its own moments
        use_distributed_sampler=False,  # batches are already shared out
        log_every_n_steps=1,
        enable_model_summary=False,
    )


def fit(trainer: pl.Trainer, parts: Parts, out: Path) -> None:
    """Train from the start, or from the last checkpoint where there is one."""
    with warnings.catch_warnings():
        # Lightning asks torch in a way that torch gives up; and going on in a folder with checkpoints is what is wanted here
        warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*", FutureWarning)
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty", UserWarning)
        try:
            trainer.fit(parts.module, parts.data, ckpt_path=str(out / LAST) if (out / LAST).exists() else None)
        except SIGTERMException as stopped:  # Lightning leaves as if all were done, and the next command would begin
            raise SystemExit(STOPPED) from stopped


def finish(config: DictConfig, parts: Parts, out: Path, *, seconds: float) -> None:
    """Compare the best checkpoint with the baselines on the test window and write everything that a reader opens."""
    checkpoint = torch.load(out / BEST, map_location="cpu", weights_only=True)
    parts.module.load_state_dict(checkpoint["state_dict"])
    write_results(config, parts, out, best_epoch=checkpoint["epoch"], train_seconds=seconds)
    console.print(f"Report: [bold]{out / 'report.html'}[/]  figures: {out / SUMMARY}")


class Stopping(EarlyStopping):
    """Early stopping that a resumed run remembers: one interrupted after it had stopped, while results were written, trains no further."""

    def on_train_start(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        trainer.should_stop = self.wait_count >= self.patience


class Origin(pl.Callback):
    """Puts the composed config and the store's digest into every checkpoint, so that a checkpoint alone tells how it came about.

    Raises StoreError where training would go on with another store.
    """

    def __init__(self, config: DictConfig, store: SequenceStore) -> None:
        self.config = OmegaConf.to_container(config, resolve=True)
        self.store = store

    def on_save_checkpoint(self, _trainer: pl.Trainer, _module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint["store"] = self.store.digest

    def on_load_checkpoint(self, _trainer: pl.Trainer, _module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        if checkpoint["store"] != self.store.digest:
            raise StoreError(
                f"expected {self.store.path} as it was when this run began, found another log in it; start anew with force=true"
            )


def is_finished(config: DictConfig, out: Path) -> bool:
    """Whether `out` holds a finished run of these settings. Raises ConfigError if it holds a run of others."""
    if config.force or not (out / CONFIG).exists():
        return False
    there, here = settings(OmegaConf.load(out / CONFIG)), settings(config)
    if there != here:
        name = min(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
        raise ConfigError(
            f"expected {out} to be free or to hold a run of these settings, found {name}={there.get(name)} there and not {here.get(name)}; "
            "choose name=... or force=true"
        )
    return (out / SUMMARY).exists()


def settings(config: Any) -> dict[str, Any]:
    """The settings that decide what a run yields, by their dotted names."""
    flat = dict(_flat(OmegaConf.to_container(config, resolve=True)))
    return {name: value for name, value in flat.items() if name not in IGNORED_SETTINGS}


def prepare(config: DictConfig, out: Path) -> None:
    """Note what is about to be trained; with force, first remove what an earlier run left."""
    if config.force:
        for name in LEFT_BEHIND:
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / "tensorboard", ignore_errors=True)
    write_text(out / CONFIG, OmegaConf.to_yaml(config, resolve=True))


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def main(config: DictConfig) -> None:
    run(config)


if __name__ == "__main__":
    command(main, config_name="train")
