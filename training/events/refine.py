"""What a config asks of clean, sorted rows beyond the log itself: sessions, shorter histories, no rare items or customers."""

from dataclasses import replace

import numpy as np
import polars as pl

from training.errors import ConfigError, DataError
from training.events.filters import choose_events
from training.events.runs import CUSTOMER, TIMESTAMP, Run
from training.events.schema import Filter, Log, Sessions
from training.events.sessions import number_sessions

ITEM, SESSION = "item", "session"


def refine(run: Run, log: Log) -> tuple[Run, dict[str, int]]:
    """Number the sessions that `data.sessions` asks for and leave out what `data.filter` does: the rows, and how many are left out why.

    Customers and keys of which no row stays are gone.
    Raises DataError where none stays, ConfigError where the log has sessions of its own.
    """
    if log.sessions:
        run = with_sessions(run, log.sessions)
    if log.filter == Filter():
        return run, {}
    (stays,), left_out = choose_events([(run.columns[ITEM], run.offsets)], log.filter)
    if not stays.any():
        raise nothing_left(log, left_out)
    return without_unused_keys(keep_rows(run, stays)), left_out


def nothing_left(log: Log, left_out: dict[str, int]) -> DataError:
    """What to say of a log of which the filter keeps no row."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    return DataError(f"data={log.name}: expected events that data.filter leaves in the store, but it leaves out all: {reasons}; lower it")


def with_sessions(run: Run, sessions: Sessions) -> Run:
    """The run with the number field `session`. It needs all of a customer's events: a session is one of the whole log."""
    if SESSION in run.columns:
        raise ConfigError("data.sessions: expected a log without sessions of its own, found the field session; set data.sessions=null")
    numbers = number_sessions(run.columns[TIMESTAMP], run.offsets, sessions)
    return replace(run, columns={**run.columns, SESSION: numbers.astype(np.float32)})


def keep_rows(run: Run, stays: np.ndarray) -> Run:
    """The rows of a run for which `stays`, bool [n], is true, and the customers who have any."""
    offsets = np.concatenate([[0], np.cumsum(stays)])[run.offsets]
    has_rows = np.diff(offsets) > 0
    keys = {**run.keys, CUSTOMER: run.keys[CUSTOMER].filter(pl.Series(has_rows))}
    columns = {name: values[stays] for name, values in run.columns.items()}
    return Run(keys, np.append(offsets[:-1][has_rows], offsets[-1]), columns, run.order[stays])


def without_unused_keys(run: Run) -> Run:
    """The run without the keys of categories that no row has."""
    used = {name: run.counts(name)[1:] > 0 for name in run.keys if name != CUSTOMER}
    # The place of each key among those that are used, and at the end, where place -1 leads, that of a missing value.
    places = {name: np.append(np.cumsum(is_used) - 1, -1).astype(np.int32) for name, is_used in used.items()}
    columns = {name: places[name][values] if name in places else values for name, values in run.columns.items()}
    keys = {name: keys.filter(pl.Series(used[name])) if name in used else keys for name, keys in run.keys.items()}
    return replace(run, keys=keys, columns=columns)
