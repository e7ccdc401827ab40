"""A composed config and a store to what training needs: split, model, questions, batches. The same for training, export and tests."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from training.errors import ConfigError, DeviceError
from training.models.facts import Facts
from training.models.features import Features
from training.models.model import SequenceModel
from training.module import SequenceModule
from training.objectives.intent import Intent
from training.objectives.objective import Objective
from training.sequences.datamodule import SequenceData, TrainingBatches
from training.sequences.questions import Questions
from training.sequences.split import Split, make_split
from training.sequences.store import SequenceStore

# the least that makes sense, and by its type what kind of number it is
LOWEST: dict[str, int | float] = {
    "seed": 0,
    "dim": 1,
    "dropout": 0.0,
    "max_events": 1,
    "moments.per_customer": 1,
    "customers_per_batch": 1,
    "optimiser.learning_rate": 0.0,
    "optimiser.weight_decay": 0.0,
    "optimiser.warmup_steps": 0,
    "trainer.max_epochs": 1,
    "patience": 1,
    "showcase": 0,
    "data.split.horizon_days": 0.0,
    "data.intent_horizon_days": 0.0,
}


@dataclass(frozen=True)
class Parts:
    """Everything that a run is made of."""

    store: SequenceStore
    split: Split
    facts: Facts
    model: SequenceModel
    questions: Questions
    data: SequenceData
    module: SequenceModule


def build(config: DictConfig, store: SequenceStore) -> Parts:
    """Seeded: the same config and store give the same first weights. Raises ConfigError for a value that makes no sense."""
    check_values(config)
    torch.manual_seed(config.seed)
    split = make_split(store, **{"kind": "time", **_plain(config.data.split)})
    facts = Facts.of(store, store.vocabularies, split.train_until)
    fields = fields_read(config, store)
    objectives = {name: instantiate(settings, _partial_=True)(facts=facts) for name, settings in config.objectives.items()}
    model = SequenceModel(_features(config, store, facts), instantiate(config.encoder), objectives)
    questions = Questions(store, fields=fields, max_events=config.max_events, objectives=objectives)
    moments = instantiate(config.moments)
    data = SequenceData(store, split, questions, moments, customers_per_batch=config.customers_per_batch, seed=config.seed)
    batches = len(
        TrainingBatches(questions, split, moments, customers_per_batch=config.customers_per_batch, seed=0, epoch=0, rank=0, num_ranks=1)
    )
    module = SequenceModule(
        model,
        judged_by=judged_by(split, objectives),
        **_plain(config.optimiser),
        total_steps=max(1, batches * config.trainer.max_epochs),
        seed=config.seed,
    )
    return Parts(store, split, facts, model, questions, data, module)


def check_values(config: DictConfig) -> None:
    """Raises ConfigError for the first setting whose value can't be used, naming it."""
    for name, lowest in LOWEST.items():
        value = OmegaConf.select(config, name)
        if value is not None and (not isinstance(value, type(lowest) | int) or value < lowest):
            kind = "a whole number" if isinstance(lowest, int) else "a number"
            raise ConfigError(f"expected {name} to be {kind} from {lowest} on, received {value!r}; correct it")
    if not config.dropout < 1:
        raise ConfigError(f"expected dropout to be less than 1, received {config.dropout!r}; correct it")


def judged_by(split: Split, objectives: Mapping[str, Objective]) -> list[str]:
    """The objectives whose answers can be judged. Under leave-one-out a window ends with its answer: "nobody came" is never seen."""
    return [name for name, objective in objectives.items() if split.kind == "time" or not isinstance(objective, Intent)]


def fields_read(config: DictConfig, store: SequenceStore) -> list[str]:
    """The event fields that the model reads, in the order of the exported graph's inputs."""
    return [*_of_kind(config.categories, "category", store), "timestamp", *_of_kind(config.numbers, "number", store)]


def make_trainer(config: DictConfig, **options: object) -> pl.Trainer:
    """Lightning's Trainer as the config names it.

    Raises DeviceError where a GPU is asked for and none is there, ConfigError for arguments that Lightning refuses.
    """
    if config.trainer.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise DeviceError(
            "expected a CUDA GPU for trainer=gpu, found none; use trainer=cpu, or a machine with a GPU and the extra revisit[gpu]"
        )
    try:
        trainer: pl.Trainer = instantiate(config.trainer, _partial_=True)(**options)
    except (TypeError, ValueError, MisconfigurationException) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"expected arguments of Lightning's Trainer in trainer, received some that it refuses: {reason}") from error
    return trainer


def _features(config: DictConfig, store: SequenceStore, facts: Facts) -> Features:
    return Features(
        categories=_of_kind(config.categories, "category", store),
        numbers=_of_kind(config.numbers, "number", store),
        rhythm_events=list(config.data.intent_events),
        dim=config.dim,
        dropout=config.dropout,
        facts=facts,
    )


def _of_kind(names: list[str], kind: str, store: SequenceStore) -> list[str]:
    """Those of the named fields that the log has. Raises ConfigError where one is of another kind."""
    present = [name for name in names if name in store.fields]
    wrong = [name for name in present if store.fields[name]["kind"] != kind]
    if wrong:
        raise ConfigError(
            f"expected {', '.join(wrong)} to be of kind {kind}, the store says {store.fields[wrong[0]]['kind']}; "
            "change categories or numbers in the config"
        )
    return present


def _plain(node: DictConfig) -> dict:
    return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]
