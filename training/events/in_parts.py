"""A log's files to the contents of a store in little memory, and so that whoever is killed can go on.

Part by part is read and sorted (a run), then partition by partition of customers is merged from all runs and freed of repeats; ids are
known after the last. Each run and each partition is a step of the journal.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from training.engine import Engine
from training.events.clean import Cleaned, Say, count_reasons
from training.events.crew import Crew
from training.events.encode import Encoded, vocabulary_of
from training.events.filters import choose_events
from training.events.identity import United, find_identities, open_identities
from training.events.journal import Journal
from training.events.partitions import Merger
from training.events.parts import Part, is_large_text, parts_of, rows_at_a_time
from training.events.quarantine import ROWS_A_FILE, fields_of
from training.events.reading import Reader, nothing_usable, repeated
from training.events.refine import ITEM, keep_rows, nothing_left, with_sessions
from training.events.runs import CUSTOMER, ORDER, Run, count_places, drop_repeats, open_run, save_run, sort_rows
from training.events.schema import Filter, Log
from training.events.sources import SourceFile, write_copy
from training.sequences.pieces import Pieces

BROKEN, ROWS, REPEATS, COUNTS, COPY, SEEN = "broken.ipc", "rows", "repeats.npy", "counts.npz", "rows.parquet", "seen.npy"


def clean_in_parts(log: Log, files: list[SourceFile], engine: Engine, *, memory: int, journal: Journal, crew: Crew, say: Say) -> Cleaned:
    """The same contents as `clean_at_once` finds. `memory` of each of the crew, in bytes.

    Raises DataError where files can't be read or no row is usable.
    """
    reader = Reader(log, fields_of(log, files), engine)
    files = _cuttable(files, memory, journal, crew, say)
    identities = journal.step("identities", partial(_save_identities, log, engine)) if log.identity else None
    parts = parts_of(files, memory)
    steps = {f"run-{number:05}": partial(make_run, reader, part, identities) for number, part in enumerate(parts)}
    runs = crew.do(journal, steps, say=lambda done: say(f"{done} of {len(parts)} parts of {log.name} are read"))
    broken = pl.concat([pl.read_ipc(run / BROKEN) for run in runs])
    filled = [run / ROWS for run in runs if open_run(run / ROWS, {}).num_rows]
    if not filled:
        raise nothing_usable(log, pl.concat([*_fetched(reader, parts, broken)]))
    say("uniting the keys of all parts")
    fields = [name for name in reader.fields if name != CUSTOMER]
    merger = Merger.of(filled, fields=fields, rows_at_a_time=rows_at_a_time(len(fields), memory))
    shared = crew.share(journal, "merger", merger)
    steps = {f"partition-{number:05}": partial(make_partition, shared, number, log) for number in range(merger.num_partitions)}
    partitions = crew.do(journal, steps, say=lambda done: say(f"{done} of {merger.num_partitions} partitions are sorted"))
    again = np.concatenate([np.load(partition / REPEATS) for partition in partitions])
    num_read = broken.height + sum(open_run(run, {}).num_rows for run in filled)
    broken = pl.concat([broken, repeated(pl.Series(again))])
    partitions, left_out = _filtered(log, partitions, journal, say)
    encoded = _encoded(merger, partitions, reader.item_words())
    quarantined = (table.to_arrow() for table in _fetched(reader, parts, broken))
    return Cleaned(encoded, quarantined, count_reasons(broken), left_out, num_read, _united(identities, runs))


def make_run(reader: Reader, part: Part, identities: Path | None, folder: Path) -> None:
    """Write the run of a part and which of its rows can't be used: a function of the part and of who is who."""
    placed, broken = reader.placed(part.files, first=part.first)
    broken.write_ipc(folder / BROKEN)
    if identities:
        placed, seen = open_identities(identities).unite(placed)
        np.save(folder / SEEN, seen)
    save_run(sort_rows(placed), folder / ROWS)


def make_partition(shared: Callable[[], Merger], number: int, log: Log, folder: Path) -> None:
    """Write the rows of a partition without repeats, with sessions, and how often each key occurs: a function of the runs alone."""
    merger = shared()
    run, again = merger.partition(number), np.zeros(0, dtype=np.int64)
    if not log.keep_exact_repeats:
        run, again = drop_repeats(run)
    if log.sessions:
        run = with_sessions(run, log.sessions)
    np.save(folder / REPEATS, again)
    _save_partition(run, {name: len(keys) for name, keys in merger.keys.items() if name != CUSTOMER}, folder)


def make_filtered(partition: Path, stays: np.ndarray, folder: Path) -> None:
    """Write the rows of a partition that stay, and how often each key occurs among them."""
    num_keys = {name: len(counts) - 1 for name, counts in np.load(partition / COUNTS).items()}
    _save_partition(keep_rows(open_run(partition / ROWS), stays), num_keys, folder)


