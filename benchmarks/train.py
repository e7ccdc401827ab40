"""How fast does SASRec train, beside what people use instead, and how soon is it good?

    python -m benchmarks.train
    python -m benchmarks.train --logs ml_100k beauty --only revisit_sasrec torch_sasrec
    python -m benchmarks.train --losses --logs ml_100k --quality ml_100k=0.06

The same histories, width, blocks, heads, batches (128 customers; of Beauty's short histories 512), negatives, learning rate and threads for
everybody: Revisit, RecTools and RePlay as their documentation has them trained, and a plain loop over padded batches (benchmarks/peers).
They run in turns, each in a process and an environment of its own; the ratio within each turn counts, since a shared machine is never
equally fast twice. An epoch is its training alone: neither start-up nor validation. Whose epoch takes more than a minute trains for that
one, in the first turn. Afterwards everybody trains until validation NDCG@10 is what was wanted, we first; who has taken --patience times
our seconds is given up. --losses without any leaves that race alone.
Writes train.csv to --out.
"""

import argparse
import csv
import json
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from benchmarks._pairs import hardware, matmul_rate
from benchmarks._peers import console, environment, run_peer
from benchmarks._train_logs import BEAUTY, ML_1M_SIZED, ML_100K, USUAL_BATCH_SIZE, TrainLog, at_hand, prepared

OURS, RECTOOLS, REPLAY, PLAIN = "revisit_sasrec", "rectools_sasrec", "replay_sasrec", "torch_sasrec"
CONTESTANTS = {OURS: "Revisit", RECTOOLS: "RecTools", REPLAY: "RePlay", PLAIN: "plain PyTorch"}
LOSSES = {"sampled": "sampled_softmax", "full": "full_softmax"}
MAX_LENGTH, MAX_LENGTH_OF_LINES = 200, 50
LONG = 60.0  # seconds of an epoch, from which on a contestant runs one, in the first turn alone
KNOWN = [ML_100K, BEAUTY, ML_1M_SIZED]
QUALITY = {ML_100K: 0.03, BEAUTY: 0.03, ML_1M_SIZED: 0.35}
SETTINGS = {
    "dim": 64,
    "num_blocks": 2,
    "num_heads": 2,
    "dropout": 0.2,
    "batch_size": USUAL_BATCH_SIZE,
    "learning_rate": 0.001,
    "num_negatives": 256,
}


@dataclass(frozen=True)
class Outcome:
    """One contestant on one log with one loss: medians over the turns; `ratio` is its epoch over ours within a turn.

    share_of_matmul: of the rate of a large matrix product, measured within the turn, that the operations of SASRec itself make.
    """

    log: str
    loss: str
    contestant: str
    seconds: float
    targets_per_second: float
    ratio: float
    ratio_least: float
    ratio_greatest: float
    share_of_matmul: float
    peak_rss_mb: float


@dataclass(frozen=True)
class Reached:
    """Seconds of training until validation NDCG@10 was what was wanted, or until it was given up, and the test's then."""

    log: str
    contestant: str
    wanted: float
    reached: bool
    seconds: float
    epochs: int
    valid: float
    test: float


@dataclass(frozen=True)
class Turn:
    """seconds and peak memory (MB) of an epoch of each contestant that ran; rate: operations a second of a matrix product beside them."""

    epochs: Mapping[str, tuple[float, float]]
    rate: float


def measure(log: TrainLog, contestants: Sequence[str], *, loss: str, turns: int, epochs: int, threads: int) -> list[Outcome]:
    """All contestants in turns; one that can't be run ends the benchmark."""
    for name in contestants:
        environment(name)
    taken: list[Turn] = []
    for turn in range(turns):
        console.print(f"[dim]{log.name}, {loss}: turn {turn + 1} of {turns}[/dim]")
        still = [name for name in contestants if not (taken and taken[0].epochs[name][0] > LONG and name != OURS)]
        taken.append(Turn({name: _epoch(name, log, loss=loss, epochs=epochs, threads=threads) for name in still}, matmul_rate("cpu")))
    return [_outcome(name, log, loss, taken) for name in contestants]


