"""CSV as a stream of blocks of text columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pacsv

from dropforge.adapters.tables.blocks import BadRecord, Block, BlockTable, Piece, rows_without
from dropforge.adapters.tables.bounds import limited
from dropforge.adapters.tables.conversion import ENCODED_TEXT
from dropforge.adapters.tables.csv_header import SAMPLE_BYTES, decode, read_header
from dropforge.adapters.tables.csv_records import lines_in, whole_records
from dropforge.domain.row_rules import MISSING_SPELLINGS, RULE_FIELDS


class CsvTable(BlockTable):
    """One CSV object, open for a single pass.

    Args:
        stream: plain UTF-8 bytes.
        name: the object's URI, for messages.
        block_bytes: about how much text to parse at once.
    """

    columns: list[str] | None

    def __init__(self, stream: BinaryIO, name: str, block_bytes: int) -> None:
        self._stream, self._name, self._block_bytes = stream, name, block_bytes
        sample = _read_fully(stream, SAMPLE_BYTES)
        self._header, self.delimiter, end = read_header(sample, len(sample) < SAMPLE_BYTES, name)
        self._pending = sample[end:]
        self.columns = self._header

    @property
    def first_row(self) -> int:
        """Where the rows begin in the stream."""
        return self._stream.tell() - len(self._pending)

    def between(self, start: int | None, end: int) -> None:
        begins = self.first_row if start is None else start
        self._pending, self._stream = b"", limited(self._stream, begins, end)

    def native_types(self) -> Mapping[str, pa.DataType]:
        return {}

    def pieces(self, wanted: Sequence[str] | None, encoded: Collection[str]) -> Iterator[Piece]:
        names = self._header if wanted is None else [n for n in self._header if n in wanted]
        types = {name: ENCODED_TEXT if name in encoded else pa.string() for name in names}
        lines = 0
        for data in whole_records(
            self._stream, self._pending, self.delimiter.encode(), self._block_bytes, self._name
        ):
            yield partial(self._parse, data, types, lines)
            lines += lines_in(data)

    def _parse(self, data: bytes, types: Mapping[str, pa.DataType], lines_before: int) -> Block:
        if not data.isascii() or b"\0" in data:
            decode(data, self._name, lines_before + 1)
        bad: list[BadRecord] = []

        def keep_apart(row: pacsv.InvalidRow) -> str:
            bad.append(BadRecord(row.number - 1, RULE_FIELDS, None, row.text))
            return "skip"

        table = pacsv.read_csv(
            pa.BufferReader(data),
            # One thread and one block: only then does the parser number the rows that it skips.
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, column_names=self._header
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=keep_apart
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=sorted(MISSING_SPELLINGS),
                strings_can_be_null=True,
                check_utf8=False,
            ),
        )
        records = table.num_rows + len(bad)
        columns = {name: _one_chunk(table[name]) for name in types}
        return Block(columns, rows_without(records, bad), records, bad)


def _read_fully(stream: BinaryIO, size: int) -> bytes:
    pieces, missing = [], size
    while missing and (piece := stream.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        return combined.chunk(0) if combined.num_chunks else pa.array([], combined.type)
    return combined
