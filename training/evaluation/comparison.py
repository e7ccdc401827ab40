"""The trained model beside every baseline, on the same customers, the same moments, the same catalogue. The test is read here, once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from rich.progress import track
from torch.utils.data import DataLoader

from training.baselines.intent import intent_baselines
from training.baselines.ranker import RankingQuestion, evaluate_ranker
from training.baselines.ranking import ranking_baselines
from training.models.model import SequenceModel
from training.module import joined
from training.objectives.intent import Intent
from training.objectives.next_item import NextItem
from training.sequences.datamodule import WindowBatches
from training.sequences.future import Future
from training.sequences.history import History, Log
from training.sequences.questions import Questions
from training.sequences.split import Split, Window


@dataclass(frozen=True)
class RankingResult:
    """customers: positions [n]; metrics: {model or baseline: {metric: [n]}}; settings: what was chosen for each baseline, in words."""

    customers: np.ndarray
    metrics: Mapping[str, Mapping[str, np.ndarray]]
    settings: Mapping[str, str]


@dataclass(frozen=True)
class IntentResult:
    """customers: positions [n]; bought: bool [n]; probabilities: {model or baseline: [n]}."""

    customers: np.ndarray
    bought: np.ndarray
    probabilities: Mapping[str, np.ndarray]
    settings: Mapping[str, str]


def judge(
    model: SequenceModel, questions: Questions, window: Window, *, customers_per_batch: int
) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
    """The model's evidence on every customer of a window: positions [n] and {objective: {name: [n]}}."""
    batches = WindowBatches(questions, window, customers_per_batch=customers_per_batch)
    evidence: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in model.objectives}
    model.eval()
    with torch.inference_mode():
        for batch in track(DataLoader(batches, batch_size=None), description="Asking the model"):
            context = model.represent(batch)
            for name, objective in model.objectives.items():
                evidence[name].append(objective.judge(context, batch.labels[name]))
    return batches.customers, {name: joined(parts) for name, parts in evidence.items()}


def compare_ranking(
    log: Log, split: Split, objective: NextItem, customers: np.ndarray, evidence: dict[str, np.ndarray], *, seed: int
) -> RankingResult:
    """The model's ranking metrics beside popularity, buy again and item-to-item, for those customers whom something followed."""
    test = ranking_question(log, split.test, objective.kinds)
    baselines = ranking_baselines(
        ranking_question(log, split.validation, objective.kinds),
        test.history,
        candidates=torch.isfinite(objective.candidate_bias).numpy(),
        target_events=objective.kinds,
        seed=seed,
    )
    place = np.argsort(customers)[np.searchsorted(np.sort(customers), test.customers)]
    metrics: dict[str, Mapping[str, np.ndarray]] = {"model": {name: values[place] for name, values in evidence.items()}}
    for name, ranker in track(baselines.items(), description="Asking the ranking baselines"):
        metrics[name] = evaluate_ranker(ranker, test)
    return RankingResult(test.customers, metrics, {name: ranker.settings for name, ranker in baselines.items()})


def compare_intent(
    log: Log, split: Split, objective: Intent, customers: np.ndarray, evidence: dict[str, np.ndarray], *, event_names: list[str], seed: int
) -> IntentResult:
    """The model's probabilities beside RFM's and the boosted trees', for those customers whose horizon is known to its end.

    Only for splits by time: the baselines are taught on past moments that all customers share.
    """
    seen = ~np.isnan(evidence["bought"])
    order = np.argsort(customers[seen])
    asked = customers[seen][order]
    baselines = intent_baselines(
        History.at(log, split.validation.until),
        validation_now=int(split.validation.now[0]),
        horizon=objective.horizon,
        intent_events=objective.kinds,
        event_names=event_names,
        seed=seed,
    )
    history, now = History.at(log, split.test.now), int(split.test.now[0])
    probabilities = {"model": evidence["probability"][seen][order]}
    probabilities |= {name: baseline.probabilities(history, now)[asked] for name, baseline in baselines.items()}
    bought = evidence["bought"][seen][order] > 0
    return IntentResult(asked, bought, probabilities, {name: baseline.settings for name, baseline in baselines.items()})


def ranking_question(log: Log, window: Window, kinds: np.ndarray) -> RankingQuestion:
    """The customers of a window whom something followed, their histories and the items of their next basket."""
    asked = np.flatnonzero(window.asked)
    future = Future.after(log, kinds=kinds, now=window.now[asked], owner=asked, until=window.until[asked])
    items, offsets = future.items(whole_window=False)
    counts = np.diff(offsets)
    followed = counts > 0
    return RankingQuestion(History.at(log, window.now), asked[followed], items, np.append(0, np.cumsum(counts[followed])))
