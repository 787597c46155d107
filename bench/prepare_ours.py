"""Child of the preparation benchmark: prepares a CSV as the function does, or only parses and writes it.

    python -m bench.prepare_ours {dropforge,floor} <csv> <folder> <workers>

Prints seconds, CPU seconds, peak memory, and how many rows came to what.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from bench.folder_store import FolderStore
from bench.measured import report
from bench.mixed_table import BROKEN_VALUES, CONTRACT
from dropforge.adapters.tables.streamed_tables import BLOCK_BYTES, StreamedTables
from dropforge.adapters.tables.writing.parts import part_bytes
from dropforge.application.preparation_request import PrepareRequest, PrepareSettings
from dropforge.application.prepare_data import prepare_data
from dropforge.domain.ports import ObjectRef

DATA = "s3://data"
TYPES = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
}


def request_of(csv: Path, store: FolderStore) -> PrepareRequest:
    """Put the file where drops are and pin its contract; returns what to prepare."""
    store.write(f"{DATA}/contract/schema.json", CONTRACT.to_json().encode())
    drop = store.path(f"{DATA}/incoming/table.csv")
    drop.parent.mkdir(parents=True)
    drop.symlink_to(csv.resolve())
    ref = ObjectRef("data", "incoming/table.csv", None, "etag", csv.stat().st_size)
    return PrepareRequest("run", (ref,), DATA, PrepareSettings(CONTRACT.target, CONTRACT.key))


def counts_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what a benchmark's child says of the answer of a preparation."""
    rows = answer["rows"]
    return {name: rows[name] for name in ("kept", "rejected", "duplicates")} | {"answer": answer}


def dropforge(csv: Path, folder: Path, workers: int) -> dict[str, Any]:
    """Prepare the file with its contract pinned."""
    store = FolderStore(folder)
    request = request_of(csv, store)
    tables = StreamedTables(store, scratch=folder, workers=workers)
    return counts_of(prepare_data(request, store, tables).to_dict())


def floor(csv: Path, folder: Path, workers: int) -> dict[str, Any]:
    """Parse typed blocks, told which texts to read as missing, and write them as Parquet: the least to do."""
    encoded = pa.dictionary(pa.int32(), pa.string())
    types = {column.name: TYPES.get(column.type, encoded) for column in CONTRACT.columns}
    options = pacsv.ConvertOptions(
        column_types=types,
        null_values=["", *BROKEN_VALUES.values()],
        strings_can_be_null=True,
        check_utf8=False,
    )
    rows = parts = 0
    with csv.open("rb") as file:
        file.readline()
        pending = b""
        while data := file.read(BLOCK_BYTES):
            pending += data
            end = pending.rfind(b"\n") + 1
            block, pending = memoryview(pending)[:end], pending[end:]
            table = pacsv.read_csv(
                pa.BufferReader(block),
                pacsv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=list(types)),
                convert_options=options,
            )
            (folder / f"part-{parts}.parquet").write_bytes(part_bytes(table))
            rows, parts = rows + table.num_rows, parts + 1
    return {"kept": rows}


if __name__ == "__main__":
    work = {"dropforge": dropforge, "floor": floor}[sys.argv[1]]
    started = time.perf_counter(), time.process_time()
    report(started, work(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