def _epoch(name: str, log: TrainLog, *, loss: str, epochs: int, threads: int) -> tuple[float, float]:
    """The median epoch of one run, the first left out where there are others: it warms up."""
    printed, memory = _run(name, log, threads=threads, loss=loss, epochs=epochs, longest=LONG)
    seconds = statistics.median(printed["seconds"][1:] or printed["seconds"])
    console.print(f"[dim]{CONTESTANTS[name]}: {seconds:.2f} s an epoch[/dim]")
    return seconds, memory


def _outcome(name: str, log: TrainLog, loss: str, turns: Sequence[Turn]) -> Outcome:
    turns = [turn for turn in turns if name in turn.epochs]
    seconds = statistics.median(turn.epochs[name][0] for turn in turns)
    ratios = [turn.epochs[name][0] / turn.epochs[OURS][0] for turn in turns]
    share = statistics.median(operations(log, loss) / turn.epochs[name][0] / turn.rate for turn in turns)
    memory = max(turn.epochs[name][1] for turn in turns)
    spread = statistics.median(ratios), min(ratios), max(ratios)
    return Outcome(log.name, loss, name, seconds, log.num_targets / seconds, *spread, share, memory)


def operations(log: TrainLog, loss: str) -> float:
    """Those of an epoch of SASRec, forth and back, without padding: two a multiplication, three times what the way forth takes.

    A block has twelve products of a token with a D × D matrix, and two products of D with every token at or before it.
    """
    dim, blocks = SETTINGS["dim"], SETTINGS["num_blocks"]
    read = [length - 1 for length in log.lengths]
    products = 12 * dim**2 * sum(read) + 2 * dim * sum(length * (length + 1) / 2 for length in read)
    choices = log.num_items if loss == "full" else SETTINGS["num_negatives"] + 1
    return 3 * 2 * (blocks * products + dim * choices * log.num_targets)


def race(log: TrainLog, contestants: Sequence[str], *, wanted: float, epochs: int, patience: float, threads: int) -> list[Reached]:
    """Each contestant trains with the sampled loss until validation NDCG@10 is `wanted`; the test is asked once, after that.

    The first sets the clock: nobody else begins an epoch once it has trained for `patience` times as long.
    """
    finished: list[Reached] = []
    for name in contestants:
        within = patience * finished[0].seconds if finished else None
        console.print(f"[dim]{log.name}: {CONTESTANTS[name]} until NDCG@10 is {wanted:g}[/dim]")
        printed, _ = _run(name, log, threads=threads, loss="sampled", epochs=epochs, judged=True, until=wanted, within=within)
        seconds, valid = sum(printed["seconds"]), printed["valid"]
        finished.append(Reached(log.name, name, wanted, valid[-1] >= wanted, seconds, len(valid), valid[-1], printed["test"]))
        console.print(f"[dim]{CONTESTANTS[name]}: {valid[-1]:.4f} after {seconds:.1f} s[/dim]")
    return finished


def _run(name: str, log: TrainLog, *, threads: int, **settings: object) -> tuple[dict[str, Any], float]:
    said = {**SETTINGS, "max_length": log.max_length, "batch_size": log.batch_size, "seed": 0, **settings}
    return run_peer(name, log.lines, json.dumps(said), variables={"OMP_NUM_THREADS": str(threads)})


