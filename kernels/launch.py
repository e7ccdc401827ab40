"""What a fused path may launch, listed so that it can be compiled ahead of time for cards that this machine need not have."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Launch:
    """One compilation of one Triton-language kernel.

    name: unique, as it stands in the budget table. kernel: the @triton.jit function. signature: argument → Triton type ("*fp32", "i32",
    "constexpr"). constexprs: argument → value. divisible: arguments that are multiples of 16 (pointers usually are).
    tensor_cores: whether the compiled code must hold matrix instructions.
    """

    name: str
    kernel: Any
    signature: dict[str, str]
    constexprs: dict[str, Any]
    num_warps: int
    num_stages: int
    tensor_cores: bool
    divisible: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class CudaSource:
    """CUDA C++ that CuPy compiles where there is a card.

    name: unique, as it stands in the budget table. code: one whole translation unit.
    """

    name: str
    code: str
