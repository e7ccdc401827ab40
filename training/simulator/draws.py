"""Random numbers by purpose: what is drawn for one thing never depends on how much was drawn for another, nor on the order of work."""

import numpy as np

PURPOSES = ("catalogue", "customers", "identity", "benefits", "visits", "funnel", "dirt")


def draws(seed: int, purpose: str, number: int = 0) -> np.random.Generator:
    """A generator of its own for `purpose` (of `PURPOSES`) and the number of a slice, campaign or file."""
    return np.random.Generator(np.random.SFC64([seed, PURPOSES.index(purpose), number]))


def mixed(numbers: np.ndarray) -> np.ndarray:
    """uint32 [n]: whole numbers, modulo 2**32, scrambled one to one, so that a key tells nothing about its number."""
    x = numbers.astype(np.uint32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return x ^ (x >> np.uint32(16))
