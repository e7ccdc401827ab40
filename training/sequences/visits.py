"""Visits, of a log that records none: what a customer does until half an hour passes without any of it."""

import numpy as np

from kernels.sessions import MINUTE, gap_sessions
from training.sequences.history import History, Log, customer_of_event

SILENCE = 30 * MINUTE  # µs: who does something after longer has come again


def beginnings(log: Log, kinds: np.ndarray) -> History:
    """The events with which visits begin. kinds: ids of the events by which somebody is seen."""
    shown = History(log.offsets, log.columns).where(np.isin(log.columns["event"], kinds))
    session, _ = gap_sessions(customer_of_event(shown.offsets), shown.columns["timestamp"], SILENCE)
    return shown.where(np.diff(session, prepend=-1) > 0)
