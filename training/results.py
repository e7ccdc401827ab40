"""What a finished run leaves behind: figures, predictions, named customers and the report."""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from omegaconf import DictConfig

from training.build import Parts
from training.evaluation.comparison import IntentResult, RankingResult, compare_intent, compare_ranking, judge
from training.evaluation.outcomes import outcome_metrics
from training.evaluation.verdict import intent_contest, ranking_contest, verdict_lines
from training.files import replacing_file, write_json
from training.layout import CURVE, PREDICTIONS, REPORT, SHOWCASE, SUMMARY
from training.objectives.intent import Intent
from training.objectives.next_item import NextItem
from training.reporting import write_run_report
from training.showcase import showcase

NOT_JUDGED = "Whether they come back is not judged: leave-one-out asks right before a step, so that everybody comes back."
PACKAGES = ("torch", "pytorch-lightning", "polars", "numpy", "lightgbm", "scikit-learn")


def write_results(config: DictConfig, parts: Parts, out: Path, *, best_epoch: int, train_seconds: float) -> None:
    """Ask the test window once and write predictions, showcase, report and, last, summary.json: it marks a run as finished."""
    customers, evidence = judge(parts.model, parts.questions, parts.split.test, customers_per_batch=config.customers_per_batch)
    ranking, intent = _comparisons(config, parts, customers, evidence)
    write_predictions(out / PREDICTIONS, parts, ranking, intent)
    shown = showcase(config, parts, ranking, intent)
    write_json(out / SHOWCASE, {"customers": [customer.as_dict() for customer in shown]})
    summary = {
        "name": config.name,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": config.seed,
        "best_epoch": best_epoch,
        "ranking": _ranking_summary(ranking),
        "intent": _intent_summary(intent),
        "customers": {"ranking": len(ranking.customers) if ranking else 0, "intent": len(intent.customers) if intent else 0},
        "seconds": {"preprocess": parts.store.meta.get("seconds"), "train": round(train_seconds, 1)},
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
    }
    summary["verdict"] = verdicts(ranking, intent, seed=config.seed)
    if parts.model.objective(Intent) and intent is None:
        summary["verdict"].append(NOT_JUDGED)
    write_run_report(out / REPORT, config, parts, ranking, intent, shown, summary, curve=out / CURVE)
    write_json(out / SUMMARY, summary)


def verdicts(ranking: RankingResult | None, intent: IntentResult | None, *, seed: int) -> list[str]:
    """The model against every baseline, in words, the worst news first."""
    contests = [ranking_contest(ranking.metrics, seed=seed)] if ranking else []
    contests += [intent_contest(intent.bought, intent.probabilities, seed=seed)] if intent else []
    return verdict_lines(contests)


def write_predictions(path: Path, parts: Parts, ranking: RankingResult | None, intent: IntentResult | None) -> None:
    """A row a customer of the test window: what the model and each baseline said of them, and what happened."""
    table = pl.DataFrame({"position": np.flatnonzero(parts.split.test.asked)})
    if intent:
        said = {f"purchase_probability_{name}": values for name, values in intent.probabilities.items()}
        table = table.join(pl.DataFrame({"position": intent.customers, "bought": intent.bought, **said}), on="position", how="left")
    if ranking:
        figures = {f"ndcg@10_{name}": metrics["ndcg@10"] for name, metrics in ranking.metrics.items()}
        table = table.join(pl.DataFrame({"position": ranking.customers, **figures}), on="position", how="left")
    keys = pl.Series("customer", [parts.store.customers[position] for position in table["position"]])
    with replacing_file(path) as aside:
        table.select(keys, pl.exclude("position")).write_parquet(aside)


def _comparisons(
    config: DictConfig, parts: Parts, customers: np.ndarray, evidence: Mapping[str, dict[str, np.ndarray]]
) -> tuple[RankingResult | None, IntentResult | None]:
    ranking, intent = None, None
    for name, objective in parts.model.objectives.items():
        if isinstance(objective, NextItem):
            ranking = compare_ranking(parts.store, parts.split, objective, customers, evidence[name], seed=config.seed)
        if isinstance(objective, Intent) and parts.split.kind == "time":
            events = parts.store.vocabularies["event"].keys
            intent = compare_intent(parts.store, parts.split, objective, customers, evidence[name], event_names=events, seed=config.seed)
    return ranking, intent


def _ranking_summary(result: RankingResult | None) -> dict[str, Any]:
    if result is None:
        return {}
    return {name: {metric: float(values.mean()) for metric, values in metrics.items()} for name, metrics in result.metrics.items()}


def _intent_summary(result: IntentResult | None) -> dict[str, Any]:
    if result is None:
        return {}
    metrics = {name: outcome_metrics(result.bought, probabilities) for name, probabilities in result.probabilities.items()}
    # where all customers did the same there is no AUROC; JSON has no NaN
    return {name: {metric: None if np.isnan(value) else value for metric, value in of.items()} for name, of in metrics.items()}
