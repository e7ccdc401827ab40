"""What lies in the folder of a run, by its names. docs/design.md says what each of them holds."""

from pathlib import Path

CONFIG = "config.yaml"
BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"
REFIT = "checkpoints/refit.ckpt"  # trained anew on all time before the test, where refit=true
REFIT_LAST = "checkpoints/refit_last.ckpt"  # from where that goes on, where it was interrupted
CURVE, TENSORBOARD = "metrics.csv", "tensorboard"
PREDICTIONS, SHOWCASE, REPORT = "predictions.parquet", "showcase.json", "report.html"
SUMMARY = "summary.json"  # written last: it marks a run as finished
TRIAL = "trial.json"  # written last by a trial of a search, in the place of all that needs the test
CONTRACT = "contract.json"  # in the folder of an artifact


def answering(run: Path) -> Path:
    """The checkpoint of a run that gives its answers."""
    return run / REFIT if (run / REFIT).exists() else run / BEST
