"""A Parquet file that grows while the log is written, in row groups that are large however small its parts are."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROWS_A_GROUP = 1_000_000
# Beyond one MiB a dictionary would be given up halfway.
DICTIONARY_BYTES = 1 << 26


class ParquetFile:
    """A Parquet file that is written in row groups of about `ROWS_A_GROUP`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer: pq.ParquetWriter | None = None
        self.waiting: list[pa.Table] = []

    def append(self, table: pa.Table) -> None:
        """Add rows."""
        self.waiting.append(table)
        if sum(part.num_rows for part in self.waiting) >= ROWS_A_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is waiting and the file's end."""
        if self.waiting:
            self._flush()
        if self.writer:
            self.writer.close()

    def _flush(self) -> None:
        table = pa.concat_tables(self.waiting).unify_dictionaries()
        self.waiting.clear()
        if self.writer is None:
            self.writer = pq.ParquetWriter(self.path, table.schema, **_options(table.schema))
        self.writer.write_table(table, row_group_size=2 * ROWS_A_GROUP)


def _options(schema: pa.Schema) -> dict[str, Any]:
    """Texts as dictionaries and without statistics, which cost as much as the texts themselves; numbers as they are."""
    texts = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    numbers = [name for name in schema.names if name not in texts]
    # Arrow's own schema would make readers see dictionaries where there are texts.
    return {
        "store_schema": False,
        "use_dictionary": texts,
        "write_statistics": numbers,
        "dictionary_pagesize_limit": DICTIONARY_BYTES,
    }
