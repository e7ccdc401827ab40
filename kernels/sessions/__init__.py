"""Groups of rows in a sorted table: sessions, places, offsets, and the packing of chosen rows.

    session, number = gap_sessions(customer, time, 30 * MINUTE)

For numpy arrays on the CPU and cupy arrays on a GPU; where the rows lie, the answer lies. Keys are whole numbers, such as a customer's
position, and a table is sorted by key and, where time is given, by time within it.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

import numpy as np

from kernels.sessions import arrays

__all__ = ["MINUTE", "gap_sessions", "offsets_of_sorted", "pack", "place_in_group"]

MINUTE = 60_000_000  # in microseconds

Array = Any  # numpy.ndarray or cupy.ndarray


def gap_sessions(key: Array, time: Array, gap: int) -> tuple[Array, Array]:
    """The session of each row: its number among all sessions and among those of its customer, both int64 [N] and from 0.

    A new session starts with a new customer and after a silence longer than `gap`. key int64 [N]; time int64 [N], in the unit of `gap`.
    ValueError: shapes that don't fit, or a negative gap.
    """
    if key.ndim != 1 or key.shape != time.shape:
        raise ValueError(f"expected key and time [N]; received {[*key.shape]} and {[*time.shape]}")
    if gap < 0:
        raise ValueError(f"expected a gap of at least 0; received {gap}")
    return arrays.gap_sessions(np, key, time, gap) if module_of(key) is np else _fused().gap_sessions(key, time, gap)


def place_in_group(key: Array) -> Array:
    """How many rows of the same key stand before each row: int64 [N]."""
    return arrays.place_in_group(module_of(key), key)


def offsets_of_sorted(key: Array, num_groups: int) -> Array:
    """Where each of the groups 0 … num_groups − 1 starts, and the end: int64 [num_groups + 1]. A group that no row has is empty."""
    return arrays.offsets_of_sorted(module_of(key), key, num_groups)


def pack(offsets: Array, rows: Array) -> tuple[Array, Array]:
    """Chosen rows of a ragged table laid end to end: which values to take, int64 [T'], and the new offsets [len(rows) + 1].

    Row r is values[offsets[r]:offsets[r + 1]]; rows int64 [R], in any order, also repeated. Then `values[index]` is the packed column.
    """
    return arrays.pack(offsets, rows) if module_of(offsets) is np else _fused().pack(offsets, rows)


def module_of(array: Array) -> ModuleType:
    """numpy or cupy, whichever the array is of."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def _fused() -> ModuleType:
    return importlib.import_module("kernels.sessions.fused")
