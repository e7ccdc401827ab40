"""A composed config and a store to what training needs: split, model, questions, batches. The same for training, export and tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from training.errors import ConfigError, DeviceError
from training.fields import fields_read
from training.models.facts import Facts
from training.models.features import Features
from training.models.grouping import group
from training.models.model import SequenceModel
from training.models.stairs import Stairs
from training.module import SequenceModule
from training.objectives.next_item import NextItem
from training.objectives.objective import Objective
from training.sequences.datamodule import SequenceData, TrainingBatches, num_batches, tokens_per_batch_of
from training.sequences.history import Log
from training.sequences.questions import Questions
from training.sequences.split import Split, at_target_times, make_split
from training.sequences.store import SequenceStore

LOOKED_AT, AT_ONCE = 512, 32  # customers, by whom it is seen how numbers of the rhythm lie


@dataclass(frozen=True)
class Parts:
    """Everything that a run is made of. split: by which it is judged; a refit learned from more than its training window."""

    store: SequenceStore
    split: Split
    facts: Facts
    model: SequenceModel
    questions: Questions
    data: SequenceData
    module: SequenceModule


def build(config: DictConfig, store: SequenceStore, *, refit: bool = False) -> Parts:
    """Seeded: the same config and store give the same first weights. Raises ConfigError for what the log does not have.

    refit: learn from all time before the test, validation included.
    """
    torch.manual_seed(config.seed)
    split = make_split(store, **_plain(config.data.split))
    train_until = split.test.now if refit else split.train_until
    tower = _plain(config).get("item_tower", False)
    counted, visited = (_plain(config).get(name, []) for name in ("counted_events", "visit_events"))
    facts = Facts.of(
        store,
        store.vocabularies,
        train_until,
        item_tower=tower,
        counted=counted,
        visited=visited,
        knows_times=config.get("knows_times", True),
        knows_items=config.get("knows_items", True),
    )
    fields = fields_read(config, store)
    objectives = {name: instantiate(settings, _partial_=True)(facts=facts) for name, settings in config.objectives.items()}
    _introduce(objectives)
    _check_outputs(objectives)
    _check_read(objectives, fields.names)
    _check_known(objectives, facts)
    if config.get("knows_target_time", False):
        split = at_target_times(store, split, _kinds_of_targets(objectives))
    features = Features(
        categories=fields.categories,
        numbers=fields.numbers,
        rhythm_events=list(config.data.intent_events),
        dim=config.dim,
        dropout=config.dropout,
        facts=facts,
        sparse_items=any(objective.sees_a_sample for objective in objectives.values()),
    )
    model = SequenceModel(features, instantiate(config.encoder), objectives)
    questions = Questions(store, fields=fields.names, max_events=config.max_events, objectives=objectives)
    moments = instantiate(config.moments)
    data = SequenceData(
        store,
        replace(split, train_until=train_until),
        questions,
        moments,
        customers_per_batch=config.customers_per_batch,
        tokens_per_batch=_tokens_per_batch(config, store, train_until),
        seed=config.seed,
    )
    batches = data.training_batches(epoch=0, rank=0, num_ranks=1)
    _place_stairs(model, batches)
    module = SequenceModule(
        model,
        judged_by=[name for name, objective in objectives.items() if not objective.why_not_judged(split)],
        **_plain(config.optimiser),
        total_steps=len(batches) * config.trainer.max_epochs,
        seed=config.seed,
    )
    return Parts(store, split, facts, model, questions, data, module)


def _tokens_per_batch(config: DictConfig, log: Log, until: np.ndarray) -> int | None:
    """As set, or as many as make the number of batches that is set. Raises ConfigError where both are."""
    tokens: int | None = config.get("tokens_per_batch")
    batches = config.get("batches_per_epoch")
    if tokens and batches:
        raise ConfigError(f"expected tokens_per_batch or batches_per_epoch, received both, {tokens} and {batches}; set one of them to null")
    return tokens_per_batch_of(log, until, max_events=config.max_events, batches_per_epoch=batches) if batches else tokens


def _place_stairs(model: SequenceModel, batches: TrainingBatches) -> None:
    """By the rhythm of some customers at moments of the first epoch: evenly chosen, a few at once, since histories may be long."""
    stairs = [module for module in model.modules() if isinstance(module, Stairs)]
    if not stairs:
        return
    chosen = batches.customers[np.linspace(0, len(batches.customers) - 1, min(len(batches.customers), LOOKED_AT)).astype(np.int64)]
    with torch.no_grad():
        asked = [batches.of(few) for few in np.array_split(chosen, num_batches(len(chosen), AT_ONCE))]
        seen = torch.cat([model.features.rhythm(batch, group(batch)) for batch in asked])
    for one in stairs:
        one.fit(seen)


def _kinds_of_targets(objectives: Mapping[str, Objective]) -> np.ndarray:
    """The events that are answers. Raises ConfigError beside other objectives: whether somebody comes, and when, would be told."""
    (objective, *others) = objectives.values()
    if others or not isinstance(objective, NextItem):
        raise ConfigError(f"expected objective=[next_item] where knows_target_time=true, received {', '.join(objectives)}; ask one of them")
    return objective.kinds


def _introduce(objectives: Mapping[str, Objective]) -> None:
    """Who takes up what another objective says hears it. Raises ConfigError where the model lacks that one."""
    for name, objective in objectives.items():
        if objective.hears and objective.hears not in objectives:
            raise ConfigError(
                f"expected {objective.hears}, which objectives.{name} hears, among the objectives, received {', '.join(objectives)}; add it"
            )
        if objective.hears:
            objective.listen(objectives[objective.hears])


def _check_outputs(objectives: Mapping[str, Objective]) -> None:
    names = [output.name for objective in objectives.values() for output in objective.outputs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"expected each answer from one objective, received {', '.join(twice)} from several; leave one out")


def _check_read(objectives: Mapping[str, Objective], fields: Sequence[str]) -> None:
    for name, objective in objectives.items():
        if missing := sorted(set(objective.reads) - set(fields)):
            raise ConfigError(
                f"expected the model to read {missing[0]}, of which objectives.{name} asks, received {', '.join(fields)}; "
                f"add {missing[0]} to categories"
            )


def _check_known(objectives: Mapping[str, Objective], facts: Facts) -> None:
    recommends = [name for name, objective in objectives.items() if isinstance(objective, NextItem)]
    if recommends and not facts.knows_items:
        raise ConfigError(f"expected objectives of outcomes alone where knows_items=false, received {recommends[0]}; leave it out")
    if facts.said and not facts.knows_items:
        raise ConfigError(f"expected item_tower=false where knows_items=false, received {', '.join(facts.said)}; choose one of them")


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


def _plain(node: DictConfig) -> dict:
    return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]
