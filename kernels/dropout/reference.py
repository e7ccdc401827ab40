"""The specification: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), each of whose numbers is eight coins, the lowest byte first."""

import numpy as np
import torch
from torch import Tensor

from kernels.dropout import SIDES


def dropout(x: Tensor, dropped: int, seed: int) -> Tensor:
    is_kept = torch.from_numpy(coins(seed, x.numel())).to(x.device).view(x.shape).ge_(dropped)
    return is_kept.to(x.dtype).mul_(x).mul_(SIDES / (SIDES - dropped))


def coins(seed: int, number: int) -> np.ndarray:
    """The first `number` coins of a seed, 0 to 255: uint8 [number]."""
    z = np.arange(1, -(-number // 8) + 1, dtype=np.uint64)
    z *= np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(seed % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z.astype("<u8", copy=False).view(np.uint8)[:number]
