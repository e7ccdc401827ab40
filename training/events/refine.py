"""What a config asks of clean, encoded events beyond the log itself: sessions, shorter histories, no rare items or customers."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from training.errors import DataError
from training.events.encode import Encoded
from training.events.filters import choose_events, recount
from training.events.schema import Log
from training.events.sessions import number_sessions

SESSION = "session"


def refine(encoded: Encoded, log: Log) -> tuple[Encoded, dict[str, int]]:
    """Number the sessions that `data.sessions` asks for and leave out what `data.filter` does: the events, and how many are left out why.

    A session is one of the whole log, whichever of its events stay. Vocabularies are those of the events that stay.
    Raises DataError where none stays.
    """
    if log.sessions:
        encoded = _with_sessions(encoded, log)
    stays, left_out = choose_events(encoded.events["item"].to_numpy(), encoded.offsets, log.filter)
    if not left_out:
        return encoded, {}
    if not stays.any():
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise DataError(
            f"data={log.name}: expected events that data.filter leaves in the store, but it leaves out all: {reasons}; lower it"
        )
    return _chosen(encoded, stays), left_out


def _with_sessions(encoded: Encoded, log: Log) -> Encoded:
    assert log.sessions
    numbers = number_sessions(encoded.events["timestamp"].to_numpy(), encoded.offsets, log.sessions)
    return replace(encoded, events=encoded.events.append_column(SESSION, pa.array(numbers.astype(np.float32))))


def _chosen(encoded: Encoded, stays: np.ndarray) -> Encoded:
    events, vocabularies = encoded.events.filter(pa.array(stays)), {}
    for name, vocabulary in encoded.vocabularies.items():
        ids, vocabularies[name] = recount(events[name].to_numpy(), vocabulary)
        events = events.set_column(events.column_names.index(name), name, pa.array(ids))
    ends = np.concatenate([[0], np.cumsum(stays)])[encoded.offsets]
    has_events = np.diff(ends) > 0
    customers = [key for key, is_there in zip(encoded.customers, has_events, strict=True) if is_there]
    return Encoded(events, customers, np.append(ends[:-1][has_events], ends[-1]), vocabularies)
