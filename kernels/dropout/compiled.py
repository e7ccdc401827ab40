"""The path that is taken on a CPU whose machine has a C compiler: coins are tossed and used sixty-four at a time (compiled.c)."""

import ctypes

import torch
from torch import Tensor

from kernels import native

NUMBERS_WORTH_A_THREAD = 1 << 15


class _Dropout(ctypes.Structure):
    """As the structure of that name in compiled.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("size", "dropped", "num_threads")),
        ("seed", ctypes.c_uint64),
        *((name, ctypes.c_void_p) for name in ("x", "out")),
    )


def dropout(x: Tensor, dropped: int, seed: int) -> Tensor:
    x = x.contiguous()
    out, num_threads = torch.empty_like(x), native.threads(x.numel() / NUMBERS_WORTH_A_THREAD)
    told = _Dropout(size=x.numel(), dropped=dropped, num_threads=num_threads, seed=seed % 2**64)
    native.call("dropout", "dropout", told, {"x": x, "out": out})
    return out
