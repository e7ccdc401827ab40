"""A log's files to the contents of a store, all at one time: for a log that fits into memory."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from training.engine import Engine
from training.events.encode import Encoded, encode
from training.events.identity import United, find_identities
from training.events.quarantine import fields_of
from training.events.reading import Reader, nothing_usable, repeated
from training.events.refine import refine
from training.events.runs import drop_repeats, sort_rows
from training.events.schema import Log
from training.events.sources import SourceFile

Say = Callable[[str], None]


@dataclass(frozen=True)
class Cleaned:
    """encoded      what the store holds
    quarantined  tables of the rows that can't be used
    reasons      how many of them for each reason, most first
    left_out     how many usable rows `data.filter` keeps out, by reason
    num_read     rows of all files
    united       which keys mean the same customer, where the log says that some do
    """

    encoded: Encoded
    quarantined: Iterable[pa.Table]
    reasons: Mapping[str, int]
    left_out: Mapping[str, int]
    num_read: int
    united: United | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Rows read, kept, quarantined and, where there are some, left out."""
        counts = {"read": self.num_read, "kept": self.encoded.events.num_rows, "quarantined": sum(self.reasons.values())}
        return counts | ({"left_out": sum(self.left_out.values())} if self.left_out else {})


def clean_at_once(log: Log, files: list[SourceFile], engine: Engine, *, say: Say) -> Cleaned:
    """Raises DataError where files can't be read or no row is usable."""
    reader = Reader(log, fields_of(log, files), engine)
    say(f"reading {len(files)} files of {log.name}")
    placed, broken = reader.placed(files)
    num_read, united = placed.num_rows + broken.height, None
    if not placed.num_rows:
        raise nothing_usable(log, reader.quarantined(files, broken))
    say(f"sorting {placed.num_rows:,} events")
    if identities := find_identities(log, engine):
        placed, seen = identities.unite(placed)
        united = identities.united(seen)
    run = sort_rows(placed)
    del placed
    if not log.keep_exact_repeats:
        run, again = drop_repeats(run)
        broken = pl.concat([broken, repeated(pl.Series(again))])
    run, left_out = refine(run, log)
    encoded = encode(run, attributes=reader.item_words())
    if broken.height:
        say(f"fetching {broken.height:,} rows that can't be used")
    return Cleaned(encoded, [reader.quarantined(files, broken).to_arrow()], count_reasons(broken), left_out, num_read, united)


def count_reasons(broken: pl.DataFrame) -> dict[str, int]:
    """How many rows have each reason, most first."""
    return dict(broken.group_by("reason").len().sort("len", "reason", descending=[True, False]).iter_rows())
