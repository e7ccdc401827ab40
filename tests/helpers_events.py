"""What tests of events and stores need: a config, a small log, a small store."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from training.sequences.pieces import pieces_of
from training.sequences.store import write_store
from training.sequences.vocabulary import RESERVED_KEYS, Vocabulary

HEADER = "customer,timestamp,event,item,price,quantity,channel"
GOOD = [
    "ann,2024-03-01T12:30:00Z,view,tea,,,web",
    "ben,2024-03-01T12:30:00Z,purchase,cup,4.5,1,shop",
    "ann,2024-03-02T08:00:00Z,purchase,tea,3.0,2,web",
]


def composed(*overrides: str) -> DictConfig:
    """conf/preprocess.yaml with a command line's overrides; without the page about the log, whose pictures take longest."""
    with initialize_config_module("conf", version_base="1.3"):
        return compose("preprocess", overrides=["collection=false", *overrides])


def write_log(folder: Path, rows: Sequence[str] = GOOD, *, header: str = HEADER, name: str = "log.csv") -> Path:
    """A CSV in canonical columns."""
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def events_config(path: Path, *overrides: str) -> DictConfig:
    """The config that makes `store` beside a log in canonical columns."""
    return composed("data=events", f"data.path={path}", f"out={path.parent / 'store'}", *overrides)


def small_store(path: Path) -> Path:
    """A store of two customers with three events: `ann` (2) and `ben` (1)."""
    event = Vocabulary([*RESERVED_KEYS, "purchase", "view"], np.array([0, 0, 2, 1]))
    item = Vocabulary([*RESERVED_KEYS, "tea", "cup"], np.array([0, 0, 2, 1]), {"name": ["", "", "Tea, 250 g", "Cup"]})
    columns = {
        "timestamp": np.array([10, 20, 15]),
        "event": np.int32([3, 2, 2]),
        "item": np.int32([2, 2, 3]),
        "price": np.float32([np.nan, 3, 4.5]),
    }
    meta = {"data": {"name": "shop"}, "counts": {"read": 3, "kept": 3, "quarantined": 0}, "reasons": {}, "sources": []}
    return write_store(
        path,
        events=pieces_of(columns),
        customers=["ann", "ben"],
        offsets=np.array([0, 2, 3]),
        vocabularies={"event": event, "item": item},
        quarantine=pa.table({"source": pa.array([], pa.string())}),
        meta=meta,
    )
