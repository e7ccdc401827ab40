"""Revisit's SASRec by the recipe of `experiment=leave_one_out`, with the settings of its peers."""

import tempfile
from pathlib import Path

import pytorch_lightning as pl
from _leave_one_out import Clock, Diary, Settings, asked
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from training import preprocess
from training.build import build, make_trainer
from training.evaluation.judging import judge
from training.fitting import without_chatter
from training.run import make_store
from training.sequences.split import Window
from training.sequences.store import SequenceStore


class EpochClock(Clock, pl.Callback):
    pass


def composed(settings: Settings, lines: Path, folder: Path) -> DictConfig:
    """Histories are cut to what fits, so that every step of training is asked about, as by the others."""
    said = {
        "experiment": "leave_one_out",
        "encoder": "sasrec",
        "data.path": lines,
        "store": folder / "store",
        "out": folder / "run",
        "seed": settings.seed,
        "dim": settings.dim,
        "dropout": settings.dropout,
        "max_events": settings.max_length + 1,
        "batches_per_epoch": "null",
        "customers_per_batch": settings.batch_size,
        "encoder.num_blocks": settings.num_blocks,
        "encoder.num_heads": settings.num_heads,
        "optimiser.learning_rate": settings.learning_rate,
        "objectives.next_item.loss": settings.loss,
        "objectives.next_item.num_negatives": settings.num_negatives,
        "objectives.next_item.repeat": "false",
        "objectives.next_item.neighbours": "false",
        "objectives.next_item.leave_out_seen": "false",
        "trainer.max_epochs": settings.epochs,
        "trainer.enable_progress_bar": "false",
    }
    with initialize_config_module("conf", version_base="1.3"):
        return compose("train", overrides=[f"{name}={value}" for name, value in said.items()])


def train(settings: Settings, config: DictConfig) -> None:
    """What `training.run` trains, told the time. NDCG@10 is that of its own judge: of one wanted item it is the same figure."""
    preprocess.console.quiet = True
    with initialize_config_module("conf", version_base="1.3"):
        make_store(config)
    parts = build(config, SequenceStore.open(config.store))

    def asked_of(window: Window) -> float:
        _, evidence = judge(parts.model, parts.questions, window, customers_per_batch=256)
        return float(evidence["next_item"]["ndcg@10"].mean())

    diary = Diary(settings, lambda: asked_of(parts.split.validation), lambda: asked_of(parts.split.test))
    trainer = make_trainer(
        config,
        callbacks=[EpochClock(lambda seconds: diary.note(seconds))],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_val_batches=0,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
    )
    with without_chatter():
        trainer.fit(parts.module, parts.data)
    diary.close()


if __name__ == "__main__":
    path, settings = asked()
    with tempfile.TemporaryDirectory() as folder:
        train(settings, composed(settings, path.resolve(), Path(folder)))
