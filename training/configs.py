"""What the configs of training may hold, and which settings decide what a run yields."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from training.baselines.member_value import MemberValue
from training.module import SequenceModule
from training.sequences.split import make_split
from training.settings import Count, Names, Node, NotNegative, Positive, Seed, Share, Text, Whole, check_settings, check_target

# made from the log and the other settings, so that no setting can give them
MADE = {"facts", "log", "model", "judged_by", "total_steps", "seed"}
# these say where things lie, how much is shown and how often it is saved; the log itself is known by the digest of its store
WITHOUT_EFFECT = {"force", "out", "store", "make_store", "checkpoint_minutes", "trainer.enable_progress_bar"}


@dataclass(frozen=True)
class TrainSettings:
    """conf/train.yaml, composed."""

    name: Text
    store: Text
    make_store: bool
    out: Text
    force: bool
    refit: bool
    trials: Text | None
    seed: Seed
    dim: Count
    dropout: Share
    max_events: Count
    categories: Names
    numbers: list[str]
    item_tower: bool | Names
    counted_events: list[str]
    visit_events: list[str]
    knows_times: bool
    knows_items: bool
    knows_target_time: bool
    customers_per_batch: Count
    tokens_per_batch: Count | None
    batches_per_epoch: Count | None
    patience: Count
    average_weights: Share
    checkpoint_minutes: NotNegative
    showcase: Whole
    member_value: Node
    data: Node
    encoder: Node
    moments: Node
    objectives: Node
    optimiser: Node
    trainer: Node


@dataclass(frozen=True)
class LogSettings:
    """What training reads of the log's config; the rest describes its files, to preprocessing."""

    next_item_events: Names
    intent_events: Names
    intent_horizon_days: Positive
    split: Node


@dataclass(frozen=True)
class TrainerSettings:
    """What we read of the trainer's arguments; Lightning checks its own."""

    accelerator: Text
    max_epochs: Count
    enable_progress_bar: bool


@dataclass(frozen=True)
class ExportSettings:
    """conf/export.yaml."""

    run: Text | None
    out: Text
    golden_customers: Whole
    tolerance: NotNegative
    force: bool


@dataclass(frozen=True)
class ScoreSettings:
    """conf/score.yaml."""

    run: Text | None
    now: Text | None
    out: Text
    reasons: Whole
    explain: str | None
    steps_tried: Count
    customers_per_batch: Count
    force: bool


def check_train_config(config: DictConfig) -> None:
    """Raises ConfigError for the first setting that is misspelt, missing, of another type or out of its limits."""
    plain = _plain(config)
    check_settings(plain, TrainSettings)
    check_settings(plain["data"], LogSettings, where="data", others=True)
    check_settings(plain["data"]["split"], make_split, where="data.split", given=MADE)
    check_settings(plain["trainer"], TrainerSettings, where="trainer", others=True)
    check_settings(plain["optimiser"], SequenceModule, where="optimiser", given=MADE)
    check_settings(plain["member_value"], MemberValue, where="member_value")
    named = {"encoder": plain["encoder"], "moments": plain["moments"]}
    for where, node in {**named, **{f"objectives.{name}": node for name, node in plain["objectives"].items()}}.items():
        check_target(node, where=where, given=MADE)


def check_export_config(config: DictConfig) -> None:
    """As `check_train_config`."""
    check_settings(_plain(config), ExportSettings)


def check_score_config(config: DictConfig) -> None:
    """As `check_train_config`."""
    check_settings(_plain(config), ScoreSettings)


def deciding(config: Mapping[str, Any] | DictConfig) -> dict[str, Any]:
    """The settings that decide what a run yields on a store, by their dotted names; null says as much as a setting that is not there."""
    plain: dict[str, Any] = _plain(config) if isinstance(config, DictConfig) else dict(config)
    read = {entry.name for entry in fields(LogSettings)}
    plain["data"] = {name: value for name, value in plain["data"].items() if name in read}
    return {name: value for name, value in _flat(plain) if name not in WITHOUT_EFFECT and value is not None}


def _plain(config: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
