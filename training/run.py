"""Train a sequence model on a store, compare it with the baselines, write a report.

python -m training.run experiment=demo
"""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console

from training.build import Parts, build, make_trainer
from training.cli import command
from training.curve import LearningCurve
from training.errors import ConfigError
from training.files import write_text
from training.results import write_results
from training.sequences.store import SequenceStore

QUALITY = "validation/quality"
CONFIG, SUMMARY, LAST, BEST = "config.yaml", "summary.json", "checkpoints/last.ckpt", "checkpoints/best.ckpt"
IGNORED_SETTINGS = ("force",)  # settings that do not change what comes out

console = Console()


def run(config: DictConfig) -> Path:
    """Train, or go on with what was interrupted; then compare and report. Returns the run's folder.

    A run that is finished with the same settings is left as it is; one with other settings is never overwritten unless `force` is set.
    """
    out = Path(config.out)
    if is_finished(config, out):
        console.print(f"{out} is finished; force=true trains it anew")
        return out
    store = SequenceStore.open(config.store, verify=True)
    started = time.perf_counter()
    torch.set_flush_denormal(True)  # numbers too small to matter cost a CPU fifty times what others do
    parts = build(config, store)
    trainer = trainer_for(config, out)
    write_text(out / CONFIG, OmegaConf.to_yaml(config, resolve=True))
    trainer.fit(parts.module, parts.data, ckpt_path=str(out / LAST) if (out / LAST).exists() else None)
    if trainer.is_global_zero:
        finish(config, parts, out, seconds=time.perf_counter() - started)
    return out


def trainer_for(config: DictConfig, out: Path) -> pl.Trainer:
    """Lightning's Trainer with best and last checkpoints, early stopping, the learning curve and TensorBoard."""
    callbacks: list[pl.Callback] = [
        LearningCurve(out / "metrics.csv"),
        ConfigInCheckpoint(config),
        EarlyStopping(QUALITY, mode="max", patience=config.patience, check_on_train_epoch_end=True),
        ModelCheckpoint(
            out / "checkpoints",
            "best",
            monitor=QUALITY,
            mode="max",
            save_last=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        ),
    ]
    if config.trainer.enable_progress_bar:
        callbacks.append(RichProgressBar())
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


def finish(config: DictConfig, parts: Parts, out: Path, *, seconds: float) -> None:
    """Compare the best checkpoint with the baselines on the test window and write everything that a reader opens."""
    checkpoint = torch.load(out / BEST, map_location="cpu", weights_only=False)
    parts.module.load_state_dict(checkpoint["state_dict"])
    write_results(config, parts, out, best_epoch=checkpoint["epoch"], train_seconds=seconds)
    console.print(f"Report: [bold]{out / 'report.html'}[/]  figures: {out / SUMMARY}")


class ConfigInCheckpoint(pl.Callback):
    """Puts the composed config into every checkpoint, so that a checkpoint alone tells how it came about."""

    def __init__(self, config: DictConfig) -> None:
        self.config = OmegaConf.to_container(config, resolve=True)

    def on_save_checkpoint(self, _trainer: pl.Trainer, _module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config


def is_finished(config: DictConfig, out: Path) -> bool:
    """Whether `out` holds a finished run of these settings. Clears it with force; raises ConfigError if it holds another run."""
    if not (out / CONFIG).exists():
        return False
    if config.force:
        discard(out)
        return False
    if settings(OmegaConf.load(out / CONFIG)) != settings(config):
        raise ConfigError(
            f"expected {out} to be free or to hold a run of these settings, found other settings there; choose name=... or force=true"
        )
    return (out / SUMMARY).exists()


def settings(config: Any) -> dict[str, Any]:
    """The settings that decide what a run yields."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items() if name not in IGNORED_SETTINGS}


def discard(out: Path) -> None:
    """Remove what an earlier run left, the marks of its being finished first."""
    for name in (SUMMARY, LAST, BEST, "metrics.csv"):
        (out / name).unlink(missing_ok=True)


def main(config: DictConfig) -> None:
    run(config)


if __name__ == "__main__":
    command(main, config_name="train")
