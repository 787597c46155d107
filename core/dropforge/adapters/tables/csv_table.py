"""CSV as a stream of blocks: typed where the values allow it, text from the first value on that doesn't."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from dropforge.adapters.tables.blocks import BadRecord, Block, rows_without
from dropforge.adapters.tables.csv_header import SAMPLE_BYTES, decode, read_header
from dropforge.adapters.tables.csv_records import whole_records
from dropforge.domain.row_rules import MISSING_SPELLINGS, RULE_FIELDS

_FAILED_COLUMN = re.compile(r"In CSV column #(\d+)")


class CsvTable:
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

    def native_types(self) -> Mapping[str, pa.DataType]:
        return {}

    def blocks(self, wanted: Sequence[str] | None, numeric: Mapping[str, pa.DataType]) -> Iterator[Block]:
        names = self._header if wanted is None else [n for n in self._header if n in wanted]
        typed = {name: kind for name, kind in numeric.items() if name in names}
        before = 0
        for data in whole_records(
            self._stream, self._pending, self.delimiter.encode(), self._block_bytes, self._name
        ):
            if not data.isascii() or b"\0" in data:
                decode(data, self._name, before + 1)
            block = self._parse(data, names, typed)
            before += block.records
            if block.records:
                yield block

    def _parse(self, data: bytes, names: Sequence[str], typed: dict[str, pa.DataType]) -> Block:
        """Parse whole records; columns that turn out not to be numeric leave `typed` for good."""
        if b"0x" in data or b"0X" in data:
            # The parser reads hexadecimal as integers; the rules of the text path don't.
            attempt = {name: kind for name, kind in typed.items() if not pa.types.is_integer(kind)}
        else:
            attempt = dict(typed)
        while True:
            try:
                table, bad = self._read(data, names, attempt)
            except pa.ArrowInvalid as error:
                match = _FAILED_COLUMN.search(str(error))
                if match is None:
                    raise
                failed = {self._header[int(match[1])]}
            else:
                failed = {name for name in attempt if not _all_finite(table[name])}
                if not failed:
                    records = table.num_rows + len(bad)
                    columns = {name: _one_chunk(table[name]) for name in names}
                    return Block(columns, rows_without(records, bad), records, bad)
            for name in failed:
                attempt.pop(name)
                typed.pop(name, None)

    def _read(
        self, data: bytes, names: Sequence[str], typed: Mapping[str, pa.DataType]
    ) -> tuple[pa.Table, list[BadRecord]]:
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
                column_types={name: typed.get(name, pa.string()) for name in self._header},
                include_columns=list(names),
                null_values=sorted(MISSING_SPELLINGS),
                strings_can_be_null=True,
                check_utf8=False,
            ),
        )
        return table, bad


def _read_fully(stream: BinaryIO, size: int) -> bytes:
    pieces, missing = [], size
    while missing and (piece := stream.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _all_finite(column: pa.ChunkedArray) -> bool:
    if not pa.types.is_floating(column.type):
        return True
    return all(
        bool(np.isfinite(pc.fill_null(chunk, 0.0).to_numpy(zero_copy_only=False)).all())
        for chunk in column.chunks
    )


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        return combined.chunk(0) if combined.num_chunks else pa.array([], combined.type)
    return combined
