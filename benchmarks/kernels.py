"""What does each operator cost, beside the plain PyTorch expression of the same maths, and how near is it to what the machine can do?

    python -m benchmarks.kernels
    python -m benchmarks.kernels --only cross --device cuda

Forward and backward where there is one, in turns in one process; the ratio within each turn counts. Memory is measured in a process of its
own. Nothing is reported for an operator whose tests fail. Writes kernels.csv and kernels.png to --out.
"""

import argparse
import csv
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks._kernel_cases import Case, Job, jobs
from benchmarks._pairs import Ratio, copy_rate, extra_memory, hardware, in_turns, matmul_rate, peak_memory

ROOT = Path(__file__).parents[1]
SIDES = ("ours", "plain")


@dataclass(frozen=True)
class Price:
    """One operator against one other program. Ratios are theirs / ours; shares are of the rates measured in this run."""

    job: str
    operator: str
    other: str
    ratio: float
    ratio_least: float
    ratio_greatest: float
    ours_ms: float
    other_ms: float
    gflop_per_s: float
    gbyte_per_s: float
    share_of_matmul: float
    share_of_copy: float
    ours_mb: float
    plain_mb: float


def price(job: Job, device: str, *, turns: int, rates: tuple[float, float]) -> list[Price]:
    """The prices of one job: against the plain expression and, on a card, against what else it offers."""
    where = ("--only", job.name, "--device", device)
    memory = [extra_memory("benchmarks.kernels", "--memory", side, *where) / 2**20 for side in SIDES]
    case = job.make()
    others = {"plain PyTorch": case.plain, **(case.on_cards if device == "cuda" else {})}
    ratios = in_turns(case.ours, others, turns=turns)
    return [Price(job.name, job.operator, other, *_figures(ratio), *_rates(case, ratio, rates), *memory) for other, ratio in ratios.items()]


def _figures(ratio: Ratio) -> tuple[float, ...]:
    return ratio.median, ratio.least, ratio.greatest, ratio.ours_s * 1e3, ratio.theirs_s * 1e3


def _rates(case: Case, ratio: Ratio, peaks: tuple[float, float]) -> tuple[float, ...]:
    operations, bytes_ = case.operations / ratio.ours_s, case.bytes / ratio.ours_s
    return operations / 1e9, bytes_ / 1e9, operations / peaks[0], bytes_ / peaks[1]


def tests_pass(operator: str) -> bool:
    """Whether the operator's own tests are green, here and now."""
    files = sorted(str(path) for path in (ROOT / "tests").glob(f"test_kernels_{operator}*.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    return bool(files) and subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0


def show(prices: list[Price], rates: tuple[float, float], console: Console) -> None:
    """The table for people."""
    title = f"matrix product {rates[0] / 1e9:.0f} GFLOP/s, copy {rates[1] / 1e9:.0f} GB/s (each measured in this run)"
    table = Table(
        "job", "beside", "ratio (least to greatest)", "ours", "GFLOP/s", "of matmul", "GB/s", "extra memory, ours / plain", title=title
    )
    for one in prices:
        ratio = f"{one.ratio:.2f} ({one.ratio_least:.2f} to {one.ratio_greatest:.2f})"
        speed = (f"{one.ours_ms:.1f} ms", f"{one.gflop_per_s:.0f}", f"{one.share_of_matmul:.0%}", f"{one.gbyte_per_s:.1f}")
        table.add_row(one.job, one.other, ratio, *speed, f"{one.ours_mb:.0f} / {one.plain_mb:.0f} MB")
    console.print(table)


def draw(prices: list[Price], path: Path) -> None:
    """How many times faster, a bar a job, with the least and the greatest."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 0.6 * len(prices) + 1.2), layout="constrained")
    labels = [f"{one.job}\nbeside {one.other}" for one in prices]
    spread = [[one.ratio - one.ratio_least for one in prices], [one.ratio_greatest - one.ratio for one in prices]]
    axes.barh(labels, [one.ratio for one in prices], xerr=spread, color="#3b6ea5", capsize=3)
    axes.axvline(1, color="black", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("times faster than the other program (median; least and greatest of the turns)")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def write(prices: list[Price], out: Path, about: dict[str, str]) -> None:
    """The table as CSV, with hardware and versions on every row, and the plot."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(one), **about} for one in prices]
    with (out / "kernels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    draw(prices, out / "kernels.png")


def main() -> int:
    """Test, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description="The price of each operator beside plain PyTorch.")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", default="", metavar="TEXT", help="jobs whose name holds TEXT (default: all)")
    parser.add_argument("--turns", type=int, default=7, help="how often each program runs (default: 7)")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"), help="folder of kernels.csv and kernels.png")
    parser.add_argument("--memory", choices=SIDES, help="only print the extra bytes that one side of the chosen job takes")
    options = parser.parse_args()
    torch.manual_seed(0)
    everything = jobs(options.device)
    chosen = [job for job in everything if options.only in job.name]
    if not chosen:
        parser.error(f"--only {options.only!r}: expected a part of one of: {'; '.join(job.name for job in everything)}")
    if options.memory:
        (job,) = (job for job in chosen if job.name == options.only)
        print(peak_memory(getattr(job.make(), options.memory), options.device))
        return 0
    console = Console()
    operators = sorted({job.operator for job in chosen})
    red = [operator for operator in track(operators, "testing", console=console) if not tests_pass(operator)]
    if red:
        console.print(f"error: expected green tests, found red ones of {', '.join(red)}; no speed is reported on these: mend them first")
        return 1
    rates = matmul_rate(options.device), copy_rate(options.device)
    progress = track(chosen, "measuring", console=console)
    prices = [one for job in progress for one in price(job, options.device, turns=options.turns, rates=rates)]
    about = {"date": datetime.now(UTC).date().isoformat(), "hardware": hardware(options.device), "torch": torch.__version__}
    write(prices, options.out, about)
    show(prices, rates, console)
    console.print(f"{options.out / 'kernels.csv'}  {options.out / 'kernels.png'}")
    print(
        json.dumps(
            {**about, "matmul_gflop_per_s": rates[0] / 1e9, "copy_gbyte_per_s": rates[1] / 1e9, "prices": [asdict(p) for p in prices]}
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