def _save_identities(log: Log, engine: Engine, folder: Path) -> None:
    identities = find_identities(log, engine)
    assert identities
    identities.save(folder)


def _united(identities: Path | None, runs: list[Path]) -> United | None:
    if identities is None:
        return None
    seen = np.logical_or.reduce([np.load(run / SEEN) for run in runs])
    return open_identities(identities).united(seen)


def _save_partition(run: Run, num_keys: dict[str, int], folder: Path) -> None:
    counts = {name: count_places(run.columns[name], number) for name, number in num_keys.items()}
    np.savez(folder / COUNTS, **counts)  # type: ignore[arg-type]  # NumPy's stub takes each name for its flag
    save_run(replace(run, keys={CUSTOMER: run.keys[CUSTOMER]}), folder / ROWS)


@dataclass(frozen=True)
class _ItemsAndOffsets(Sequence[tuple[np.ndarray, np.ndarray]]):
    """What `choose_events` looks at, read whenever it asks."""

    partitions: list[Path]

    def __len__(self) -> int:
        return len(self.partitions)

    def __getitem__(self, number: Any) -> Any:
        run = open_run(self.partitions[number] / ROWS, {})
        return run.columns[ITEM], run.offsets


def _filtered(log: Log, partitions: list[Path], journal: Journal, say: Say) -> tuple[list[Path], dict[str, int]]:
    """The partitions without what `data.filter` leaves out, and how many rows that is, by reason."""
    if log.filter == Filter():
        return partitions, {}
    say("choosing the rows that data.filter asks for")
    stays, left_out = choose_events(_ItemsAndOffsets(partitions), log.filter)
    if not any(some.any() for some in stays):
        raise nothing_left(log, left_out)
    chosen = [
        journal.step(f"filtered-{number:05}", partial(make_filtered, partition, some))
        for number, (partition, some) in enumerate(zip(partitions, stays, strict=True))
    ]
    return chosen, left_out


def _encoded(merger: Merger, partitions: list[Path], attributes: list[pl.DataFrame]) -> Encoded:
    """The partitions one after the other; their columns are read, and turned into ids, when they are written."""
    runs = [partition / ROWS for partition in partitions]
    first = open_run(runs[0], {}).columns
    fields = [*merger.fields, *(name for name in first if name not in merger.fields)]  # sessions may have been added
    vocabularies, ids = {}, {}
    for name in (name for name in fields if name in merger.keys):
        counts = sum(np.load(partition / COUNTS)[name] for partition in partitions)
        vocabularies[name], ids[name] = vocabulary_of(name, merger.keys[name], counts, attributes)

    def read(name: str) -> Iterator[np.ndarray]:
        for run in runs:
            values = open_run(run, {}).columns[name]
            yield ids[name][values] if name in ids else values

    offsets = _joined_offsets([open_run(run, {}).offsets for run in runs])
    customers = pl.concat([open_run(run).keys[CUSTOMER] for run in runs]).to_arrow().cast(pa.string())
    schema = pa.schema([(name, pa.from_numpy_dtype(first[name].dtype)) for name in fields])
    return Encoded(Pieces(schema, int(offsets[-1]), read), customers, offsets, vocabularies)


def _joined_offsets(offsets: list[np.ndarray]) -> np.ndarray:
    starts = np.cumsum([0, *(some[-1] for some in offsets)])
    return np.concatenate([[0], *(some[1:] + start for some, start in zip(offsets, starts, strict=False))])


def _cuttable(files: list[SourceFile], memory: int, journal: Journal, crew: Crew, say: Say) -> list[SourceFile]:
    """The files, those with a copy in Parquet that are texts and must be cut."""
    texts = {number: file for number, file in enumerate(files) if is_large_text(file, memory)}
    steps = {f"copy-{number:05}": partial(_copy, file) for number, file in texts.items()}
    copies = crew.do(journal, steps, say=lambda done: say(f"{done} of {len(texts)} texts are copied to Parquet, to be read in parts"))
    copied = {number: replace(file, copy=copy / COPY) for (number, file), copy in zip(texts.items(), copies, strict=True)}
    return [copied.get(number, file) for number, file in enumerate(files)]


def _copy(file: SourceFile, folder: Path) -> None:
    write_copy(file, folder / COPY)


def _fetched(reader: Reader, parts: list[Part], broken: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The rows that can't be used, a stretch of a file at a time, in the log's order; at least one table."""
    stretches = [(part.first + place, file) for part in parts for place, file in enumerate(part.files)]
    of_stretch = {number: some for (number,), some in broken.group_by(pl.col(ORDER) // ROWS_A_FILE)}
    if not of_stretch:
        yield reader.quarantined([stretches[0][1]], broken)
    for number, file in stretches:
        if number in of_stretch:
            yield reader.quarantined([file], of_stretch[number], first=number)
