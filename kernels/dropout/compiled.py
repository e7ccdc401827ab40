"""The path that is taken on a CPU whose machine has a C compiler: coins are tossed and used sixty-four at a time (compiled.c)."""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from kernels import native
from kernels.dropout import SIDES

NUMBERS_WORTH_A_THREAD = 1 << 16


def suits(dtype: torch.dtype) -> bool:
    """Whether this machine has the path, and it treats numbers of that type."""
    return dtype == torch.float32 and _library() is not None


def dropout(x: Tensor, dropped: int, seed: int) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    library, number = _library(), ctypes.c_int64
    assert library is not None
    library.dropout(
        ctypes.c_void_p(x.data_ptr()),
        ctypes.c_void_p(out.data_ptr()),
        number(x.numel()),
        ctypes.c_uint64(seed % 2**64),
        number(dropped),
        ctypes.c_float(SIDES / (SIDES - dropped)),
        number(native.threads(x.numel() / NUMBERS_WORTH_A_THREAD)),
    )
    return out


@cache
def _library() -> ctypes.CDLL | None:
    return native.library(Path(__file__).with_name("compiled.c"))
