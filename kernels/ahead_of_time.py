"""Compile every fused kernel for cards that this machine need not have, and hold each to its budget.

    python -m kernels.ahead_of_time              compare with kernels/budgets.json; ends with 1 where a budget is broken
    python -m kernels.ahead_of_time --update     write what was measured as the new budgets

Measured are registers a thread, bytes of shared memory, bytes a thread keeps on the stack (a kernel that runs out of registers spills
there) and the number of tensor-core instructions in the PTX listing (there, because taking machine code apart again takes as long as
compiling it, and these instructions are passed on as they are). A budget is what the last accepted compilation took: a change that takes
more says so by updating the table. Spills are never accepted.
"""

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from kernels.launch import CudaSource, Launch

ROOT = Path(__file__).parent
BUDGETS = ROOT / "budgets.json"
CARDS = {"sm_80": 80, "sm_90": 90}  # A100, H100
TENSOR_CORE = re.compile(r"\b(?:wgmma\.mma_async|mma)\.sync")  # wgmma: of four warps together (Hopper); mma: of one (HMMA)


@dataclass(frozen=True)
class Usage:
    """What one compiled kernel takes: registers a thread, shared memory and stack in bytes, tensor-core instructions in its PTX."""

    registers: int
    shared: int
    stack: int
    tensor_core: int


@dataclass(frozen=True)
class Compiled:
    """name: "operator/kernel/card"."""

    name: str
    usage: Usage
    wants_tensor_cores: bool


def operators() -> list[str]:
    """The folders of `kernels` that have something to compile."""
    return [name for name in sorted(path.parent.name for path in ROOT.glob("*/fused.py")) if jobs(name)]


def jobs(operator: str) -> list[Launch | CudaSource]:
    """All that the fused path of `operator` may launch."""
    fused = importlib.import_module(f"kernels.{operator}.fused")
    return [job for kind in ("launches", "sources") if hasattr(fused, kind) for job in getattr(fused, kind)()]


def compile_all(names: Iterable[str]) -> list[Compiled]:
    """Compile what these operators may launch, for every card, on all cores."""
    todo = [(operator, index, card) for operator in names for index in range(len(jobs(operator))) for card in CARDS]
    # not forked from here: a worker has no threads of its parent; what takes longest to import is imported once for all of them
    server = get_context("forkserver")
    server.set_forkserver_preload(["torch", "triton.compiler"])
    with ProcessPoolExecutor(os.cpu_count(), mp_context=server) as pool:
        return list(pool.map(_compile_one, *zip(*todo, strict=True), chunksize=2)) if todo else []


def violations(compiled: Iterable[Compiled], budgets: dict[str, dict[str, int]]) -> list[str]:
    """What is not as it must be, a line each; empty if all is well."""
    found = []
    for one in compiled:
        used, budget = asdict(one.usage), budgets.get(one.name)
        if used["stack"]:
            found.append(f"{one.name}: expected no spills; received {used['stack']} bytes of stack a thread; use smaller tiles")
        if one.wants_tensor_cores and not used["tensor_core"]:
            found.append(f"{one.name}: expected tensor-core instructions; the listing has none")
        if budget is None:
            found.append(f"{one.name}: has no budget; accept it with python -m kernels.ahead_of_time --update")
        else:
            over = [resource for resource in ("registers", "shared") if used[resource] > budget[resource]]
            found += [f"{one.name}: expected at most {budget[resource]} {resource}; received {used[resource]}" for resource in over]
    return found


def _compile_one(operator: str, index: int, card: str) -> Compiled:
    job = jobs(operator)[index]
    name = f"{operator}/{job.name}/{card}"
    if isinstance(job, Launch):
        return Compiled(name, _by_triton(job, card), job.tensor_cores)
    return Compiled(name, _usage(_by_nvrtc(job, card), shared_at_launch=0, listing=""), False)


def _by_triton(launch: Launch, card: str) -> Usage:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = list(launch.signature)
    divisible = {(names.index(name),): [["tt.divisibility", 16]] for name in launch.divisible}
    source = ASTSource(fn=launch.kernel, signature=launch.signature, constexprs=launch.constexprs, attrs=divisible)
    options = {"num_warps": launch.num_warps, "num_stages": launch.num_stages}
    kernel = triton.compile(source, target=GPUTarget("cuda", CARDS[card], 32), options=options)
    return _usage(kernel.asm["cubin"], shared_at_launch=kernel.metadata.shared, listing=kernel.asm["ptx"])


def _by_nvrtc(source: CudaSource, card: str) -> bytes:
    from cuda.core import Program, ProgramOptions

    return bytes(Program(source.code, "c++", ProgramOptions(std="c++17", arch=card)).compile("cubin").code)


def _usage(cubin: bytes, *, shared_at_launch: int, listing: str) -> Usage:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        used = _resources(file.name)

    def most(resource: str) -> int:
        return max(int(number) for number in re.findall(rf"\b{resource}:(\d+)", used))

    return Usage(most("REG"), shared_at_launch + most("SHARED"), most("STACK") + most("LOCAL"), len(TENSOR_CORE.findall(listing)))


def _resources(cubin: str) -> str:
    """What NVIDIA's reader of machine code, which Triton brings along, says of the resources."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    return subprocess.run([tool, "-res-usage", cubin], capture_output=True, text=True, check=True).stdout


def main(arguments: list[str] | None = None) -> int:
    """Compile, print, compare or update."""
    parser = argparse.ArgumentParser(prog="python -m kernels.ahead_of_time", description="Compile every fused kernel and check its budget.")
    parser.add_argument("--update", action="store_true", help="write what was measured as the new budgets")
    parser.add_argument("operators", nargs="*", help="folders of kernels/ to look at (default: all)")
    options = parser.parse_args(arguments)
    compiled = compile_all(options.operators or operators())
    budgets = json.loads(BUDGETS.read_text())
    if options.update:
        new = {one.name: asdict(one.usage) for one in compiled}
        budgets = dict(sorted(((budgets if options.operators else {}) | new).items()))
        BUDGETS.write_text("{\n" + ",\n".join(f" {json.dumps(name)}: {json.dumps(used)}" for name, used in budgets.items()) + "\n}\n")
    for one in compiled:
        used = one.usage
        print(f"{one.name:<60} {used.registers:>4} registers {used.shared:>7} B shared {used.stack:>4} B stack {used.tensor_core:>4} mma")
    found = violations(compiled, budgets)
    print("\n".join(found) or f"{len(compiled)} compilations, all within their budgets")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
