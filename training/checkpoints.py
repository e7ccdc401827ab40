"""Checkpoints as they are read back: Lightning's, with the composed config and the store's digest inside."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from training.errors import ArtifactError, StoreError
from training.sequences.store import SequenceStore

OURS = {"config", "store", "state_dict", "epoch"}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of this project: plain data only, so that one from elsewhere can't run code here. Raises ArtifactError if damaged."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, OSError) as error:
        raise ArtifactError(f"expected a checkpoint in {path}, found a damaged file; train the run anew with force=true") from error
    if not isinstance(content, dict) or not content.keys() >= OURS:
        raise ArtifactError(f"expected a checkpoint of training.run in {path}, found another file; train the run anew with force=true")
    return content


def check_same_log(checkpoint: dict[str, Any], store: SequenceStore, *, run: Path) -> None:
    """Raises StoreError where the store is no longer the one that a checkpoint of `run` was trained on."""
    if checkpoint["store"] != store.digest:
        raise StoreError(
            f"expected {store.path} as it was when {run} was trained, found another log in it; choose another name=... or force=true"
        )


def as_trained(checkpoint: dict[str, Any], store: SequenceStore, *, run: Path) -> SequenceStore:
    """The store as a checkpoint of `run` knows it: events of days that were added since are there, keys that are new are unknown ones.

    Raises StoreError where the store didn't grow from the one that the checkpoint was trained on.
    """
    known = store.as_known_to(checkpoint["store"])
    if known is None:
        check_same_log(checkpoint, store, run=run)
    assert known
    return known
