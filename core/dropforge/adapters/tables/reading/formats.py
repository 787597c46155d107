"""Opens an object as the table that it holds, whichever format that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO

from dropforge.adapters.tables.reading.blocks import Table
from dropforge.adapters.tables.reading.csv_table import CsvTable
from dropforge.adapters.tables.reading.json_table import JsonLinesTable
from dropforge.adapters.tables.reading.parquet_table import ParquetTable
from dropforge.adapters.tables.reading.source import open_source
from dropforge.domain.ports import ObjectRef, ObjectStore

BLOCK_BYTES = 16 << 20
"""Enough text to parse at full speed, and little enough to hold several copies of in a small function."""

_READERS: Mapping[str, Callable[[BinaryIO, str, int], Table]] = {
    "csv": CsvTable,
    "json": JsonLinesTable,
    "parquet": ParquetTable,
}


@contextmanager
def open_table(store: ObjectStore, ref: ObjectRef, block_bytes: int) -> Iterator[Table]:
    """Open an object as the table that it holds.

    Raises:
        EmptyData, UnreadableData, UnsupportedFormat, UnsupportedColumn, DuplicateColumn.
    """
    with store.open(ref) as stream, open_source(stream, ref.uri) as source:
        yield _READERS[source.format](source.stream, ref.uri, block_bytes)
