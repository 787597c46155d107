"""Child of the drift benchmark: watches a Parquet window against the stored baseline, or only reads it.

python -m bench.drift_ours {profile,watch,read} <baseline> <window> [<profile>]
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.measured import report


def profile(baseline: Path, target: Path) -> None:
    """Write the profile of the baseline's columns, as preparation does."""
    from bench.baselines import entries_of  # noqa: PLC0415 - not among what is timed

    columns = pq.read_table(baseline)
    table = {
        name: column.to_numpy(zero_copy_only=False)
        for name, column in zip(columns.column_names, columns.columns, strict=True)
    }
    target.write_text(json.dumps({"format": 1, "rows": len(columns), "columns": entries_of(table)}))


def watch(window: Path, stored: Path) -> dict[str, object]:
    """Read the window and assess it: every column's tests, the domain classifier, the correction."""
    from dropforge.domain.drift.assessment import assess  # noqa: PLC0415 - timed
    from dropforge.domain.drift.baseline import Baseline  # noqa: PLC0415 - timed
    from dropforge.domain.drift.policy import WatchPolicy  # noqa: PLC0415 - timed

    baseline = Baseline.from_json(stored.read_bytes())
    texts = [column.name for column in baseline.columns.values() if column.type == "category"]
    table = pq.read_table(window, read_dictionary=texts, use_threads=False)
    columns = {name: _values(table.column(name)) for name in table.column_names}
    found = assess(columns, list(baseline.columns.values()), rows=table.num_rows, policy=WatchPolicy())
    return {"drifted": found.drifted}


def _values(column: pa.ChunkedArray) -> object:
    if pa.types.is_dictionary(column.type):
        from dropforge.domain.drift.features import EncodedTexts  # noqa: PLC0415 - timed

        combined = column.unify_dictionaries().combine_chunks()
        values = combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined
        codes = values.indices.fill_null(-1).to_numpy()
        return EncodedTexts(values.dictionary.to_pylist(), codes.astype(np.int64))
    return column.to_numpy()


def read(window: Path) -> dict[str, object]:
    """Read the window into memory: what reading costs alone."""
    return {"rows": pq.read_table(window, use_threads=False).num_rows}


if __name__ == "__main__":
    started = time.perf_counter(), time.process_time()
    mode, first, second = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if mode == "profile":
        profile(first, second)
    elif mode == "watch":
        report(started, watch(second, Path(sys.argv[4])))
    else:
        report(started, read(second))
