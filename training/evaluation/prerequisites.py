"""Can a log answer what a run will ask of it? Found out before hours of training, not after."""

from collections.abc import Mapping

from training.errors import ConfigError
from training.objectives.objective import Objective
from training.sequences.history import Log
from training.sequences.split import Split


def check_answerable(log: Log, split: Split, objectives: Mapping[str, Objective]) -> None:
    """Raises ConfigError where the model or a baseline could not be judged on the validation or the test window."""
    judged = [objective for objective in objectives.values() if not objective.why_not_judged(split)]
    if not judged:
        raise ConfigError(
            f"expected an objective that a split by {split.kind} can judge, received {', '.join(objectives)}; use data.split.kind=time"
        )
    for objective in judged:
        objective.check_answerable(log, split)
