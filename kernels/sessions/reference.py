"""The specification: one row after the other, in plain Python."""

from collections.abc import Sequence
from itertools import pairwise


def gap_sessions(key: Sequence[int], time: Sequence[int], gap: int) -> tuple[list[int], list[int]]:
    session: list[int] = []
    number: list[int] = []
    for row in range(len(key)):
        if row == 0 or key[row] != key[row - 1]:
            session.append(session[-1] + 1 if session else 0)
            number.append(0)
        else:
            is_new = time[row] - time[row - 1] > gap
            session.append(session[-1] + is_new)
            number.append(number[-1] + is_new)
    return session, number


def place_in_group(key: Sequence[int]) -> list[int]:
    places: list[int] = []
    for row in range(len(key)):
        places.append(places[-1] + 1 if row and key[row] == key[row - 1] else 0)
    return places


def offsets_of_sorted(key: Sequence[int], num_groups: int) -> list[int]:
    return [sum(k < group for k in key) for group in range(num_groups + 1)]


def pack(offsets: Sequence[int], rows: Sequence[int]) -> tuple[list[int], list[int]]:
    spans = list(pairwise(offsets))
    index = [value for row in rows for value in range(*spans[row])]
    packed = [0]
    for row in rows:
        packed.append(packed[-1] + spans[row][1] - spans[row][0])
    return index, packed
