"""Figures of groups: everybody in one band, channels by the latest event, and groups that add up to all."""

import numpy as np
import pytest

from training.evaluation.ranking_groups import ranking_groups, ranking_panel
from training.sequences.history import History
from training.sequences.vocabulary import Vocabulary

LENGTHS = np.array([0, 4, 5, 250])


def history(**columns: np.ndarray) -> History:
    return History(np.append(0, np.cumsum(LENGTHS)), {"item": np.full(LENGTHS.sum(), 2), **columns})


def figures() -> dict[str, dict[str, np.ndarray]]:
    return {"model": {"ndcg@10": np.array([0.1, 0.2, 0.4])}, "popularity": {"ndcg@10": np.array([0.0, 0.5, 0.0])}}


def test_bands_of_history() -> None:
    groups = ranking_groups(history(), np.array([1, 2, 3]), figures(), {})
    assert groups == {
        "events so far": {
            "1 to 4": {"customers": 1, "model": 0.1, "popularity": 0.0},
            "5 to 9": {"customers": 1, "model": 0.2, "popularity": 0.5},
            "200 or more": {"customers": 1, "model": 0.4, "popularity": 0.0},
        }
    }
    table = ranking_panel(groups).table
    assert table is not None
    assert table.columns == ["Customers", "How many", "model", "popularity"]
    assert table.rows[1] == ["events so far: 5 to 9", "1", "0.2000", "0.5000"]


def test_the_channel_is_that_of_the_latest_event() -> None:
    channel = np.full(LENGTHS.sum(), 2, dtype=np.int32)
    channel[[3, 8]] = 3  # the last events of the second and third customer
    vocabulary = Vocabulary(keys=["", "", "shop", "web"], counts=np.zeros(4, dtype=np.int64), attributes={})
    groups = ranking_groups(history(channel=channel), np.array([1, 2, 3]), figures(), {"channel": vocabulary})
    by_channel = groups["channel last seen in"]
    assert by_channel["web"] == {"customers": 2, "model": pytest.approx(0.15), "popularity": 0.25}
    assert by_channel["shop"]["customers"] == 1
