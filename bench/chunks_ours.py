"""Child of the benchmark of chunks: prepares a CSV phase by phase, some chunks at a time.

    python -m bench.chunks_ours <csv> <folder> <processes> <chunks>

Prints what `bench.prepare_ours` does of the whole, and wall and CPU seconds of each phase and merge.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from bench.folder_store import FolderStore
from bench.measured import peak_mb
from bench.prepare_ours import DATA, counts_of, request_of
from dropforge.adapters.tables.chunked_tables import ChunkedTables
from dropforge.application.merge_chunks import merge_chunks
from dropforge.application.prepare_chunk import prepare_chunk
from dropforge.application.scale_out import ScaleOut, plan


def work(folder: Path, item: dict[str, Any]) -> tuple[float, float]:
    """Work on an item in this process; returns CPU seconds and the process' peak memory in MB."""
    began = time.process_time()
    store = FolderStore(folder)
    prepare_chunk(item, DATA, store, ChunkedTables(store, workers=1))
    return time.process_time() - began, peak_mb()


def wait(_: int) -> None:
    """Take long enough that every process gets one of these, and so has started."""
    time.sleep(0.2)


def main(csv: Path, folder: Path, processes: int, chunks: int) -> None:
    store = FolderStore(folder)
    request = request_of(csv, store)
    tables = ChunkedTables(store, workers=1)
    phases: dict[str, tuple[float, float]] = {}
    memory = 0.0
    # Fresh interpreters that import this module, so that none shares memory or locks with another.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(wait, range(processes)))
        started = began = time.perf_counter()
        own = time.process_time()

        def lap(name: str, others: float = 0.0) -> None:
            nonlocal began, own
            now, cpu = time.perf_counter(), time.process_time()
            phases[name] = (now - began, cpu - own + others)
            began, own = now, cpu

        policy = ScaleOut(0, math.ceil(csv.stat().st_size / chunks))
        answer = plan(request, policy, store, tables)
        lap("plan")
        while "phase" in answer:
            name = answer["phase"]["name"]
            items = json.loads(store.read(f"{DATA}/{answer['phase']['items_key']}"))
            done = list(pool.map(work, [folder] * len(items), items))
            memory = max(memory, *(peak for _, peak in done))
            lap(name, sum(cpu for cpu, _ in done))
            answer = merge_chunks(request.run_id, name, DATA, store, tables)
            lap(f"after {name}")
        seconds = time.perf_counter() - started
    memory = max(memory, peak_mb())
    cpu_seconds = sum(cpu for _, cpu in phases.values())
    own_report = {"seconds": seconds, "cpu_seconds": cpu_seconds, "memory_mb": memory, "phases": phases}
    print(json.dumps({**own_report, **counts_of(answer)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
