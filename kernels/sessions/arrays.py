"""Array code over `xp`, which is numpy or cupy: the path that is taken on the CPU, each function a few passes over memory."""

from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or cupy.ndarray


def gap_sessions(xp: Any, key: Array, time: Array, gap: int) -> tuple[Array, Array]:
    first = _starts(xp, key)
    new = first.copy()
    new[1:] |= time[1:] - time[:-1] > gap
    session = xp.cumsum(new, dtype=xp.int64) - 1
    return session, session - session[first][xp.cumsum(first) - 1]


def place_in_group(xp: Any, key: Array) -> Array:
    first = _starts(xp, key)
    return xp.arange(len(key)) - xp.flatnonzero(first)[xp.cumsum(first) - 1]


def offsets_of_sorted(xp: Any, key: Array, num_groups: int) -> Array:
    return xp.searchsorted(key, xp.arange(num_groups + 1)).astype(xp.int64)


def pack(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """numpy's alone: cupy repeats no array by counts of another, and has the kernel."""
    counts = np.diff(offsets)[rows]
    packed = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return np.repeat(offsets[rows] - packed[:-1], counts) + np.arange(packed[-1]), packed


def _starts(xp: Any, key: Array) -> Array:
    """True for the first row of each group."""
    first = xp.ones(len(key), dtype=bool)
    first[1:] = key[1:] != key[:-1]
    return first
