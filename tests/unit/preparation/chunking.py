"""Prepares drops in chunks as the state machine does: a map over the items of a phase, then its merge."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.in_memory_store import InMemoryObjectStore
from tests.unit.preparation.dropping import DATA, SPLITS, a_request, dropped, read_parts

from dropforge.adapters.tables.chunked_tables import ChunkedTables
from dropforge.application.merge_chunks import merge_chunks
from dropforge.application.preparation_request import PrepareRequest, PrepareSettings
from dropforge.application.prepare_chunk import prepare_chunk
from dropforge.application.scale_out import ScaleOut, plan


def prepare_in_chunks(
    *files: tuple[str, bytes] | bytes,
    chunk_bytes: int,
    target: str = "y",
    store: InMemoryObjectStore | None = None,
    run_id: str = "run",
    block_bytes: int = 1 << 16,
    new: int | None = None,
    live_rows: int | None = None,
    around: Callable[[dict[str, Any], Callable[[], Any]], Any] = lambda event, call: call(),
    **settings: Any,
) -> tuple[dict[str, Any], InMemoryObjectStore]:
    """Prepare the files, the newest first; returns the answer and the store.

    Args:
        around: makes every call of a function; for an item it gets the item, for a merge its phase.
    """
    store = InMemoryObjectStore() if store is None else store
    request = a_request(
        run_id, dropped(store, files), PrepareSettings(target, **settings), new=new, live_rows=live_rows
    )
    return run_chunks(request, store, chunk_bytes, block_bytes, around), store


def run_chunks(
    request: PrepareRequest,
    store: InMemoryObjectStore,
    chunk_bytes: int,
    block_bytes: int = 1 << 16,
    around: Callable[[dict[str, Any], Callable[[], Any]], Any] = lambda event, call: call(),
) -> dict[str, Any]:
    """Prepare what is asked for, chunk by chunk; returns the answer."""
    run_id = request.run_id
    tables = ChunkedTables(store, block_bytes, workers=1)
    answer = around({"phase": "plan"}, lambda: plan(request, ScaleOut(0, chunk_bytes), store, tables))
    while "phase" in answer:
        phase = answer["phase"]
        items = json.loads(store.read(f"{DATA}/{phase['items_key']}"))
        assert len(items) == phase["items"]
        # From the last to the first: the order in which items are done leaves no trace.
        for item in reversed(items):
            around(item, lambda item=item: prepare_chunk(item, DATA, store, tables))
        name = phase["name"]
        answer = around({"merge": name}, lambda name=name: merge_chunks(run_id, name, DATA, store, tables))
    return answer


def outcome(store: InMemoryObjectStore, run_id: str = "run") -> dict[str, Any]:
    """Everything that a run has left, whatever the cut of its parts."""
    prefix = f"{DATA}/runs/{run_id}/"
    tables = {
        folder: read_parts(store, f"{prefix}{folder}/")
        for folder in (*SPLITS, "rejected")
        if any(store.list(f"{prefix}{folder}/"))
    }
    documents = {
        uri: data for uri, data in store.objects.items() if uri.endswith(".json") and "/scratch/" not in uri
    }
    return {"documents": documents, **tables}
