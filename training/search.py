"""The trials of a search: each is a run that knows validation alone; one that does worse than most is stopped.

    python -m training.run --multirun search=next_item experiment=leave_one_out data.path=my_lines.txt name=my_search

Hydra's sweeper for Optuna proposes settings, `training.run` trains with them and returns the validation quality.
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from training.curve import read_curve
from training.files import write_json
from training.layout import CURVE, TRIAL

QUALITY = "validation/quality"
FEWEST_TRIALS, FEWEST_EPOCHS = 4, 2  # before which none is stopped


class MedianStopping(pl.Callback):
    """Stops a trial whose best quality so far is below the median of what the finished ones had reached by that epoch.

    The median stopping rule of Golovin et al., "Google Vizier" (KDD 2017), with their best so far in the place of their mean so far. A
    trial that was stopped is one of the finished for the epochs that it had.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.qualities: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        self.qualities = [*self.qualities[: trainer.current_epoch], float(trainer.callback_metrics[QUALITY])]
        if is_hopeless(self.qualities, [qualities_of(folder) for folder in others(self.out)]):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"qualities": self.qualities}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.qualities = state["qualities"]


def is_hopeless(qualities: Sequence[float], of_others: Sequence[Sequence[float]]) -> bool:
    """Whether a trial with these qualities, one an epoch, is to be stopped now."""
    epochs = len(qualities)
    reached = [max(others[:epochs]) for others in of_others if len(others) >= epochs]
    return epochs >= FEWEST_EPOCHS and len(reached) >= FEWEST_TRIALS and max(qualities) < statistics.median(reached)


def others(out: Path) -> list[Path]:
    """The folders of the finished trials beside one."""
    return sorted(file.parent for file in out.parent.glob(f"*/{TRIAL}") if file.parent != out)


def qualities_of(trial: Path) -> list[float]:
    """Its validation quality, epoch by epoch."""
    return [row[QUALITY] for row in read_curve(trial / CURVE)]


def write_trial(out: Path, settings: Sequence[str]) -> None:
    """What a trial came to, once it has ended. settings: its overrides."""
    qualities = qualities_of(out)
    best = max(qualities)
    write_json(out / TRIAL, {"quality": best, "best_epoch": qualities.index(best), "epochs": len(qualities), "settings": list(settings)})


def read_trial(out: Path) -> dict[str, Any]:
    """{quality, best_epoch, epochs, settings}."""
    return json.loads((out / TRIAL).read_text())


def told(out: Path) -> str:
    """How a trial did beside the best, in a line."""
    trials = {folder: read_trial(folder) for folder in [out, *others(out)]}
    best = max(trials, key=lambda folder: trials[folder]["quality"])
    mine = trials[out]
    return (
        f"Trial {out.name}: validation quality {mine['quality']:.4f} after {mine['epochs']} epochs; "
        f"best of {len(trials)}: {trials[best]['quality']:.4f} in trial {best.name}, {' '.join(trials[best]['settings'])}"
    )
