"""A Parquet file that grows while the log is written."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# Beyond one MiB a dictionary would be given up halfway.
DICTIONARY_BYTES = 1 << 26


class ParquetFile:
    """A Parquet file; each part becomes a row group."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer: pq.ParquetWriter | None = None

    def append(self, table: pa.Table) -> None:
        """Add rows."""
        if self.writer is None:
            self.writer = pq.ParquetWriter(self.path, table.schema, **_options(table.schema))
        self.writer.write_table(table, row_group_size=max(1, table.num_rows))

    def close(self) -> None:
        """Write the file's end."""
        if self.writer:
            self.writer.close()


def _options(schema: pa.Schema) -> dict[str, Any]:
    """Texts as dictionaries and without statistics, which cost as much as the texts themselves; times, which rise, by their differences.

    Compression would save a fifth of the room that is left, for a quarter more time.
    """
    texts = [field.name for field in schema if pa.types.is_dictionary(field.type) or pa.types.is_large_string(field.type)]
    times = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    numbers = [name for name in schema.names if name not in texts]
    # Arrow's own schema would make readers see dictionaries where there are texts.
    return {
        "store_schema": False,
        "compression": "none",
        "column_encoding": dict.fromkeys(times, "DELTA_BINARY_PACKED"),
        "use_dictionary": texts,
        "write_statistics": numbers,
        "dictionary_pagesize_limit": DICTIONARY_BYTES,
    }
