"""Training anew on all time before the test, once validation has said for how many epochs: what one would do before using a model."""

from pathlib import Path

from omegaconf import DictConfig

from training.build import Parts, build
from training.checkpoints import read_checkpoint
from training.fitting import fit, resuming_trainer
from training.layout import REFIT_LAST
from training.resume import Elapsed
from training.sequences.store import SequenceStore


def refitted(config: DictConfig, store: SequenceStore, out: Path, elapsed: Elapsed, *, epochs: int) -> Parts:
    """Trained on validation's window too, by one process; nothing is chosen any more. Interrupted, it goes on, as what was before it does.

    The learning rate falls as it did, so that so many epochs are what validation saw of them.
    """
    parts = build(config, store, refit=True)
    last = out / REFIT_LAST
    trainer = resuming_trainer(
        config, store, elapsed, last=last, max_epochs=epochs, devices=1, strategy="auto", limit_val_batches=0, logger=False
    )
    fit(trainer, parts, last=last)
    parts.module.load_state_dict(read_checkpoint(last)["state_dict"])  # averages where they are kept, however far an earlier call had come
    return parts
