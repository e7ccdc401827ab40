"""What a finished run leaves behind: figures, predictions, named customers and the report."""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
from omegaconf import DictConfig

from training.audience.chapters import audience_chapters, in_summary
from training.baselines.member_value import MemberValue
from training.build import Parts
from training.curve import read_curve
from training.evaluation.compared import Comparison
from training.evaluation.judging import judge
from training.evaluation.rivals import Rivals
from training.evaluation.verdict import MODEL, Contest, verdict_lines
from training.files import replacing_file, write_json
from training.layout import CURVE, PREDICTIONS, REPORT, SHOWCASE, SUMMARY
from training.reporting import write_run_report
from training.resume import Elapsed
from training.showcase import showcase

ALWAYS_THERE = ("ranking", "intent")  # sections of summary.json, empty where the run has no such objective
PACKAGES = ("torch", "pytorch-lightning", "polars", "numpy", "lightgbm", "scikit-learn")


def write_results(config: DictConfig, parts: Parts, out: Path, *, best_epoch: int, elapsed: Elapsed) -> None:
    """Ask the test window once and write predictions, showcase, report and, last, summary.json: it marks a run as finished.

    elapsed: what training took when this is called, and the whole run when it ends.
    """
    seconds = {"preprocess": parts.store.meta.get("seconds"), "train": round(elapsed.seconds, 1)}
    compared = comparisons(config, parts)
    write_predictions(out / PREDICTIONS, parts, compared)
    shown = showcase(config, parts, compared)
    write_json(out / SHOWCASE, {"customers": [customer.as_dict() for customer in shown]})
    figures = {section: _finite(comparison.figures) for section, comparison in compared.items()}
    valid = validated(parts, out / CURVE, best_epoch=best_epoch)
    chapters = audience_chapters(parts, compared, seed=config.seed, customers_per_batch=config.customers_per_batch)
    objectives = parts.model.objectives
    summary = {
        "name": config.name,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": config.seed,
        "best_epoch": best_epoch,
        **{section: {} for section in ALWAYS_THERE},
        **{section: figures[section] for section in ALWAYS_THERE if section in figures},
        "valid": {**valid.get("ranking", {}), **valid},
        "test": {**figures.get("ranking", {}).get(MODEL, {}), **figures},
        "decided": {objective.section or name: objective.decided for name, objective in objectives.items() if objective.decided},
        "intervals": {section: _intervals(comparison.contest) for section, comparison in compared.items() if comparison.contest},
        "groups": {section: comparison.groups for section, comparison in compared.items() if comparison.groups},
        "audience": in_summary(chapters),
        "customers": {section: len(compared[section].customers) if section in compared else 0 for section in (*ALWAYS_THERE, *compared)},
        "seconds": seconds,
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        "verdict": verdicts(parts, compared),
    }
    write_run_report(out / REPORT, config, parts, list(compared.values()), chapters, shown, summary, curve=out / CURVE)
    write_json(out / SUMMARY, {**summary, "seconds": {**seconds, "total": round(elapsed.total, 1)}})


def comparisons(config: DictConfig, parts: Parts) -> dict[str, Comparison]:
    """Every objective that can be judged, by its section of the summary, beside what it is compared with."""
    customers, evidence = judge(parts.model, parts.questions, parts.split.test, customers_per_batch=config.customers_per_batch)
    purchases = np.flatnonzero(parts.model.features.rhythm.is_purchase.numpy())
    member_value = MemberValue(**config.member_value)
    rivals = Rivals(parts.store, parts.split, purchases=purchases, seed=config.seed, member_value=member_value)
    return {
        comparison.section or objective.section or name: comparison
        for name, objective in parts.model.objectives.items()
        if not objective.why_not_judged(parts.split)
        for comparison in objective.compare(rivals, customers, evidence[name])
    }


def validated(parts: Parts, curve: Path, *, best_epoch: int) -> dict[str, dict[str, float | None]]:
    """What the model reached on validation in the epoch that was chosen: {section: {metric: value}}."""
    chosen = next(row for row in read_curve(curve) if row["epoch"] == best_epoch)
    figures = {
        objective.section or name: {key.removeprefix(start): value for key, value in chosen.items() if key.startswith(start)}
        for name, objective in parts.model.objectives.items()
        for start in [f"validation/{name}_"]
    }
    return _finite(figures)


def verdicts(parts: Parts, compared: Mapping[str, Comparison]) -> list[str]:
    """The model against every baseline, in words, the worst news first; then what was not judged, and why."""
    contests = [comparison.contest for comparison in compared.values() if comparison.contest]
    not_judged = [objective.why_not_judged(parts.split) for objective in parts.model.objectives.values()]
    return [*verdict_lines(contests), *filter(None, not_judged)]


def write_predictions(path: Path, parts: Parts, compared: Mapping[str, Comparison]) -> None:
    """A row a customer of the test window: what the model and each baseline said of them, and what happened."""
    table = pl.DataFrame({"position": np.flatnonzero(parts.split.test.asked)})
    for comparison in compared.values():
        columns = pl.DataFrame({"position": comparison.customers, **comparison.columns})
        table = table.join(columns, on="position", how="left")
    keys = pl.Series("customer", [parts.store.customers[position] for position in table["position"]])
    with replacing_file(path) as aside:
        table.select(keys, pl.exclude("position")).write_parquet(aside)


def _intervals(contest: Contest) -> dict[str, dict[str, dict[str, float | None]]]:
    return {name: _finite({metric: interval._asdict() for metric, interval in of.items()}) for name, of in contest.intervals.items()}


def _finite(figures: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Where all customers did the same there is no AUROC, and an item that training never saw has no finite loss; JSON has neither."""
    return {name: {metric: value if np.isfinite(value) else None for metric, value in of.items()} for name, of in figures.items()}
