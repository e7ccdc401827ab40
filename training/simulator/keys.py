"""The texts by which customers, accounts, cookies, devices and cards are known."""

import numpy as np
import pyarrow as pa

from training.simulator.draws import mixed

CUSTOMER, ACCOUNT = "c", "a"
# Of each channel: a cookie, a device, a loyalty card.
TOKENS = ("k", "d", "l")
DIGITS = np.frombuffer("".join(f"{number:04x}" for number in range(1 << 16)).encode(), dtype=np.uint8).reshape(-1, 4)


def keys(letter: str, numbers: np.ndarray, *, absent: np.ndarray | None = None) -> pa.DictionaryArray:
    """A text for each whole number below 2**32, null where `absent` [n]: the letter, then the scrambled number in hexadecimal.

    Each text is made once, however often its number comes. The numbers count things from 0, so that a table finds them without hashing.
    """
    is_there = np.zeros(int(numbers.max(initial=0)) + 1, dtype=bool)
    is_there[numbers if absent is None else numbers[~absent]] = True
    found = np.flatnonzero(is_there)
    place = np.zeros(len(is_there), dtype=np.int32)
    place[found] = np.arange(len(found))
    scrambled = mixed(found + (ord(letter) << 24))  # so that the same number has another text behind another letter
    return pa.DictionaryArray.from_arrays(pa.array(place.take(numbers), mask=absent), hexadecimal(letter, scrambled))


def customer_keys(numbers: np.ndarray) -> pa.DictionaryArray:
    """The true key of each customer."""
    return keys(CUSTOMER, numbers)


def hexadecimal(letter: str, numbers: np.ndarray) -> pa.StringArray:
    """The letter, then the number (uint32 [n]) in eight digits."""
    text = np.empty((len(numbers), 9), dtype=np.uint8)
    text[:, 0] = ord(letter)
    text[:, 1:5] = DIGITS.take(numbers >> np.uint32(16), axis=0)
    text[:, 5:] = DIGITS.take(numbers & np.uint32(0xFFFF), axis=0)
    offsets = np.arange(0, 9 * len(numbers) + 1, 9, dtype=np.int32)
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(text))
