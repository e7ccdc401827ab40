"""The file of one of the retailer's systems, as Parquet or CSV, with the truth row by row beside it."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from training.simulator.dirt import BROKEN_BYTES, ISO, MARK, REASONS, spoil
from training.simulator.draws import draws
from training.simulator.events import Events, make_events, stacked
from training.simulator.parquet import ParquetFile
from training.simulator.settings import Settings
from training.simulator.sources import Source, Texts

ROWS_A_GROUP = 1_000_000
SPOILT = pa.schema({"source": pa.string(), "row": pa.int64(), "reason": pa.string()})


class SourceFile:
    """One system's file; truth/<source>.parquet with the customer and visit of each of its rows; and what was spoilt in it."""

    def __init__(self, folder: Path, source: Source, texts: Texts, settings: Settings, *, number: int) -> None:
        self.source, self.texts, self.settings, self.number = source, texts, settings, number
        self.is_text = settings.format == "csv"
        self.is_dirty = any(vars(settings.dirt).values())
        self.name = f"{source.name}.{settings.format}"
        self.log = CsvFile(folder / self.name) if self.is_text else ParquetFile(folder / self.name)
        self.truth = ParquetFile(folder / "truth" / f"{source.name}.parquet")
        self.num_written = 0
        self.waiting: list[Events] = []
        self.spoilt: list[pa.Table] = [SPOILT.empty_table()]
        self.last = make_events(0)

    def append(self, events: Events) -> None:
        """Add those of a slice's events, in order of time, that belong to this system."""
        self.waiting.append(self.source.own(events))
        if sum(map(len, self.waiting)) >= ROWS_A_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is left. Where rows are to be truncated, the file ends in the middle of one."""
        self._flush()
        if isinstance(self.log, CsvFile) and self.settings.dirt.truncated_row and len(self.last):
            self.log.append_half(self.source.table(self.last, self.texts))
            self._note(self.last)
            self._note_spoilt(np.array([self.num_written]), ["truncated_row"])
        self.log.close()
        self.truth.close()

    def _flush(self) -> None:
        events = stacked([make_events(0), *self.waiting])
        self.waiting.clear()
        table = self.source.table(events, self.texts)
        if self.is_dirty:
            table, events = self._spoil(table, events)
        self.log.append(table)
        self._note(events)

    def _spoil(self, table: pa.Table, events: Events) -> tuple[pa.Table, Events]:
        self.last = events[-1:]
        rng = draws(self.settings.seed, "dirt", (self.num_written << 8) + self.number)
        spoilt = spoil(_frame(table), self.source, self.settings.dirt, rng, times_as_text=self.is_text)
        self._note_spoilt(self.num_written + 1 + spoilt.row, spoilt.kind)
        return spoilt.table.to_arrow(), events.take(spoilt.origin)

    def _note(self, events: Events) -> None:
        self.truth.append(pa.table({"customer": events.customer, "visit": events.visit}))
        self.num_written += len(events)

    def _note_spoilt(self, rows: np.ndarray, kinds: list[str]) -> None:
        columns = {"source": [self.name] * len(kinds), "row": rows, "reason": [REASONS[kind] for kind in kinds]}
        self.spoilt.append(pa.table(columns, SPOILT))


class CsvFile:
    """A CSV file: a header, then lines. `MARK` in a text becomes bytes that are no UTF-8."""

    def __init__(self, path: Path) -> None:
        self.stream = path.open("wb")

    def append(self, table: pa.Table) -> None:
        """Add rows."""
        self._write(_lines(table, include_header=self.stream.tell() == 0))

    def append_half(self, row: pa.Table) -> None:
        """Add the first half of the cells of one row, and no line break."""
        cells = _lines(row, include_header=False).rstrip("\n").split(",")
        self._write(",".join(cells[: len(cells) // 2]))

    def close(self) -> None:
        """Write the file's end."""
        self.stream.close()

    def _write(self, text: str) -> None:
        self.stream.write(text.encode().replace(MARK.encode(), BROKEN_BYTES))


def _frame(table: pa.Table) -> pl.DataFrame:
    """The table with texts in place of dictionaries."""
    texts = [pa.field(field.name, pa.string()) if pa.types.is_dictionary(field.type) else field for field in table.schema]
    return pl.DataFrame(table.cast(pa.schema(texts)))


def _lines(table: pa.Table, *, include_header: bool) -> str:
    return _frame(table).write_csv(include_header=include_header, float_precision=2, datetime_format=ISO)
