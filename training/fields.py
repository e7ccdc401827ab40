"""Which fields of a log's events a model reads: those that its config names and the log has."""

import logging
from dataclasses import dataclass
from difflib import get_close_matches

from omegaconf import DictConfig

from training.errors import ConfigError
from training.events.schema import CANONICAL
from training.sequences.store import SequenceStore

ALWAYS = ("item", "event")  # no model and no baseline does without

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fields:
    """names: all of them, the timestamp among them, in the order of the exported graph's inputs."""

    categories: list[str]
    numbers: list[str]

    @property
    def names(self) -> list[str]:
        return [*self.categories, "timestamp", *self.numbers]


def fields_read(config: DictConfig, store: SequenceStore) -> Fields:
    """Raises ConfigError for a name that no log has and for one of another kind; what only this log lacks is logged."""
    if missing := [name for name in ALWAYS if name not in config.categories]:
        raise ConfigError(f"expected {' and '.join(ALWAYS)} among categories, received {', '.join(config.categories)}; add {missing[0]}")
    fields = Fields(_of_kind("category", "categories", config, store), _of_kind("number", "numbers", config, store))
    if absent := [name for name in [*config.categories, *config.numbers] if name not in store.fields]:
        log.info("%s has no %s: the model does without", store.path, ", ".join(absent))
    return fields


def _of_kind(kind: str, setting: str, config: DictConfig, store: SequenceStore) -> list[str]:
    names = list(dict.fromkeys(config[setting]))
    kinds = {**CANONICAL, **(config.data.get("fields") or {}), **{name: entry["kind"] for name, entry in store.fields.items()}}
    known = sorted(name for name, its_kind in kinds.items() if its_kind == kind)
    for name in names:
        if name not in known:
            found = f"{name}, a {kinds[name]}" if name in kinds else name
            near = get_close_matches(name, known, n=1)
            remedy = f"did you mean {near[0]}?" if near else "correct it, or declare it under data.fields"
            raise ConfigError(f"expected {setting} to name fields of kind {kind} ({', '.join(known)}), received {found}; {remedy}")
    return [name for name in names if name in store.fields]
