"""Drops bytes, prepares them on the real engine over an in-memory store, and reads the result back."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tests.in_memory_store import InMemoryObjectStore

from dropforge.adapters.tables.streamed_tables import BLOCK_BYTES, StreamedTables
from dropforge.application.preparation_request import PreparedData, PrepareRequest, PrepareSettings
from dropforge.application.prepare_data import prepare_data
from dropforge.domain.contract import Contract
from dropforge.domain.ports import ObjectRef
from dropforge.domain.run_manifest import ManifestObject, RunManifest

DATA = "s3://data"
SPLITS = ("train", "validation", "test")


@dataclass
class Outcome:
    """A finished preparation and its store."""

    prepared: PreparedData
    store: InMemoryObjectStore

    @property
    def contract(self) -> Contract:
        return Contract.from_json(self.store.read(self.prepared.contract_uri))

    @property
    def profile(self) -> dict[str, dict[str, Any]]:
        return {c["name"]: c for c in json.loads(self.store.read(self.prepared.profile_uri))["columns"]}

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.store.read(self.prepared.report_uri))

    def split(self, name: str) -> pa.Table:
        return read_parts(self.store, f"{self.prepared.prefix}{name}/")

    def kept(self) -> list[dict[str, Any]]:
        """All rows of the splits, without the row key, in no particular order."""
        rows = [row for name in SPLITS for row in self.split(name).to_pylist()]
        return [{k: v for k, v in row.items() if k != "dropforge_row_key"} for row in rows]

    def values(self, column: str) -> list[Any]:
        return [row[column] for row in self.kept()]

    def rejected(self) -> list[dict[str, Any]]:
        return read_parts(self.store, self.prepared.rejected_uri).to_pylist()


def read_parts(store: InMemoryObjectStore, prefix: str) -> pa.Table:
    parts = [pq.read_table(io.BytesIO(store.read(ref))) for ref in store.list(prefix)]
    return pa.concat_tables(parts)


def prepare(
    *files: tuple[str, bytes] | bytes,
    target: str = "y",
    store: InMemoryObjectStore | None = None,
    run_id: str = "run",
    block_bytes: int = BLOCK_BYTES,
    workers: int | None = None,
    new: int | None = None,
    live_rows: int | None = None,
    **settings: Any,
) -> Outcome:
    """Drop the files, the newest first, and prepare them; ``new`` of them or all are the run's own drops.

    Bytes alone are named x.csv.
    """
    store = InMemoryObjectStore() if store is None else store
    request = a_request(
        run_id, dropped(store, files), PrepareSettings(target, **settings), new=new, live_rows=live_rows
    )
    return Outcome(prepare_data(request, store, StreamedTables(store, block_bytes, workers=workers)), store)


def a_request(
    run_id: str,
    refs: Sequence[ObjectRef],
    settings: PrepareSettings,
    *,
    new: int | None = None,
    live_rows: int | None = None,
) -> PrepareRequest:
    """What a run's manifest asks for; a drop's id is its file's name."""
    objects = tuple(
        ManifestObject(ref, ref.key.rpartition("/")[2], is_new=new is None or number < new)
        for number, ref in enumerate(refs)
    )
    return PrepareRequest.of(RunManifest(run_id, "drop", objects), DATA, settings, live_rows)


def dropped(store: InMemoryObjectStore, files: Sequence[tuple[str, bytes] | bytes]) -> tuple[ObjectRef, ...]:
    """Put the files where drops go. Bytes alone are named x.csv, x1.csv and so on."""
    refs = []
    for number, file in enumerate(files):
        name, content = file if isinstance(file, tuple) else (f"x{number or ''}.csv", file)
        uri = f"{DATA}/incoming/{name}"
        store.write(uri, content)
        refs += [ref for ref in store.list(uri) if ref.uri == uri]
    return tuple(refs)


def request_for(refs: list[ObjectRef], **settings: Any) -> PrepareRequest:
    return PrepareRequest("run", tuple(refs), DATA, PrepareSettings(**settings))


def csv_table(rows: int = 400, extra: str = "", start: int = 0, ending: str = "\n") -> bytes:
    """A learnable table: x number, c category, y a binary class. `extra` is appended as it is."""
    lines = ["x,c,y"]
    for i in range(start, start + rows):
        lines.append(f"{i * 0.37 + 0.5:.3f},{'abc'[i % 3]},{'yes' if (i * 7) % 5 < 2 else 'no'}")
    return (ending.join(lines) + ending + extra).encode()
