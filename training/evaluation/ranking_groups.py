"""For whom recommendations are good: NDCG@10 by how much is known of a customer and by the channel that they were last seen in."""

from collections.abc import Mapping

import numpy as np

from training.evaluation.panels import Panel, Table, number
from training.evaluation.verdict import contestant_name
from training.sequences.history import History
from training.sequences.vocabulary import Vocabulary

FIGURE = "ndcg@10"
BANDS = {"1 to 4": 4, "5 to 9": 9, "10 to 19": 19, "20 to 49": 49, "50 to 199": 199, "200 or more": np.inf}  # by their upper bounds
CHANNEL = "channel"
MOST_CHANNELS = 6

Groups = Mapping[str, Mapping[str, Mapping[str, float]]]


def ranking_groups(
    history: History, customers: np.ndarray, per_customer: Mapping[str, Mapping[str, np.ndarray]], vocabularies: Mapping[str, Vocabulary]
) -> Groups:
    """{by what: {group: {"customers": how many, contestant: NDCG@10}}}, of groups that hold anybody.

    history: everything before the moment of the question. customers: positions [n]. per_customer: {contestant: {metric: [n]}}.
    """
    length = history.num_events[customers]
    by = {"events so far": _of(np.searchsorted(np.array([*BANDS.values()]), length), list(BANDS))}
    if CHANNEL in history.columns and history.columns[CHANNEL].any():
        latest = np.where(length > 0, history.offsets[1:][customers] - 1, 0)
        channel = np.where(length > 0, history.columns[CHANNEL][latest], 0)
        largest = np.argsort(-np.bincount(channel), kind="stable")[:MOST_CHANNELS]
        keys = vocabularies[CHANNEL].keys
        by["channel last seen in"] = {keys[place] or "not known": channel == place for place in largest.tolist()}
    return {
        what: {name: _figures(members, per_customer) for name, members in groups.items() if members.any()} for what, groups in by.items()
    }


def ranking_panel(groups: Groups) -> Panel:
    """The table of the report."""
    rows = [
        [f"{what}: {name}", *(f"{value:,.0f}" if of == "customers" else number(value, 4) for of, value in one.items())]
        for what, group in groups.items()
        for name, one in group.items()
    ]
    contestants = [of for of in next(iter(next(iter(groups.values())).values())) if of != "customers"]
    columns = ["Customers", "How many", *map(contestant_name, contestants)]
    return Panel("By kind of customer", "NDCG@10 of each group; of small ones by chance.", table=Table(columns, rows))


def _of(place: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    return {name: place == number for number, name in enumerate(names)}


def _figures(members: np.ndarray, per_customer: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, float]:
    return {"customers": int(members.sum()), **{name: float(of[FIGURE][members].mean()) for name, of in per_customer.items()}}
