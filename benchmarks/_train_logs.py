"""The logs on which training is compared, as lines `customer item item …`: all but the last two items of each line are learned from."""

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks._peers import ROOT, console
from training.files import replacing_file
from training.sequences.store import SequenceStore

LOGS = ROOT / "outputs" / "benchmark_logs"
FEWEST = 3  # items of a customer who is asked: one to read, one to validate, one to test
ML_100K, ML_1M_SIZED, BEAUTY = "ml_100k", "ml_1m_sized", "beauty"
BATCH_SIZE = {BEAUTY: 512}  # customers of a few items each: 128 of them would ask 750 questions, of MovieLens some thirteen thousand
USUAL_BATCH_SIZE = 128


@dataclass(frozen=True)
class TrainLog:
    """lengths: of each customer's training history, whose items all but the first are targets. max_length: items that a model reads.

    batch_size: customers of a step.
    """

    name: str
    lines: Path
    max_length: int
    batch_size: int
    lengths: list[int]
    num_items: int

    @property
    def num_targets(self) -> int:
        return sum(self.lengths) - len(self.lengths)


def at_hand(name: str) -> Path | None:
    """The lines of MovieLens-100k or of a simulated log as large as MovieLens-1M, made on demand; of Beauty where somebody brought them."""
    if name != BEAUTY:
        return _packaged(name)
    lines = Path(os.environ.get("REVISIT_DATA", ROOT.parent / "shared" / "data")) / "amazon_beauty" / "Beauty.txt"
    if not lines.is_file():
        console.print(
            f"{BEAUTY} is left out: expected {lines}; put the folder's parent into REVISIT_DATA, or name a file of such lines by --lines"
        )
        return None
    return lines


def _packaged(name: str) -> Path:
    lines = LOGS / f"{name}.txt"
    if not lines.is_file():
        store = LOGS / f"{name}_store"
        _make_store(name, store)
        with replacing_file(lines) as aside:
            aside.write_text("".join(f"{customer} {' '.join(items)}\n" for customer, items in _histories(SequenceStore.open(store))))
    return lines


def prepared(lines: Path, *, max_length: int, out: Path, name: str) -> TrainLog:
    """What every contestant is given: the customers who can be asked, with their latest items, written to `out`.

    Nobody's history is longer than what a model reads and is asked about, so that an epoch is the same targets for everybody.
    """
    rows = [row for row in (line.split() for line in lines.read_text().splitlines()) if len(row) > FEWEST]
    rows = [[row[0], *row[1:][-(max_length + 3) :]] for row in rows]
    out.write_text("".join(" ".join(row) + "\n" for row in rows))
    training = [row[1:-2] for row in rows]
    lengths, known = [len(items) for items in training], {item for items in training for item in items}
    return TrainLog(name, out, max_length, BATCH_SIZE.get(name, USUAL_BATCH_SIZE), lengths, len(known))


def _make_store(name: str, store: Path) -> None:
    log = [f"data={name}"]
    if name == ML_1M_SIZED:
        raw = LOGS / name
        _run("training.simulate", "size=ml_1m", "layout=events", f"out={raw}")
        log = ["data=events", f"data.path={raw / 'events.parquet'}"]
    _run("training.preprocess", *log, f"out={store}", "collection=false")


def _run(module: str, *settings: str) -> None:
    subprocess.run([sys.executable, "-m", module, *settings], cwd=ROOT, check=True, stdout=sys.stderr)


def _histories(store: SequenceStore) -> Iterable[tuple[str, list[str]]]:
    """Every customer's items in the order of time, by their ids."""
    item, offsets = store.columns["item"], store.offsets.tolist()
    for customer, (start, stop) in enumerate(pairwise(offsets)):
        yield f"c{customer}", [str(number) for number in item[start:stop] if number > 1]
