"""What does a large catalogue cost, when a step learns from a sample of it?

    python -m benchmarks.catalogue
    python -m benchmarks.catalogue --items 10000 100000 --negatives 256

Logs that differ in the number of their items alone: every item occurs, and batches are alike. On each, Revisit's SASRec learns for an epoch
from negatives that a batch shares, and is judged against the whole catalogue, in a process of its own. Writes catalogue.csv to --out.
"""

import argparse
import csv
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from rich.table import Table

from benchmarks._pairs import hardware
from benchmarks._peers import console, run_peer
from benchmarks.train import MAX_LENGTH_OF_LINES, OURS, SETTINGS

ASKED, STEPS = 1000, 12  # customers who are asked, and how long their histories are; to ask many about a million items takes hours


@dataclass(frozen=True)
class Cost:
    """Of one catalogue. milliseconds: of a step on average; peak_rss_mb: of the whole process, from the lines to the test's figure."""

    items: int
    negatives: int
    steps: int
    milliseconds: float
    peak_rss_mb: float


def write_lines(path: Path, *, num_items: int) -> int:
    """Customers of two items, who are learned from but not asked, until every item has occurred; then those who are asked. How many."""
    random = np.random.default_rng(0)
    pairs = np.resize(random.permutation(num_items), (-(-num_items // 2), 2))
    histories = [*pairs, *(random.choice(num_items, STEPS) for _ in range(ASKED))]
    path.write_text("".join(f"c{number} {' '.join(map(str, items))}\n" for number, items in enumerate(histories)))
    return len(histories)


def measure(num_items: int, num_negatives: int, *, threads: int) -> Cost:
    """One epoch, validation and test."""
    console.print(f"[dim]{num_items:,} items, {num_negatives} negatives[/dim]")
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "lines.txt"
        steps = -(-write_lines(lines, num_items=num_items) // SETTINGS["batch_size"])
        said = {
            "epochs": 1,
            "loss": "sampled",
            "max_length": MAX_LENGTH_OF_LINES,
            "seed": 0,
            "judged": True,
            "num_negatives": num_negatives,
        }
        printed, memory = run_peer(
            OURS, lines, json.dumps({**SETTINGS, "max_length": MAX_LENGTH_OF_LINES, **said}), variables={"OMP_NUM_THREADS": str(threads)}
        )
    return Cost(num_items, num_negatives, int(steps), 1000 * printed["seconds"][0] / steps, memory)


def main() -> None:
    """Measure, print a table for people, then one line of JSON."""
    options = _options()
    torch.set_num_threads(options.threads)
    costs = [measure(items, negatives, threads=options.threads) for items in options.items for negatives in options.negatives]
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "catalogue.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(costs[0])))
        writer.writeheader()
        writer.writerows(asdict(cost) for cost in costs)
    _show(costs)
    about = {"hardware": f"{hardware('cpu')}, {options.threads} used", "load": round(os.getloadavg()[1], 2)}
    print(json.dumps({"costs": [asdict(cost) for cost in costs], **about, "date": datetime.now(UTC).date().isoformat()}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="sizes of the catalogue")
    parser.add_argument("--negatives", type=int, nargs="+", default=[256, 2048], help="that a batch shares")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"))
    return parser.parse_args()


def _show(costs: Sequence[Cost]) -> None:
    table = Table("items", "negatives", "steps", "ms a step", "peak MB", title="what a catalogue costs")
    for cost in costs:
        table.add_row(f"{cost.items:,}", f"{cost.negatives:,}", f"{cost.steps:,}", f"{cost.milliseconds:.1f}", f"{cost.peak_rss_mb:,.0f}")
    console.print(table)


if __name__ == "__main__":
    main()
