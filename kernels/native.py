"""C sources of `kernels`, built by this machine's own compiler the first time that an operator asks for one.

A wheel would carry code for the oldest processor it may meet, and cost a toolchain; one file takes a second to build here, for the very
processor that runs it. Where there is no compiler, operators take the path that needs none.
"""

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch  # whose OpenMP runtime is loaded before ours is looked for: one pool of threads, not two
from torch import Tensor

FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fopenmp", "-fPIC", "-shared")
HEADERS = f"-I{Path(__file__).parent}"
LANES = 16  # of the widest vector that vectors.h knows: so many numbers are whole vectors on every processor

log = logging.getLogger(__name__)


def suits(operator: str, dtype: torch.dtype) -> bool:
    """Whether the compiled path of `operator` (a folder of `kernels`) can be built here, and treats numbers of that type."""
    return dtype == torch.float32 and _of(operator) is not None


def call(operator: str, function: str, told: ctypes.Structure, tensors: Mapping[str, Tensor]) -> None:
    """`function` of the operator's source on `told`, whose fields of the tensors' names are given their addresses.

    ValueError: a tensor of floats that are not float32, and of none of the fields that `told.doubles` names: C would read other numbers.
    MemoryError: there was none for its scratch.
    """
    for name, tensor in tensors.items():
        wanted = torch.float64 if name in getattr(told, "doubles", ()) else torch.float32
        if tensor.is_floating_point() and tensor.dtype != wanted:
            raise ValueError(f"{function}: expected {name} of {wanted}, received {tensor.dtype}; give all tensors the type of the first")
        setattr(told, name, tensor.data_ptr())
    source = _of(operator)
    assert source is not None
    if source[function](ctypes.byref(told)):
        raise MemoryError(f"{function}: expected memory for the scratch of {told.num_threads} threads, found none; take smaller batches")


def threads(worth: float) -> int:
    """How many of torch's threads a piece of work gets that would keep `worth` of them busy for longer than it takes to wake them."""
    return max(1, min(torch.get_num_threads(), int(worth)))


@cache
def _of(operator: str) -> ctypes.CDLL | None:
    return library(Path(__file__).parent / operator / "compiled.c")


def library(source: Path) -> ctypes.CDLL | None:
    """The built source, or None where this machine can't build it; the reason is logged once."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        log.info("%s is not built: no C compiler is found (CC names one)", source.name)
        return None
    try:
        return ctypes.CDLL(str(_built(source, compiler)))
    except subprocess.CalledProcessError as error:
        log.warning("%s is not built: %s ended with %s\n%s", source.name, compiler, error.returncode, error.stderr.decode())
    except OSError as error:
        log.warning("%s is not built: %s", source.name, error)
    return None


def _built(source: Path, compiler: str) -> Path:
    """Built once for a source, compiler and processor: the name tells them, so that a home shared by machines serves all of them."""
    whole = subprocess.run([compiler, *FLAGS, HEADERS, "-E", "-dD", "-P", source], capture_output=True, check=True).stdout
    told = hashlib.sha256(" ".join(FLAGS).encode() + whole).hexdigest()  # the compiler's own definitions name it and its target
    built = _cache() / f"{source.parent.name}-{told[:16]}.so"
    if not built.is_file():
        built.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=built.parent) as aside:
            out = Path(aside) / built.name
            subprocess.run([compiler, *FLAGS, HEADERS, "-o", out, source, "-lm"], capture_output=True, check=True)
            out.replace(built)
    return built


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "revisit"
