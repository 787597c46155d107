"""CSV as a stream of blocks: typed where the values allow it, text from the first value on that doesn't."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from dropforge.adapters.tables.reading.blocks import BadRecord, Block, BlockTable, Hints, Piece, rows_without
from dropforge.adapters.tables.reading.byte_ranges import limited
from dropforge.adapters.tables.reading.csv_header import SAMPLE_BYTES, decode, holds_header, read_header
from dropforge.adapters.tables.reading.csv_records import (
    MAXIMUM_RECORD_BYTES,
    is_plain,
    lines_in,
    whole_records,
)
from dropforge.domain.row_rules import RULE_FIELDS

_ZERO = np.uint8(ord("0"))
_GOES_ON_BEHIND_ZERO = r"^\s*[+-]?0[0-9xX]"


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
        sample, wanted = _read_fully(stream, SAMPLE_BYTES), SAMPLE_BYTES
        while len(sample) == wanted and not holds_header(sample) and wanted < MAXIMUM_RECORD_BYTES:
            sample, wanted = sample + _read_fully(stream, wanted), 2 * wanted
        self._header, self.delimiter, end = read_header(sample, len(sample) < wanted, name)
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

    def pieces(self, wanted: Sequence[str] | None, hints: Hints) -> Iterator[Piece]:
        names = self._header if wanted is None else [n for n in self._header if n in wanted]
        kinds = {name: hints.kinds.get(name, pa.string()) for name in names}
        lines = 0
        done: list[memoryview] = []
        for data in whole_records(
            self._stream, self._pending, self.delimiter.encode(), self._block_bytes, self._name, done
        ):
            yield partial(self._read_block, data, kinds, lines, done)
            lines += lines_in(data)

    def _read_block(
        self, data: memoryview, kinds: dict[str, pa.DataType], lines_before: int, done: list[memoryview]
    ) -> Block:
        block = self._parse(data, kinds, lines_before)
        done.append(data)
        return block

    def _parse(self, data: memoryview, kinds: dict[str, pa.DataType], lines_before: int) -> Block:
        """Parse whole records; columns that turn out not to be numeric become text in `kinds` for good.

        Spelled missing values are recognised, and counted by spelling, when texts are converted: the parser,
        whom looking for them costs a tenth of its time, wouldn't say which it found.
        """
        if not is_plain(data):
            decode(bytes(data), self._name, lines_before + 1)
        # The parser reads hexadecimal and zeros in front as integers; the rules of text don't.
        attempt = {name: pa.string() if kind == pa.int64() else kind for name, kind in kinds.items()}
        try:
            table, bad = self._read(data, attempt)
        except pa.ArrowInvalid:
            table, bad = self._read(data, {name: _unless_number(kind) for name, kind in kinds.items()})
            for name, kind in kinds.items():
                if pa.types.is_floating(kind) and not _reads_as(table[name], kind):
                    kinds[name] = pa.string()
        columns = {name: _one_chunk(table[name]) for name in kinds}
        for name in [each for each, kind in kinds.items() if kind == pa.int64()]:
            try:
                if not may_hold_codes(columns[name]):
                    columns[name] = columns[name].cast(pa.int64())
            except pa.ArrowInvalid:
                kinds[name] = pa.string()
        records = table.num_rows + len(bad)
        return Block(columns, rows_without(records, bad), records, bad, spells_missing=True)

    def _read(self, data: memoryview, kinds: Mapping[str, pa.DataType]) -> tuple[pa.Table, list[BadRecord]]:
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
                column_types=kinds,
                include_columns=list(kinds),
                null_values=[""],
                strings_can_be_null=True,
                check_utf8=False,
            ),
        )
        if not all(_all_finite(table[name]) for name, kind in kinds.items() if pa.types.is_floating(kind)):
            raise pa.ArrowInvalid("not every number is finite")
        return table, bad


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _unless_number(kind: pa.DataType) -> pa.DataType:
    return pa.string() if _is_number(kind) else kind


def _reads_as(texts: pa.ChunkedArray, kind: pa.DataType) -> bool:
    try:
        return _all_finite(texts.cast(kind))
    except pa.ArrowInvalid:
        return False


def _all_finite(numbers: pa.ChunkedArray) -> bool:
    total = pc.sum(numbers).as_py()
    return total is None or math.isfinite(total) or bool(pc.all(pc.is_finite(numbers)).as_py())


def may_hold_codes(texts: pa.Array) -> bool:
    """Whether a text, behind blanks and a sign or not, is a zero that goes on, as `01` and `0x1F` are."""
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    characters = np.frombuffer(texts.buffers()[2] or b"", dtype=np.uint8)
    longer = np.flatnonzero(np.diff(offsets) > 1)
    suspects = longer[characters[offsets[longer]] <= _ZERO]  # blanks and signs come before it
    return len(suspects) > 0 and bool(
        pc.any(pc.match_substring_regex(texts.take(pa.array(suspects)), _GOES_ON_BEHIND_ZERO)).as_py()
    )


def _read_fully(stream: BinaryIO, size: int) -> bytes:
    pieces, missing = [], size
    while missing and (piece := stream.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, uncopied where it is one."""
    if column.num_chunks == 1:
        return column.chunk(0)
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        return combined.chunk(0) if combined.num_chunks else pa.array([], combined.type)
    return combined
