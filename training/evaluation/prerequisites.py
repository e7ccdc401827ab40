"""Can a log answer what a run will ask of it? Found out before hours of training, not after."""

from collections.abc import Collection, Mapping

import numpy as np

from training.baselines.intent import past_moments
from training.errors import ConfigError
from training.objectives.intent import Intent
from training.objectives.next_item import NextItem
from training.objectives.objective import Objective
from training.sequences.history import History, Log
from training.sequences.split import DAY, Split, Window


def check_answerable(log: Log, split: Split, objectives: Mapping[str, Objective], *, judged_by: Collection[str]) -> None:
    """Raises ConfigError where the model or a baseline could not be judged on the validation or the test window."""
    if not judged_by:
        raise ConfigError(
            f"expected an objective that a split by {split.kind} can judge, received {', '.join(objectives)}; use data.split.kind=time"
        )
    for objective in (objectives[name] for name in judged_by):
        if isinstance(objective, NextItem):
            _check_catalogue(objective)
        if isinstance(objective, Intent):
            past_moments(int(log.columns["timestamp"].min()), int(split.validation.now[0]), objective.horizon)
        for name, window in (("validation", split.validation), ("test", split.test)):
            labels = _labels(log, window, objective)
            if isinstance(objective, NextItem):
                _check_followed(labels, name)
            if isinstance(objective, Intent):
                _check_both_outcomes(labels, name, objective.horizon / DAY)


def _check_catalogue(objective: NextItem) -> None:
    size = int(np.isfinite(objective.candidate_bias.numpy()).sum())
    if size < objective.top_k:
        raise ConfigError(
            f"expected at least top_k={objective.top_k} items to recommend, found {size}; set objectives.next_item.top_k={size} or less"
        )


def _check_followed(labels: Mapping[str, np.ndarray], name: str) -> None:
    if not len(labels["items"]):
        raise ConfigError(
            f"expected customers for whom something to recommend follows in the {name} window, found none; "
            "set data.split or data.next_item_events to fit the log"
        )


def _check_both_outcomes(labels: Mapping[str, np.ndarray], name: str, horizon_days: float) -> None:
    observed = labels["bought"][labels["observed"]]
    if not len(observed):
        raise ConfigError(
            f"expected a {name} window that holds the {horizon_days:g} days of data.intent_horizon_days, found a shorter one; "
            "set data.split.horizon_days to as many or more"
        )
    if observed.min() == observed.max():
        raise ConfigError(
            f"expected some customers to come back within {horizon_days:g} days of the {name} cutoff and some not, found "
            f"{int(observed.sum())} of {len(observed)}; set the cutoffs or data.intent_horizon_days to fit the log"
        )


def _labels(log: Log, window: Window, objective: Objective) -> dict[str, np.ndarray]:
    """What every customer who is asked will be judged by."""
    asked = np.flatnonzero(window.asked)
    return objective.labels(History.at(log, window.until), window.now[asked], asked, window.until[asked])
