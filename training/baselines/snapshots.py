"""Customers photographed at moments: a table of features, and what they did next."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from training.baselines.features import Activity


@dataclass(frozen=True)
class Snapshots:
    """A row for each customer seen by each moment.

    values: float32 [rows, F]. customer: positions, moment: µs, labels: whether they came back within the horizon, each [rows].
    """

    names: list[str]
    values: np.ndarray
    customer: np.ndarray
    moment: np.ndarray
    labels: np.ndarray

    @classmethod
    def take(cls, activity: Activity, moments: Iterable[int], *, horizon: int = 0) -> "Snapshots":
        """At each of the moments (µs). With a horizon of 0 nobody comes back: a table to predict for."""
        names: list[str] = []
        parts = []
        for now in moments:
            names, values = activity.features(now)
            seen = activity.seen(now)
            parts.append((values[seen], seen, np.full(len(seen), now), activity.came_back(now, horizon)[seen]))
        return cls(names, *(np.concatenate(part) for part in zip(*parts, strict=True)))

    def columns(self, names: Sequence[str]) -> np.ndarray:
        """float32 [rows, len(names)]."""
        return self.values[:, [self.names.index(name) for name in names]]
