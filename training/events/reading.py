"""Plans of `quarantine` run on an engine: the rows of some files, and those that can't be used as the files have them."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import polars as pl
import pyarrow as pa

from training.engine import Engine
from training.errors import DataError
from training.events.numbered import are_numbered, join, place_numbered
from training.events.parts import AT_ONE_TIME, ROWS_OF_A_STRETCH, stretches
from training.events.quarantine import parted, quarantine, separate
from training.events.runs import Placed, place_texts
from training.events.schema import Kind, Log
from training.events.sources import SourceFile, brief, item_attributes

REPEAT = "exact repeat"


@dataclass(frozen=True)
class Reader:
    """Reads files of a log, whose fields are those of the whole log."""

    log: Log
    fields: Mapping[str, Kind]
    engine: Engine

    def placed(self, files: list[SourceFile], *, first: int = 0) -> tuple[Placed, pl.DataFrame]:
        """The usable rows, and `_order` and `reason` of the others. `first` numbers the files within the log."""
        with self._readable(files):
            if are_numbered(files, self.log, self.engine):
                return self._numbered(files, first)
            usable, broken = parted(self.engine.collect(separate(self.log, files, fields=self.fields, first=first)))
        return place_texts(usable, self.log.kinds), broken

    def _numbered(self, files: list[SourceFile], first: int) -> tuple[Placed, pl.DataFrame]:
        place = partial(place_numbered, self.log, engine=self.engine, fields=self.fields)
        numbered = [(number, some) for number, file in enumerate(files, first) for some in stretches(file, rows=ROWS_OF_A_STRETCH)]
        with ThreadPoolExecutor(AT_ONE_TIME) as pool:  # where one waits for its longest column, the other goes on
            work = [pool.submit(place, file, number=number) for number, file in numbered]
        broken = pl.concat([some.result()[1] for some in work])
        return join([work.pop(0).result()[0] for _ in numbered]), broken

    def quarantined(self, files: list[SourceFile], broken: pl.DataFrame, *, first: int = 0) -> pl.DataFrame:
        """The rows named in `broken` as the files have them, in the log's order. A file without any is not read."""
        with self._readable(files):
            plans = quarantine(self.log, files, broken, fields=self.fields, first=first)
            return pl.concat([self.engine.collect(plan).sort("row") for plan in plans])

    def item_words(self) -> list[pl.DataFrame]:
        """The tables of what is known about items."""
        try:
            return [self.engine.collect(plan) for plan in item_attributes(self.log)]
        except pl.exceptions.PolarsError as error:
            raise DataError(f"data.items of {self.log.name}: {brief(error)}") from error

    @contextmanager
    def _readable(self, files: list[SourceFile]) -> Iterator[None]:
        """A file that turns out to be damaged while it is read is the user's to mend."""
        try:
            yield
        except (pl.exceptions.PolarsError, pa.ArrowException, OSError) as error:
            names = ", ".join(dict.fromkeys(file.name for file in files))
            raise DataError(f"data={self.log.name}: {names} can't be read: {brief(error)}") from error


def nothing_usable(log: Log, quarantined: pl.DataFrame) -> DataError:
    """What to say of a log whose rows are all in the quarantine."""
    if quarantined.is_empty():
        return DataError(f"data={log.name}: expected events, found a log without a row")
    reason, count = quarantined["reason"].value_counts(sort=True).row(0)
    example = quarantined.filter(pl.col("reason") == reason).drop("reason").row(0, named=True)
    words = ", ".join(f"{name} {text!r}" for name, text in example.items())
    found = f"all {quarantined.height} are quarantined, {count} as {reason!r}, for example {words}"
    return DataError(f"data={log.name}: expected usable rows, but {found}; mend the log or data.sources")


def repeated(order: list[int] | pl.Series) -> pl.DataFrame:
    """Exact repeats in the form of rows that can't be used."""
    return pl.DataFrame({"_order": pl.Series(order, dtype=pl.Int64)}).with_columns(reason=pl.lit(REPEAT))
