"""What would end training later ends it before anything is written."""

from pathlib import Path

import pytest
from helpers_training import train_config

from training.build import build
from training.errors import ConfigError
from training.rehearsal import rehearse
from training.sequences.store import SequenceStore


def test_several_processes_share_no_sample(small_store: Path, tmp_path: Path) -> None:
    """Sparse gradients would fail at the first step in Lightning's words."""
    settings = train_config(small_store, tmp_path / "run", "objectives.next_item.loss=sampled")
    parts = build(settings, SequenceStore.open(small_store))
    rehearse(parts, num_ranks=1)
    with pytest.raises(ConfigError, match=r"expected one process .* received 2; set trainer.devices=1 or objectives.next_item.loss=full"):
        rehearse(parts, num_ranks=2)
