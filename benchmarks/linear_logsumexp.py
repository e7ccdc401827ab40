"""What does it bring to compute the softmax's normaliser in tiles? The blocked operator beside the plain expression, forward and backward.

    python -m benchmarks.linear_logsumexp

Both run in turns in one process; the ratio of each pair counts, since a shared machine is never equally fast twice.
"""

import json
import os
import platform
import statistics
import time
from datetime import UTC, datetime

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from kernels.linear_logsumexp import linear_logsumexp, reference

SHAPES = [(1024, 12_101, 64), (1024, 69_026, 64)]  # questions, items, width
NUM_PAIRS = 7


def measure(num_rows: int, num_items: int, width: int) -> dict[str, float]:
    """Median seconds of each, and the median, least and greatest ratio plain / blocked over the pairs."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(*shape, generator=generator) * 0.3 for shape in [(num_rows, width), (num_items, width), (num_items,)]]
    pairs = [(_seconds(reference.linear_logsumexp, inputs), _seconds(linear_logsumexp, inputs)) for _ in range(NUM_PAIRS + 1)][1:]
    ratios = sorted(plain / blocked for plain, blocked in pairs)
    return {
        "questions": num_rows,
        "items": num_items,
        "width": width,
        "plain_s": statistics.median(plain for plain, _ in pairs),
        "blocked_s": statistics.median(blocked for _, blocked in pairs),
        "ratio": statistics.median(ratios),
        "ratio_least": ratios[0],
        "ratio_greatest": ratios[-1],
    }


def _seconds(function: object, inputs: list[Tensor]) -> float:
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    started = time.perf_counter()
    function(*leaves).sum().backward()  # type: ignore[operator]
    return time.perf_counter() - started


def main() -> None:
    """Measure, print a table for people, then one line of JSON."""
    results = [measure(*shape) for shape in SHAPES]
    title = "linear_logsumexp, forward and backward"
    table = Table("questions", "items", "plain", "blocked", "plain / blocked (least to greatest)", title=title)
    for result in results:
        spread = f"{result['ratio']:.2f} ({result['ratio_least']:.2f} to {result['ratio_greatest']:.2f})"
        table.add_row(str(result["questions"]), str(result["items"]), f"{result['plain_s']:.3f} s", f"{result['blocked_s']:.3f} s", spread)
    Console().print(table)
    hardware = f"{os.cpu_count()} cores, {platform.machine()}, {torch.get_num_threads()} threads"
    print(json.dumps({"date": datetime.now(UTC).date().isoformat(), "hardware": hardware, "torch": torch.__version__, "results": results}))


if __name__ == "__main__":
    main()
