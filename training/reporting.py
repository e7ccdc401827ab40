"""What a run tells its readers: its results put into the report's words."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from training.build import Parts
from training.curve import read_curve
from training.evaluation.compared import Comparison
from training.evaluation.panels import Chapter
from training.evaluation.plots import TimeSpan
from training.evaluation.report import ReportContents, Story, write_report
from training.showcase import Shown

NUM_STEPS = 4


def write_run_report(
    path: Path,
    config: DictConfig,
    parts: Parts,
    compared: Sequence[Comparison],
    chapters: Sequence[Chapter],
    shown: Sequence[Shown],
    summary: Mapping[str, Any],
    *,
    curve: Path,
) -> None:
    """Write report.html for a run. curve: metrics.csv. summary: what summary.json will hold."""
    contents = ReportContents(
        name=config.name,
        created=summary["finished"],
        store=parts.store.meta,
        timestamps=parts.store.columns["timestamp"],
        spans=_spans(parts),
        metrics=read_curve(curve),
        comparisons=compared,
        chapters=chapters,
        stories=[_story(customer) for customer in shown],
        environment=_environment(summary),
        refitted=config.refit,
    )
    write_report(path, contents)


def _spans(parts: Parts) -> list[TimeSpan]:
    """The stretches of the time line; where customers differ (leave-one-out), from the earliest to the latest of them."""
    split, first = parts.split, int(parts.store.columns["timestamp"].min())
    validation, test = split.validation, split.test
    return [
        TimeSpan("training", first, int(split.train_until.max())),
        TimeSpan("validation", int(validation.now[validation.asked].min()), int(validation.until[validation.asked].max())),
        TimeSpan("test", int(test.now[test.asked].min()), int(test.until[test.asked].max())),
    ]


def _story(shown: Shown) -> Story:
    steps = [
        (time, [named(event) for event in events]) for time, events in groupby(shown.last_events, key=lambda event: event["timestamp"])
    ]
    names = {entry["item"]: named(entry) for entry in [*shown.predicted, *shown.taken]}
    return Story(
        customer=shown.customer,
        history=[(_date(time), items) for time, items in steps[-NUM_STEPS:]],
        predicted=[names[entry["item"]] for entry in shown.predicted],
        came=[names[entry["item"]] for entry in shown.taken],
        chances=shown.purchase_probability,
        came_back=shown.bought,
    )


def named(entry: Mapping[str, Any]) -> str:
    """An item for people. The key stays beside the name, since different items may have the same one."""
    return entry["name"] if entry["name"] == entry["item"] else f"{entry['name']} ({entry['item']})"


def _environment(summary: Mapping[str, Any]) -> dict[str, str]:
    versions = {name: str(version) for name, version in summary["versions"].items()}
    return {
        "hardware": summary["hardware"],
        "seed": str(summary["seed"]),
        "best epoch": str(summary["best_epoch"]),
        "training": f"{summary['seconds']['train']:,.0f} s",
        **versions,
    }


def _date(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).date().isoformat()
