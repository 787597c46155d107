"""Works on chunks of drops: cuts them, and takes each through scan, survey, check, reduce and write."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dropforge.adapters.tables.checking.passes import check_table, survey_table
from dropforge.adapters.tables.reading.blocks import Table
from dropforge.adapters.tables.reading.byte_ranges import line_start
from dropforge.adapters.tables.reading.csv_scan import scan
from dropforge.adapters.tables.reading.csv_table import CsvTable
from dropforge.adapters.tables.reading.formats import BLOCK_BYTES, open_table
from dropforge.adapters.tables.reading.parquet_table import ParquetTable
from dropforge.adapters.tables.reading.source import open_source
from dropforge.adapters.tables.staging.item_staging import ItemStaging
from dropforge.adapters.tables.staging.key_file import KeyFile
from dropforge.adapters.tables.staging.local_staging import staged_schema
from dropforge.adapters.tables.staging.outline import Outline
from dropforge.adapters.tables.staging.repeats import find_repeated, read_repeated
from dropforge.adapters.tables.threads import cores, ordered
from dropforge.adapters.tables.writing.chunks import kept_chunks, write_chunks
from dropforge.adapters.tables.writing.parts import REJECTED_SCHEMA, write_part
from dropforge.adapters.tables.writing.row_sample import RowSample
from dropforge.domain.chunk_tables import CheckedItem, NumberedOrigin, Reduced
from dropforge.domain.chunks import Cut, Item, Scan, Span, even_starts
from dropforge.domain.contract import Contract
from dropforge.domain.drop_totals import SpanCheck, SpanSurvey
from dropforge.domain.errors import DataError
from dropforge.domain.ports import ObjectRef, ObjectStore
from dropforge.domain.preparing import SplitCounts, Written
from dropforge.domain.profile import TableProfile
from dropforge.domain.recurrence import ObjectSketch, find_recurrences
from dropforge.domain.splitting import RowSplits
from dropforge.domain.time_split import Placing, Times

_FETCHES = 16
_KEYS_LEFT = "-keys"
_LINE_ENDS = b"\n\r"


class ChunkedTables:
    """Implements `ChunkTables` over an object store.

    Args:
        store: where the objects and the scratch are.
        block_bytes: how much of an object to hold at once; leaves no trace in the output.
        workers: how many blocks to work on at once, one per core by default; leaves no trace either.
    """

    def __init__(
        self, store: ObjectStore, block_bytes: int = BLOCK_BYTES, workers: int | None = None
    ) -> None:
        self._store, self._block_bytes = store, block_bytes
        self._workers = workers or cores()

    # --- cutting -------------------------------------------------------------------------------------

    def cut(self, ref: ObjectRef, chunk_bytes: int) -> Cut:
        size = self._store.size(ref) if ref.size is None else ref.size
        if size <= chunk_bytes:
            return Cut(ref, size)
        try:
            with self._store.open(ref) as stream, open_source(stream, ref.uri) as source:
                if source.format == "parquet":
                    groups = ParquetTable(source.stream, ref.uri, self._block_bytes).group_bytes()
                    starts = _group_starts(groups, chunk_bytes)
                    return Cut(ref, size, starts, len(groups) if starts else None)
                if source.stream is stream:
                    starts = even_starts(size, chunk_bytes)
                    return Cut(ref, size, starts, size, is_rough=source.format == "csv")
        except DataError:
            pass
        return Cut(ref, size)

    def scan(self, span: Span) -> Scan:
        with self._store.open(span.ref) as stream, open_source(stream, span.ref.uri) as source:
            table = CsvTable(source.stream, span.ref.uri, self._block_bytes)
            first = table.first_row
            start, end = (
                max(first, line_start(stream, each or 0, _LINE_ENDS)) for each in (span.start, span.end)
            )
            return scan(stream, start, end, table.delimiter.encode())

    # --- rows ----------------------------------------------------------------------------------------

    @contextmanager
    def _rows_of(self, span: Span) -> Iterator[Table]:
        with open_table(self._store, span.ref, self._block_bytes) as table:
            if span.end is not None:
                table.between(span.start, span.end)
            yield table

    def survey(self, span: Span) -> SpanSurvey:
        with self._rows_of(span) as table:
            return survey_table(table, span.ref.uri, self._workers)

    def check(
        self, item: Item, contract: Contract, folder_uri: str, ranges: int, sample_size: int
    ) -> tuple[CheckedItem, DataError | None]:
        spans: list[SpanCheck] = []
        staging = ItemStaging(contract, self._store, folder_uri, ranges, sample_size)
        for span in item:
            try:
                spans.append(self._check(span, contract, staging))
            except DataError as error:
                return CheckedItem(spans), error
        staging.finish()
        return CheckedItem(spans, staging.files, staging.reject_files, staging.combinations.seen), None

    def _check(self, span: Span, contract: Contract, staging: ItemStaging) -> SpanCheck:
        source = span.ref.source
        counts = staging.open_span(source)
        names: dict[str, None] = {}
        with self._rows_of(span) as table:
            for checked in check_table(table, span.ref.uri, contract, self._workers):
                names.update(dict.fromkeys(checked.names))
                staging.add(source, checked)
            return SpanCheck(counts, tuple(names) if table.columns is None else None)

    def outline(self, folder_uris: Sequence[str], contract: Contract) -> bytes:
        total = Outline(contract)
        calls = (partial(self._store.read, f"{folder}outline") for folder in folder_uris)
        for data in ordered(calls, _FETCHES):
            total.merge(Outline.from_bytes(data, contract))
        return total.to_bytes()

    # --- duplicates ----------------------------------------------------------------------------------

    def find_recurrences(
        self, folder_uris: Sequence[str], numbers: Sequence[Sequence[int]]
    ) -> dict[int, int]:
        found: dict[int, ObjectSketch] = {}
        calls: list[Callable[[], bytes]] = []
        places: list[int] = []
        for folder, each in zip(folder_uris, numbers, strict=True):
            calls += [partial(self._store.read, f"{folder}sketch-{place}") for place in range(len(each))]
            places += each
        for number, data in zip(places, ordered(iter(calls), _FETCHES), strict=True):
            sketch = ObjectSketch.from_bytes(data)
            found.setdefault(number, ObjectSketch(sketch.size)).merge(sketch)
        return find_recurrences([found[number] for number in range(len(found))])

    def find_repeated(
        self,
        folder_uris: Sequence[str],
        number: int,
        ranges: int,
        contract: Contract,
        origins: Sequence[Sequence[NumberedOrigin]],
        recurrences: Mapping[int, int],
        into_uri: str,
        placing: Placing | None = None,
    ) -> Reduced:
        calls = (
            partial(KeyFile(self._store, f"{folder}keys").read, number, ranges) for folder in folder_uris
        )
        found = find_repeated(list(ordered(calls, _FETCHES)), contract, origins, recurrences, placing)
        self._store.write(into_uri, found.to_bytes())
        if contract.time is not None:
            left = found.times if placing is None else found.held
            self._store.write(f"{into_uri}{_KEYS_LEFT}", left.astype("<u8").tobytes())
        tally = found.tally
        return Reduced(
            found.total,
            found.left_out,
            tally.rows.tolist(),
            tally.twins.to_list(),
            tally.groups.to_list(),
            tally.left_out,
        )

    def times(self, uris: Sequence[str]) -> Times:
        return Times(lambda: self._keys_left(uris))

    def held(self, uris: Sequence[str]) -> npt.NDArray[np.uint64]:
        held = np.empty(0, dtype=np.uint64)
        for groups in self._keys_left(uris):
            held = np.union1d(held, groups)
        return held

    def _keys_left(self, uris: Sequence[str]) -> Iterator[npt.NDArray[np.uint64]]:
        for data in ordered((partial(self._store.read, f"{uri}{_KEYS_LEFT}") for uri in uris), _FETCHES):
            yield np.frombuffer(data, dtype="<u8")

    # --- writing -------------------------------------------------------------------------------------

    def write_rejects(
        self, folder_uri: str, files: int, rows_before: Mapping[str, int], rejected_uri: str, number: int
    ) -> None:
        sources = pa.array(list(rows_before), pa.string())
        before = pa.array([*rows_before.values(), 0], pa.int64())
        for file in range(files):
            table = pq.read_table(
                io.BytesIO(self._store.read(f"{folder_uri}rejected/part-{file:05d}.parquet"))
            )
            place = pc.fill_null(pc.index_in(table["source"], value_set=sources), len(sources))
            rows = pc.add(table["row"], before.take(place.combine_chunks()))
            position = table.schema.get_field_index("row")
            table = table.set_column(position, REJECTED_SCHEMA.field("row"), rows).cast(REJECTED_SCHEMA)
            write_part(self._store, rejected_uri, f"{number:05d}-{file:05d}", table)
        if not files and not number:
            write_part(self._store, rejected_uri, "00000", REJECTED_SCHEMA.empty_table())

    def write(
        self,
        folder_uri: str,
        checked: CheckedItem,
        repeated_uris: Sequence[str],
        number: int,
        contract: Contract,
        origins: Sequence[NumberedOrigin],
        outline: bytes,
        prefix_uri: str,
        into_uri: str,
        placing: Placing | None = None,
    ) -> None:
        keep = self._kept(checked, repeated_uris, number)
        chunks = kept_chunks(self._staged(folder_uri, len(checked.files)), keep, staged_schema(contract))
        rulers = Outline.from_bytes(outline, contract).rulers()
        splits = RowSplits(contract, [part.origin for part in origins], placing)
        profile, sample = write_chunks(
            self._store, prefix_uri, f"{number:05d}-", chunks, contract, splits, rulers, self._workers
        )
        self._store.write(f"{into_uri}profile.json", json.dumps(profile.to_state()).encode())
        self._store.write(f"{into_uri}sample.arrow", _arrow_bytes(sample.table()))

    def _kept(self, checked: CheckedItem, repeated_uris: Sequence[str], number: int) -> npt.NDArray[np.bool_]:
        keep = np.ones(sum(checked.files), dtype=np.bool_)
        calls = (partial(read_repeated, self._store, uri, number) for uri in repeated_uris)
        for rows in ordered(calls, _FETCHES):
            keep[rows] = False
        return keep

    def _staged(self, folder_uri: str, files: int) -> Iterator[pa.RecordBatch]:
        for file in range(files):
            yield from pa.ipc.open_stream(self._store.read(f"{folder_uri}rows/{file:05d}.arrow"))

    def merged(
        self, folder_uris: Sequence[str], splits: SplitCounts, contract: Contract, outline: bytes
    ) -> Written:
        rulers = Outline.from_bytes(outline, contract).rulers()
        profile, sample = TableProfile(), RowSample(contract)
        for state, rows in ordered((partial(self._left, folder) for folder in folder_uris), _FETCHES):
            profile.merge(TableProfile.from_state(json.loads(state), rulers))
            if rows is not None:
                sample.add(rows)
        return Written(splits, profile, sample.columns(), sample.evidence())

    def _left(self, folder_uri: str) -> tuple[bytes, pa.Table | None]:
        rows = self._store.read(f"{folder_uri}sample.arrow")
        return (
            self._store.read(f"{folder_uri}profile.json"),
            pa.ipc.open_stream(rows).read_all() if rows else None,
        )


def _arrow_bytes(table: pa.Table | None) -> bytes:
    if table is None:
        return b""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _group_starts(groups: Sequence[int], chunk_bytes: int) -> list[int]:
    """Return the row groups with which a part begins, but for the first, so that none is much too large."""
    starts = []
    held = 0
    for number, size in enumerate(groups):
        if held and held + size > chunk_bytes:
            starts.append(number)
            held = 0
        held += size
    return starts
