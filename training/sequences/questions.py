"""Customers and moments to a batch: the history before the last moment, the questions, what each objective wants to know of the future."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch

from training.sequences.batch import Batch
from training.sequences.history import History, Log, keep_last, offsets_of, take


class Labels(Protocol):
    """What an objective reads from the future, as arrays that its loss understands."""

    def labels(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> dict[str, np.ndarray]:
        """known: events up to `until`. now, owner, until: [Q] the moments, whose they are, and how far their future is known."""


class Questions:
    """Builds batches from a log. The fields are those that the model reads, in its order."""

    def __init__(self, log: Log, *, fields: list[str], max_events: int, objectives: Mapping[str, Labels]) -> None:
        self.log = log
        self.fields = fields
        self.max_events = max_events
        self.objectives = objectives

    def ask(self, customers: np.ndarray, now: np.ndarray, counts: np.ndarray, until: np.ndarray | None = None) -> Batch:
        """customers: positions in the log [B]; now: µs [Q]; counts: moments of each customer [B]; until: µs [B], or None for no labels."""
        whole = take(self.log, customers)
        owner = np.repeat(np.arange(len(customers)), counts)
        latest = np.full(len(customers), np.iinfo(np.int64).min)
        np.maximum.at(latest, owner, now)
        history = keep_last(History.at(whole, latest), self.max_events)
        labels = {} if until is None else self._labels(History.at(whole, until), now, owner, until[owner])
        return Batch(
            fields={field: _tensor(history.columns[field]) for field in self.fields},
            offsets=torch.from_numpy(history.offsets),
            now=torch.from_numpy(now.astype(np.int64)),
            question_offsets=torch.from_numpy(offsets_of(counts)),
            labels=labels,
        )

    def _labels(self, known: History, now: np.ndarray, owner: np.ndarray, until: np.ndarray) -> dict[str, dict[str, torch.Tensor]]:
        return {
            name: {key: torch.from_numpy(values) for key, values in objective.labels(known, now, owner, until).items()}
            for name, objective in self.objectives.items()
        }


def _tensor(column: np.ndarray) -> torch.Tensor:
    """Categories as int64, since embeddings and the exported graph take that; times and numbers as they are."""
    return torch.from_numpy(column.astype(np.int64) if column.dtype == np.int32 else column)
