"""Train a sequence model on a store, compare it with the baselines, write a report.

python -m training.run experiment=demo
"""

import shutil
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console

from training.build import Parts, build
from training.checkpoints import check_same_log, read_checkpoint
from training.cli import command
from training.configs import check_train_config, deciding
from training.curve import EpochMeans, LearningCurve
from training.errors import ConfigError
from training.evaluation.judging import calibrate
from training.evaluation.prerequisites import check_answerable
from training.files import check_replaceable, replacing_file, write_text, writing_to
from training.fitting import fit, resuming_trainer
from training.layout import BEST, CONFIG, CURVE, LAST, PREDICTIONS, REFIT, REFIT_LAST, REPORT, SHOWCASE, SUMMARY, TENSORBOARD, TRIAL
from training.preprocess import preprocess
from training.refit import refitted
from training.rehearsal import rehearse
from training.results import write_results
from training.resume import Elapsed, Stopping
from training.search import QUALITY, MedianStopping, read_trial, told, write_trial
from training.sequences.store import SequenceStore

LEFT_BEHIND = (
    SUMMARY,
    TRIAL,
    LAST,
    BEST,
    REFIT,
    REFIT_LAST,
    CURVE,
    PREDICTIONS,
    SHOWCASE,
    REPORT,
)  # what a finished run is known by comes first

console = Console(soft_wrap=True)


def run(config: DictConfig) -> Path:
    """Train, or go on with what was interrupted; then compare and report. Returns the run's folder.

    A run that is finished with the same settings on the same log is left as it is; one of others is never overwritten unless `force` is
    set. Raises ConfigError, StoreError or DeviceError for what a user can mend, before anything is written.
    """
    called = time.perf_counter()
    if "data" not in config:
        raise ConfigError("expected data=LOG or experiment=NAME, received neither; --help lists them")
    check_train_config(config)
    if config.make_store:
        make_store(config)
    out, store = Path(config.out), SequenceStore.open(config.store, verify=True)
    if is_finished(config, store, out):
        console.print(f"{out} is finished; force=true trains it anew")
        return out
    torch.set_flush_denormal(True)  # numbers too small to matter cost a CPU fifty times what others do
    elapsed = Elapsed(before=time.perf_counter() - called)
    parts = build(config, store)
    check_answerable(store, parts.split, parts.model.objectives)
    trainer = trainer_for(config, out, store, elapsed)
    rehearse(parts, num_ranks=trainer.world_size)
    if trainer.is_global_zero:  # of several processes one writes
        prepare(config, out)
    fit(trainer, parts, last=out / LAST)
    if trainer.is_global_zero and not config.trials:
        finish(config, parts, out, elapsed)
    return out


def make_store(config: DictConfig) -> None:
    """Make the store that is trained on, unless it is there, as `training.preprocess` does by itself."""
    inside = nullcontext() if GlobalHydra.instance().is_initialized() else initialize_config_module("conf", version_base="1.3")
    with inside:
        settings = compose("preprocess")
    preprocess(OmegaConf.create({**settings, "data": config.data, "out": config.store}))


def trainer_for(config: DictConfig, out: Path, store: SequenceStore, elapsed: Elapsed) -> pl.Trainer:
    """Lightning's Trainer with best and last checkpoints, early stopping, the learning curve and TensorBoard."""
    best = out / BEST
    callbacks = [
        EpochMeans(),  # what the next one shows
        LearningCurve(out / CURVE),
        *([MedianStopping(out)] if config.trials else []),
        Stopping(QUALITY, mode="max", patience=config.patience, check_on_train_epoch_end=True),
        ModelCheckpoint(best.parent, best.stem, monitor=QUALITY, mode="max", save_on_train_epoch_end=True, enable_version_counter=False),
    ]
    board = TensorBoardLogger(out, name="", version=TENSORBOARD)
    return resuming_trainer(config, store, elapsed, last=out / LAST, callbacks=callbacks, logger=board)


def finish(config: DictConfig, parts: Parts, out: Path, elapsed: Elapsed) -> None:
    """Calibrate the best checkpoint on validation, compare it with the baselines on the test window, write everything that a reader opens.

    With `refit` it is trained anew then, and not calibrated: a window that it has learned from would teach it no more than its season.
    What only a model that has not seen the validation window can choose there, it takes over from the checkpoint.
    """
    checkpoint = read_checkpoint(out / BEST)
    parts.module.load_state_dict(checkpoint["state_dict"])
    calibrate(parts.model, parts.questions, parts.split, customers_per_batch=config.customers_per_batch)
    if config.refit:
        chosen, parts = parts.model, refitted(config, parts.store, out, elapsed, epochs=checkpoint["epoch"] + 1)
        for name, objective in parts.model.objectives.items():
            objective.take_over(chosen.objectives[name])
    with replacing_file(out / (REFIT if config.refit else BEST)) as aside:
        torch.save({**checkpoint, "state_dict": parts.module.state_dict()}, aside)
    write_results(config, parts, out, best_epoch=checkpoint["epoch"], elapsed=elapsed)
    console.print(f"Report: [bold]{out / REPORT}[/]  figures: {out / SUMMARY}")


def is_finished(config: DictConfig, store: SequenceStore, out: Path) -> bool:
    """Whether `out` holds a finished run of these settings on this log. A run without a checkpoint holds nothing worth keeping.

    Raises ConfigError or StoreError where the run there is of other settings or of another log, and is not to be replaced by force.
    """
    check_replaceable(out, known_by=CONFIG, what="a run")
    saved = next((out / name for name in (LAST, BEST) if (out / name).exists()), None)
    if config.force or saved is None:
        return False
    checkpoint = read_checkpoint(saved)
    there, here = deciding(checkpoint["config"]), deciding(config)
    if there != here:
        name = min(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
        raise ConfigError(
            f"expected {out} to be free or to hold a run of these settings, found {name}={there.get(name)} there and not {here.get(name)}; "
            "choose name=... or force=true"
        )
    check_same_log(checkpoint, store, run=out)
    return (out / (TRIAL if config.trials else SUMMARY)).exists()


def prepare(config: DictConfig, out: Path) -> None:
    """Note what is about to be trained; where it begins anew, first remove what an earlier run left."""
    if config.force or not (out / LAST).exists():
        with writing_to(out):
            for name in LEFT_BEHIND:
                (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / TENSORBOARD, ignore_errors=True)
    write_text(out / CONFIG, OmegaConf.to_yaml(config, resolve=True))


def try_settings(config: DictConfig, settings: Sequence[str], *, number: int) -> float:
    """One trial of a search, in a folder of its own below `trials`: its validation quality. The test window is not read.

    settings: the overrides by which it differs, which its folder keeps.
    """
    out = Path(config.trials) / str(number)
    config.out = str(out)
    run(config)
    if not (out / TRIAL).exists():
        write_trial(out, settings)
    console.print(told(out))
    return float(read_trial(out)["quality"])


def main(config: DictConfig) -> float | None:
    if "trials" in config and config.trials:
        job = HydraConfig.get()
        return try_settings(config, job.overrides.task, number=int(job.job.num))
    run(config)
    return None


if __name__ == "__main__":
    command(main, config_name="train")
