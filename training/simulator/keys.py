"""The texts by which customers, accounts, cookies, devices and cards are known."""

import numpy as np
import pyarrow as pa

from training.simulator.draws import mixed

CUSTOMER, ACCOUNT = "c", "a"
# Of each channel: a cookie, a device, a loyalty card.
TOKENS = ("k", "d", "l")
HEXADECIMAL = np.frombuffer("".join(f"{number:04x}" for number in range(1 << 16)).encode(), dtype=np.uint8).reshape(-1, 4)


def keys(letter: str, numbers: np.ndarray, *, absent: np.ndarray | None = None) -> pa.DictionaryArray:
    """A text for each whole number below 2**32, null where `absent` [n]: the letter, then the scrambled number in hexadecimal.

    Each text is made once, however often its number comes.
    """
    found = pa.array(numbers, mask=absent).dictionary_encode()
    return pa.DictionaryArray.from_arrays(found.indices, _texts(letter, found.dictionary.to_numpy()))


def customer_keys(numbers: np.ndarray) -> pa.DictionaryArray:
    """The true key of each customer."""
    return keys(CUSTOMER, numbers)


def _texts(letter: str, numbers: np.ndarray) -> pa.StringArray:
    scrambled = mixed(numbers + (ord(letter) << 24))  # so that the same number has another text behind another letter
    text = np.empty((len(numbers), 9), dtype=np.uint8)
    text[:, 0] = ord(letter)
    text[:, 1:5] = HEXADECIMAL[scrambled >> np.uint32(16)]
    text[:, 5:] = HEXADECIMAL[scrambled & np.uint32(0xFFFF)]
    offsets = np.arange(0, 9 * len(numbers) + 1, 9, dtype=np.int32)
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(text))
