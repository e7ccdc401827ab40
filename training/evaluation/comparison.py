"""The model's answers beside every baseline's, on the same customers, the same moments, the same catalogue. The test is read here, once."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from rich.progress import track

from training.baselines.intent import intent_baselines
from training.baselines.ranker import RankingQuestion, evaluate_and_show
from training.baselines.ranking import ranking_baselines
from training.evaluation.breadth import BREADTH_METRICS, breadth
from training.evaluation.compared import Comparison, of_probabilities, of_rankings
from training.evaluation.ranking_groups import ranking_groups, ranking_panel
from training.evaluation.rivals import Rivals
from training.sequences.future import Future
from training.sequences.history import History, Log
from training.sequences.split import DAY, Split, Window


def compare_ranking(
    rivals: Rivals,
    customers: np.ndarray,
    evidence: Mapping[str, np.ndarray],
    *,
    kinds: np.ndarray,
    shown: np.ndarray,
    counts: np.ndarray,
    candidates: np.ndarray,
    leave_out_seen: bool = False,
) -> Comparison:
    """Beside popularity, buy again and item-to-item, for those customers whom something followed.

    customers: positions, rising [n]; evidence: {metric: [n]}; kinds: event ids; candidates: bool [num_items]; counts [num_items]: how
    often training saw each taken; shown: the ten items that the model recommends to each [n, 10]. leave_out_seen: whether what a customer
    has had is out of question, for everybody.
    """
    log, split, seed = rivals.store, rivals.split, rivals.seed
    validation, test = (
        replace(ranking_question(log, window, kinds), leave_out_seen=leave_out_seen) for window in (split.validation, split.test)
    )
    baselines = ranking_baselines(validation, test.history, candidates=candidates, target_events=kinds, seed=seed)
    place = np.searchsorted(customers, test.customers)
    metrics: dict[str, Mapping[str, np.ndarray]] = {"model": {name: values[place] for name, values in evidence.items()}}
    items = {"model": shown[place]}
    for name, ranker in track(baselines.items(), description="Asking the ranking baselines"):
        metrics[name], items[name] = evaluate_and_show(ranker, test)
    when = f"on {cutoff(split)}" if split.kind == "time" else "right after the last step but one"
    had = "are left out" if leave_out_seen else "stay in the ranking"
    question = f"Asked {when}: which items will the customer's next basket hold? Items had before {had}."
    settings = {name: ranker.settings for name, ranker in baselines.items()}
    comparison = of_rankings(question, test.customers, metrics, settings, seed=seed)
    wide = {name: breadth(of, counts=counts, candidates=candidates) for name, of in items.items()}
    figures = {name: {**of, **wide[name]} for name, of in comparison.figures.items()}
    groups = ranking_groups(test.history, test.customers, metrics, rivals.store.vocabularies)
    shown_metrics = [*comparison.shown, *BREADTH_METRICS]
    return replace(comparison, figures=figures, shown=shown_metrics, groups=groups, panels=[ranking_panel(groups)])


def compare_intent(
    rivals: Rivals, customers: np.ndarray, evidence: Mapping[str, np.ndarray], *, kinds: np.ndarray, horizon: int
) -> Comparison:
    """Beside RFM and the boosted trees, for those customers whose horizon (µs) is known to its end.

    Only for splits by time: the baselines are taught on past moments that all customers share. evidence: `probability` and `bought` [n].
    """
    log, split, seed = rivals.store, rivals.split, rivals.seed
    seen = ~np.isnan(evidence["bought"])
    asked, bought = customers[seen], evidence["bought"][seen] > 0
    baselines = intent_baselines(
        History.at(log, split.validation.until),
        validation_now=int(split.validation.now[0]),
        horizon=horizon,
        intent_events=kinds,
        event_names=rivals.store.vocabularies["event"].keys,
        seed=seed,
    )
    history, now = History.at(log, split.test.now), int(split.test.now[0])
    probabilities = {"model": evidence["probability"][seen]}
    probabilities |= {name: baseline.probabilities(history, now)[asked] for name, baseline in baselines.items()}
    did = f"{100 * bought.mean():.1f} % of {len(bought):,} did"
    question = f"Asked on {cutoff(split)}: will the customer buy within {horizon / DAY:g} days? {did}."
    return of_probabilities(
        question, asked, bought, probabilities, {name: baseline.settings for name, baseline in baselines.items()}, seed=seed
    )


def ranking_question(log: Log, window: Window, kinds: np.ndarray) -> RankingQuestion:
    """The customers of a window whom something followed, their histories and the items of their next basket."""
    asked = np.flatnonzero(window.asked)
    future = Future.after(log, kinds=kinds, now=window.now[asked], owner=asked, until=window.until[asked])
    items, offsets = future.items(whole_window=False)
    counts = np.diff(offsets)
    followed = counts > 0
    return RankingQuestion(History.at(log, window.now), asked[followed], items, np.append(0, np.cumsum(counts[followed])))


def cutoff(split: Split) -> str:
    """The day from which on the test lies in the future."""
    return datetime.fromtimestamp((int(split.test.now[0]) + 1) / 1e6, UTC).date().isoformat()
