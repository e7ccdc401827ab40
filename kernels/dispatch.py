"""Which path of an operator runs. It is decided here and nowhere else.

    reference   plain torch: the specification, and what an exported graph holds
    blocked     the tuned CPU path, plain torch
    compiled    C, where the machine has a compiler and the numbers are of a type that it treats
    fused       Triton language or CUDA, on a GPU (or in Triton's interpreter, when TRITON_INTERPRET=1 is set)

An operator that has a path keeps it in a file of that name in its folder.
"""

import contextlib
import importlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from kernels import native

PATHS = ("reference", "blocked", "compiled", "fused")

log = logging.getLogger(__name__)
_wanted: ContextVar[str | None] = ContextVar("wanted", default=None)


@contextlib.contextmanager
def using(path: str) -> Iterator[None]:
    """Take `path` for every operator called inside; ValueError for a path that does not exist, here or at the call."""
    if path not in PATHS:
        raise ValueError(f"expected one of {', '.join(PATHS)}; received {path!r}")
    token = _wanted.set(path)
    try:
        yield
    finally:
        _wanted.reset(token)


def choose(operator: str, tensor: Tensor) -> str:
    """The path on which `operator` (a folder of `kernels`) treats `tensor`. An exported graph always holds the reference."""
    if torch.compiler.is_exporting():
        return "reference"
    return _choose(operator, tensor.device.type, tensor.dtype)


def load(operator: str, path: str) -> ModuleType:
    """The module that holds `path` of `operator`. Imported late: a machine without a GPU may be without Triton."""
    return importlib.import_module(f"kernels.{operator}.{path}")


@torch.compiler.assume_constant_result  # torch.compile takes the answer of the moment: neither files nor context variables can be traced
def _choose(operator: str, device: str, dtype: torch.dtype) -> str:
    wanted = _wanted.get()
    path = _by_default(operator, device, dtype) if wanted is None else _checked(operator, wanted, device, dtype)
    _say(operator, path, device)
    return path


def _by_default(operator: str, device: str, dtype: torch.dtype) -> str:
    preferred = ("fused", "reference") if device == "cuda" else ("compiled", "blocked", "reference")
    return next(path for path in preferred if _has(operator, path) and (path != "compiled" or native.suits(operator, dtype)))


def _checked(operator: str, path: str, device: str, dtype: torch.dtype) -> str:
    if not _has(operator, path):
        raise ValueError(f"{operator} has no {path} path here: it has {', '.join(p for p in PATHS if _has(operator, p))}")
    if path == "fused" and device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(f"{operator}: the fused path needs CUDA tensors, received a CPU tensor; move it, or choose blocked or reference")
    if path in ("blocked", "compiled") and device == "cuda":
        raise ValueError(f"{operator}: the {path} path is for the CPU, received a CUDA tensor; choose fused or reference")
    if path == "compiled" and not native.suits(operator, dtype):
        raise ValueError(f"{operator}: the compiled path needs float32 and a C compiler (CC names one), received {dtype}; choose blocked")
    return path


@cache
def _has(operator: str, path: str) -> bool:
    if path == "fused" and importlib.util.find_spec("triton") is None:
        return False
    return importlib.util.find_spec(f"kernels.{operator}.{path}") is not None


@cache
def _say(operator: str, path: str, device: str) -> None:
    """Once for each: the cache is the memory of what was said."""
    log.info("%s on %s: %s path", operator, device, path)
