"""How fast does a log become a store, beside what people use instead and beside the barest plan there is?

    python -m benchmarks.preprocess
    python -m benchmarks.preprocess --sizes 1 10 100 --only revisit floor
    python -m benchmarks.preprocess --log my_log.parquet

Contestants (benchmarks/peers) run in turns, each in a process and an environment of its own; the ratio within each turn counts, since a
shared machine is never equally fast twice. Who takes longer than two minutes runs once. Without --log the logs are simulated. Writes
preprocess.csv and preprocess.png to --out.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from rich.table import Table

from benchmarks._pairs import hardware
from benchmarks._peers import ROOT, console, environment, run_peer

LOGS = ROOT / "outputs" / "benchmark_logs"
OURS, FLOOR = "revisit", "floor"
CONTESTANTS = {
    OURS: "Revisit",
    FLOOR: "floor (Polars)",
    "plain_pandas": "pandas",
    "lifestream": "pytorch-lifestream",
    "replay_tokenizer": "RePlay",
}
COLUMNS = ["customer", "timestamp", "event", "item", "price", "channel"]
LONG = 120  # seconds: who takes longer runs in the first turn alone
SIZES = {1: "one_million", 10: "ten_million", 100: "hundred_million"}


@dataclass(frozen=True)
class Outcome:
    """One contestant on one log: medians over the turns; `ratio` is its time over ours within a turn."""

    contestant: str
    events: int
    seconds: float
    events_per_second: float
    ratio: float
    ratio_least: float
    ratio_greatest: float
    peak_rss_mb: float


def measure(log: Path, contestants: list[str], *, turns: int) -> list[Outcome]:
    """All contestants in turns; a contestant that can't be run ends the benchmark."""
    for name in contestants:
        environment(name)
    times: list[dict[str, tuple[float, float]]] = []
    for turn in range(turns):
        console.print(f"[dim]{log.name}: turn {turn + 1} of {turns}[/dim]")
        again = [name for name in contestants if not times or times[0][name][0] < LONG]
        times.append({name: run_once(name, log) for name in again})
    num_events = pl.scan_parquet(log).select(pl.len()).collect().item()
    return [_outcome(name, num_events, times) for name in contestants]


def _outcome(name: str, num_events: int, times: list[dict[str, tuple[float, float]]]) -> Outcome:
    times = [turn for turn in times if name in turn]
    seconds = statistics.median(turn[name][0] for turn in times)
    ratios = [turn[name][0] / turn[OURS][0] for turn in times]
    memory = max(turn[name][1] for turn in times)
    return Outcome(name, num_events, seconds, num_events / seconds, statistics.median(ratios), min(ratios), max(ratios), memory)


def run_once(name: str, log: Path) -> tuple[float, float]:
    """Seconds of one run in a process of its own, and its peak memory in MB."""
    with tempfile.TemporaryDirectory(dir=log.parent) as out:
        printed, memory = run_peer(name, log, out)
    return printed["seconds"], memory


def simulated(millions: int) -> Path:
    """The log of that size, made on demand: the simulated retailer's events with the columns that all contestants read."""
    log = LOGS / f"{SIZES[millions]}.parquet"
    if not log.is_file():
        raw = LOGS / SIZES[millions]
        words = [sys.executable, "-m", "training.simulate", f"size={SIZES[millions]}", "layout=events", f"out={raw}"]
        subprocess.run(words, cwd=ROOT, check=True)
        aside = log.with_suffix(".partial")
        pl.scan_parquet(raw / "events.parquet").select(COLUMNS).sink_parquet(aside)
        aside.rename(log)
    return log


def plot(outcomes: list[Outcome], path: Path) -> None:
    """Events a second of each contestant, one group a size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    sizes = sorted({outcome.events for outcome in outcomes})
    names = list(dict.fromkeys(outcome.contestant for outcome in outcomes))
    for place, name in enumerate(names):
        of_name = [outcome for outcome in outcomes if outcome.contestant == name]
        where = [sizes.index(outcome.events) + (place - len(names) / 2) * 0.8 / len(names) for outcome in of_name]
        bars = axes.bar(where, [outcome.events_per_second / 1e6 for outcome in of_name], 0.8 / len(names), label=CONTESTANTS[name])
        axes.bar_label(bars, fmt="%.2g", fontsize=7)
    axes.set_xticks(range(len(sizes)), [f"{size / 1e6:.3g} million events" for size in sizes])
    axes.set(ylabel="million events a second", yscale="log", title="A log becomes a store")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def summary(outcomes: list[Outcome]) -> dict[str, object]:
    """The line for machines: the largest log on which all contestants ran."""
    most = max(len([one for one in outcomes if one.events == outcome.events]) for outcome in outcomes)
    events = max(one.events for one in outcomes if len([other for other in outcomes if other.events == one.events]) == most)
    of = {one.contestant: one for one in outcomes if one.events == events}
    ratio = {name: round(one.ratio, 2) for name, one in of.items()}
    return {
        "events": events,
        "events_per_second": round(of[OURS].events_per_second),
        "ratio_to_pandas": ratio.get("plain_pandas"),
        "ratio_to_pytorch_lifestream": ratio.get("lifestream"),
        "ratio_to_replay": ratio.get("replay_tokenizer"),
        "time_over_floor": round(1 / of[FLOOR].ratio, 2) if FLOOR in of else None,
        "peak_rss_mb": round(of[OURS].peak_rss_mb),
        "hardware": hardware("cpu"),
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    """Measure, print a table for people, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", choices=SIZES, default=[1, 10], help="millions of events (1 10)")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), help="which contestants; revisit always runs")
    parser.add_argument("--log", type=Path, nargs="+", help=f"Parquet files with {', '.join(COLUMNS)} in the place of simulated ones")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"))
    options = parser.parse_args()
    contestants = [name for name in CONTESTANTS if name in {OURS, *options.only}]
    logs = options.log or [simulated(size) for size in options.sizes]
    outcomes = [outcome for log in logs for outcome in measure(log.resolve(), contestants, turns=options.turns)]
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "preprocess.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(outcomes[0])))
        writer.writeheader()
        writer.writerows(asdict(outcome) for outcome in outcomes)
    plot(outcomes, options.out / "preprocess.png")
    table = Table("events", "contestant", "seconds", "events/s", "time over ours (least to greatest)", "peak MB", title="preprocessing")
    for one in outcomes:
        spread = f"{one.ratio:.2f} ({one.ratio_least:.2f} to {one.ratio_greatest:.2f})"
        row = [
            f"{one.events:,}",
            CONTESTANTS[one.contestant],
            f"{one.seconds:.2f}",
            f"{one.events_per_second:,.0f}",
            spread,
            f"{one.peak_rss_mb:,.0f}",
        ]
        table.add_row(*row)
    console.print(table)
    print(json.dumps(summary(outcomes)))


if __name__ == "__main__":
    main()
