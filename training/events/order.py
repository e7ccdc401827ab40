"""Rows in the order of customer and time, and rows that say the same twice. Over arrays, NumPy's or CuPy's.

A stable sort by one integer key is a sort of the keys with the rows' numbers packed below them: no pairs are moved, and NumPy sorts
64-bit integers with vector instructions.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or cupy.ndarray
BITS = 63  # of an int64 that is not negative
SPREAD = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio: multiplying by it takes near numbers far apart


def order_of(customer: Array, time: Array, *, xp: ModuleType = np) -> Array:
    """The rows by customer, then time, then as they lie: int64 [n].

    customer   int [n], 0 or above
    time       int64 [n]
    """
    rows = _sorted_by(customer, None, xp)
    if _rises(customer, time, rows):  # as it does in a log that was written as things happened
        return rows
    rows = None
    for digit in _digits(time - time.min(), len(time), xp):
        rows = _sorted_by(digit, rows, xp)
    return _sorted_by(customer, rows, xp)


def repeats(customer_starts: Array, time: Array, columns: Sequence[Array], *, xp: ModuleType = np) -> Array:
    """The rows, rising, that equal an earlier one of the same customer and time in every column: int64 [r].

    customer_starts   int64 [C]: the first row of each customer; rows lie in the order of `order_of`
    columns           integers, or float32 with NaN for missing
    """
    starts = xp.concatenate([xp.ones(1, dtype=bool), time[1:] != time[:-1]])[: len(time)]
    starts[customer_starts] = True
    shared = xp.flatnonzero(~(starts & xp.append(starts[1:], True)))  # rows in a step with others
    step = xp.cumsum(starts[shared])
    values = [step, *(_comparable(column[shared], xp) for column in columns)]
    suspects = _alike(values, xp)
    values = [value[suspects] for value in values]
    # Among rows that are equal in all else the earlier comes first, as the last key of all is the row.
    order = xp.lexsort(xp.stack([suspects, *values])) if len(suspects) else suspects
    same = xp.ones(max(len(order) - 1, 0), dtype=bool)
    for value in values:
        same &= value[order][1:] == value[order][:-1]
    return xp.sort(shared[suspects[order[1:][same]]])


def _rises(customer: Array, time: Array, rows: Array) -> bool:
    """Whether the time of each customer's rows rises, in the order of `rows`."""
    if not (time[1:] < time[:-1]).any():
        return True
    time, customer = time[rows], customer[rows]
    return not ((time[1:] < time[:-1]) & (customer[1:] == customer[:-1])).any()


def _digits(key: Array, num_rows: int, xp: ModuleType) -> list[Array]:
    """A key of any size as keys that leave room for a row's number, the least significant first."""
    width, digits = BITS - num_rows.bit_length(), []
    while True:
        digits.append(key & ((1 << width) - 1))
        key = key >> width
        if not key.any():
            return digits


def _sorted_by(key: Array, rows: Array | None, xp: ModuleType) -> Array:
    """`rows` (all of them, as they lie, where None) in the order of their keys, equal ones as they were."""
    bits = max(len(key).bit_length(), 1)
    packed = (key if rows is None else key[rows]).astype(xp.int64)
    packed <<= bits
    packed |= xp.arange(len(key))
    packed.sort()
    packed &= (1 << bits) - 1
    return packed if rows is None else rows[packed]


def _comparable(column: Array, xp: ModuleType) -> Array:
    """Integers that are equal where the values are, NaN equal to itself and 0.0 to -0.0."""
    if column.dtype != xp.float32:
        return column.astype(xp.int64)
    return (column + xp.float32(0)).view(xp.int32).astype(xp.int64)


def _alike(values: Sequence[Array], xp: ModuleType) -> Array:
    """The rows that may have an equal: those whose mixture of all values occurs twice."""
    mixed = xp.zeros(len(values[0]), dtype=xp.uint64)
    for value in values:
        mixed = (mixed ^ (mixed >> xp.uint64(29)) ^ value.view(xp.uint64)) * xp.uint64(SPREAD)
    ordered = xp.sort(mixed)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    return xp.flatnonzero(xp.isin(mixed, twice)) if len(twice) else xp.zeros(0, dtype=xp.int64)
