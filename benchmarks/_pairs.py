"""Timing on machines that are never equally fast twice: programs in turns, and the ratios within each turn."""

import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Ratio:
    """How many times slower than ours another program is: median, least and greatest over the turns, and both median times in seconds."""

    median: float
    least: float
    greatest: float
    ours_s: float
    theirs_s: float


def in_turns(ours: Callable[[], object], others: Mapping[str, Callable[[], object]], *, turns: int) -> dict[str, Ratio]:
    """Run ours and each of the others once a turn; the first turn warms up and is not counted."""
    times = [{name: seconds(run) for name, run in {"": ours, **others}.items()} for _ in range(turns + 1)][1:]
    return {name: _ratio([turn[""] for turn in times], [turn[name] for turn in times]) for name in others}


def _ratio(ours: list[float], theirs: list[float]) -> Ratio:
    ratios = [other / own for own, other in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios), statistics.median(ours), statistics.median(theirs))


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock seconds of one run, the card's work included."""
    _synchronise()
    started = time.perf_counter()
    run()
    _synchronise()
    return time.perf_counter() - started


def matmul_rate(device: str, *, size: int = 2048) -> float:
    """Operations a second of a square float32 matrix product, the best of several: the peak that shares are shares of."""
    left, right = torch.rand(size, size, device=device), torch.rand(size, size, device=device)
    return 2 * size**3 / min(seconds(lambda: left @ right) for _ in range(8))


def copy_rate(device: str, *, megabytes: int = 256) -> float:
    """Bytes a second that a large copy reads and writes, the best of several."""
    source = torch.rand(megabytes * 2**18, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / min(seconds(lambda: target.copy_(source)) for _ in range(8))


def extra_memory(module: str, *arguments: str) -> float:
    """The bytes that `python -m module arguments` prints as its last line: memory is measured in a process that did nothing else."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def peak_memory(run: Callable[[], object], device: str) -> int:
    """Bytes that `run` takes at its peak beyond what was held before. On a CPU only true for the largest run of a process so far."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    before = _resident()
    run()
    return _resident() - before


def hardware(device: str) -> str:
    """What was measured on."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def _resident() -> int:
    """The most memory that this process ever held: Linux's own count. getrusage would hand on that of the process that started it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
