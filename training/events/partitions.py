"""Runs of all parts of a log, merged by customers: each partition is all rows of some consecutive customers.

A run is sorted by customer, so that a partition is one stretch of each. A partition depends on these stretches and on the keys of all runs
and on nothing else: any process may make it, at any time.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from training.events.order import order_of
from training.events.runs import CUSTOMER, ORDER, TIMESTAMP, Run, each, open_run


@dataclass(frozen=True)
class Merger:
    """runs     folders that `save_run` wrote, in the order of the log
    fields   the columns of each run, in the store's order
    keys     {customer and each category: the distinct texts of all runs, sorted}
    places   {the same: for each run the places of its own keys among these, int32, and at the end -1, where a missing value's place leads}
    bounds   customers at which partitions begin, and the number of customers: partition p is bounds[p]:bounds[p + 1]
    """

    runs: list[Path]
    fields: list[str]
    keys: dict[str, pl.Series]
    places: dict[str, list[np.ndarray]]
    bounds: np.ndarray

    @classmethod
    def of(cls, runs: list[Path], *, fields: list[str], rows_at_a_time: int) -> "Merger":
        """Partitions of at most so many rows, but of one customer at least."""
        keys, places = {}, {}
        for name in open_run(runs[0]).keys:
            keys[name] = _united(runs, name)
            places[name] = [_places(keys[name], _keys(run, name)) for run in runs]
        counts = np.zeros(len(keys[CUSTOMER]), dtype=np.int64)
        for run, place in zip(runs, places[CUSTOMER], strict=True):
            counts[place[:-1]] += np.diff(open_run(run, {}).offsets)
        return cls(runs, fields, keys, places, _bounds(counts, rows_at_a_time))

    @property
    def num_partitions(self) -> int:
        return len(self.bounds) - 1

    def partition(self, number: int) -> Run:
        """The sorted rows of a partition; its keys are those of all runs, but for the customers, which are its own."""
        first, end = self.bounds[number : number + 2]
        stretches = [self._stretch(run, first, end) for run in range(len(self.runs))]
        customer = np.concatenate([customer for customer, _ in stretches])
        columns = {name: np.concatenate([columns[name] for _, columns in stretches]) for name in [*self.fields, ORDER]}
        del stretches
        offsets = np.concatenate([[0], np.cumsum(np.bincount(customer, minlength=end - first))])
        rank = order_of(customer, columns[TIMESTAMP])
        columns = dict(zip(columns, each(lambda name: columns[name][rank], columns), strict=True))
        return Run({**self.keys, CUSTOMER: self.keys[CUSTOMER][int(first) : int(end)]}, offsets, columns, columns.pop(ORDER))

    def _stretch(self, run: int, first: int, end: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The customers, counted from `first`, and the columns of a run's rows of customers first:end."""
        opened, customers = open_run(self.runs[run], {}), self.places[CUSTOMER][run][:-1]
        begin, stop = np.searchsorted(customers, [first, end])
        rows = slice(*opened.offsets[[begin, stop]])
        customer = np.repeat(customers[begin:stop] - first, np.diff(opened.offsets[begin : stop + 1]))
        columns = {name: opened.columns[name][rows] for name in self.fields}
        columns |= {name: self.places[name][run][columns[name]] for name in self.fields if name in self.places}
        return customer, {**columns, ORDER: opened.order[rows]}


def _united(runs: list[Path], name: str) -> pl.Series:
    """The distinct keys of all runs, sorted, one run at a time: most keys are in most runs."""
    keys = _keys(runs[0], name)
    for run in runs[1:]:
        keys = pl.concat([keys, _keys(run, name)]).unique()
    return keys.sort()


def _keys(run: Path, name: str) -> pl.Series:
    return pl.read_ipc(run / f"{name}.keys")["key"]


def _places(keys: pl.Series, some: pl.Series) -> np.ndarray:
    """Where some keys stand among all."""
    numbered = pl.DataFrame({"key": keys, "place": np.arange(len(keys), dtype=np.int32)})
    found = pl.DataFrame({"key": some}).join(numbered, on="key", how="left", maintain_order="left")["place"]
    return np.append(found.to_numpy(), np.int32(-1))


def _bounds(counts: np.ndarray, rows_at_a_time: int) -> np.ndarray:
    """Where each partition begins so that it holds at most so many rows, but one customer at least; at the end the number of customers."""
    ends, bounds = np.cumsum(counts), [0]
    while bounds[-1] < len(counts):
        begin = bounds[-1]
        room = rows_at_a_time + (ends[begin - 1] if begin else 0)
        bounds.append(max(begin + 1, int(np.searchsorted(ends, room, side="right"))))
    return np.array(bounds)