def summary(outcomes: Sequence[Outcome], reached: Sequence[Reached], *, threads: int) -> dict[str, object]:
    """The line for machines. Of several logs the one least in our favour.

    Who was given up on the way to quality counts with the seconds it had taken: its ratio is at least that.
    """

    def ratio(name: str) -> float | None:
        of = [one.ratio for one in outcomes if one.contestant == name and one.loss == "sampled"]
        return round(min(of), 2) if of else None

    def share(loss: str) -> float | None:
        of = [one.share_of_matmul for one in outcomes if one.contestant == OURS and one.loss == loss]
        return round(min(of), 3) if of else None

    ours = {one.log: one.seconds for one in reached if one.contestant == OURS and one.reached}
    soon = [one.seconds / ours[one.log] for one in reached if one.contestant == RECTOOLS and one.log in ours]
    return {
        "epoch_ratio_to_rectools": ratio(RECTOOLS),
        "epoch_ratio_to_replay": ratio(REPLAY),
        "epoch_ratio_to_plain_torch": ratio(PLAIN),
        "time_to_quality_ratio_to_rectools": round(min(soon), 2) if soon else None,
        "share_of_matmul_peak": {name: share(loss) for loss, name in LOSSES.items()},
        "peak_rss_mb": round(max(memory)) if (memory := [one.peak_rss_mb for one in outcomes if one.contestant == OURS]) else None,
        "epochs": [asdict(one) for one in outcomes],
        "quality": [asdict(one) for one in reached],
        "hardware": f"{hardware('cpu')}, {threads} used",
        "load": round(os.getloadavg()[1], 2),
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    """Measure, print tables for people, then one line of JSON."""
    options = _options()
    torch.set_num_threads(options.threads)
    contestants = [name for name in CONTESTANTS if name in {OURS, *options.only}]
    outcomes, reached = [], []
    with tempfile.TemporaryDirectory() as folder:
        found = {name: lines for name in options.logs if (lines := at_hand(name))} | {path.stem: path for path in options.lines}
        longest = {ML_100K: MAX_LENGTH, ML_1M_SIZED: MAX_LENGTH}
        logs = [
            prepared(lines, max_length=longest.get(name, MAX_LENGTH_OF_LINES), out=Path(folder) / f"{name}.txt", name=name)
            for name, lines in found.items()
        ]
        for log in logs:
            for loss in options.losses:
                measured = {"loss": loss, "turns": options.turns, "epochs": options.epochs, "threads": options.threads}
                outcomes += measure(log, contestants, **measured)
        for log in logs:
            if log.name in options.quality:
                clock = {"epochs": options.most_epochs, "patience": options.patience, "threads": options.threads}
                reached += race(log, contestants, wanted=options.quality[log.name], **clock)
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "train.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(Outcome)])
        writer.writeheader()
        writer.writerows(asdict(outcome) for outcome in outcomes)
    _show(outcomes, reached)
    print(json.dumps(summary(outcomes, reached, threads=options.threads)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", nargs="*", choices=KNOWN, default=KNOWN, help=f"known logs (all; {BEAUTY} where it is at hand)")
    parser.add_argument("--lines", type=Path, nargs="*", default=[], help="files of lines `customer item item …` beside them")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), help=f"which contestants; {OURS} always runs")
    parser.add_argument("--losses", nargs="*", choices=LOSSES, default=list(LOSSES), help="of epochs: 256 shared negatives; all items")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="of a run; the first warms up where there are more (2)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--quality", type=_goal, nargs="*", default=[*QUALITY.items()], metavar="LOG=NDCG", help="time to that validation NDCG@10"
    )
    parser.add_argument("--most-epochs", type=int, default=30, help="after which nobody goes on to it (30)")
    parser.add_argument("--patience", type=float, default=15, help="times our seconds, after which nobody else goes on to it (15)")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"))
    options = parser.parse_args()
    options.quality = dict(options.quality)
    return options


def _goal(words: str) -> tuple[str, float]:
    log, _, wanted = words.partition("=")
    return log, float(wanted)


def _show(outcomes: Sequence[Outcome], reached: Sequence[Reached]) -> None:
    heads = "s an epoch", "targets/s", "times ours (least to greatest)", "of matmul", "peak MB"
    table = Table("log", "loss", "contestant", *heads, title="training SASRec")
    for one in outcomes:
        spread = f"{one.ratio:.2f} ({one.ratio_least:.2f} to {one.ratio_greatest:.2f})"
        numbers = f"{one.seconds:.2f}", f"{one.targets_per_second:,.0f}", spread, f"{one.share_of_matmul:.1%}", f"{one.peak_rss_mb:,.0f}"
        table.add_row(one.log, one.loss, CONTESTANTS[one.contestant], *numbers)
    if outcomes:
        console.print(table)
    if reached:
        soon = Table("log", "NDCG@10", "contestant", "s of training", "epochs", "validation", "test", title="time to quality")
        for goal in reached:
            took = f"{goal.seconds:.1f}" if goal.reached else f"not within {goal.seconds:.1f}"
            figures = took, str(goal.epochs), f"{goal.valid:.4f}", f"{goal.test:.4f}"
            soon.add_row(goal.log, f"{goal.wanted:g}", CONTESTANTS[goal.contestant], *figures)
        console.print(soon)


if __name__ == "__main__":
    main()
