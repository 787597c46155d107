"""Child of the drift benchmark: watches a Parquet window against the stored baseline, or only reads it.

python -m bench.drift_ours profile <baseline> <profile>
python -m bench.drift_ours {watch,read} <window> <profile>
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.ma  # imports are not timed, and numpy's `unique` loads this on first use
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.measured import report
from bench.studies.baselines import entries_of
from dropforge.domain.drift.assessment import assess
from dropforge.domain.drift.baseline import Baseline
from dropforge.domain.drift.features import EncodedTexts, Values
from dropforge.domain.drift.policy import WatchPolicy


def profile(baseline: Path, target: Path) -> None:
    """Write the profile of the baseline's columns, as preparation does."""
    columns = pq.read_table(baseline)
    table = {
        name: column.to_numpy(zero_copy_only=False)
        for name, column in zip(columns.column_names, columns.columns, strict=True)
    }
    target.write_text(json.dumps({"format": 1, "rows": len(columns), "columns": entries_of(table)}))


class WindowColumns(Mapping[str, Values]):
    """The columns of a Parquet file, each read when it is asked for: the watch looks at one at a time."""

    def __init__(self, path: Path, texts: Sequence[str] = ()) -> None:
        self._file = pq.ParquetFile(path, read_dictionary=texts)
        self._names = self._file.schema_arrow.names
        self.rows = self._file.metadata.num_rows

    def read(self, name: str) -> pa.ChunkedArray:
        return self._file.read([name], use_threads=False).column(0)

    def __getitem__(self, name: str) -> Values:
        chunks = self.read(name).unify_dictionaries().chunks
        column = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
        if pa.types.is_dictionary(column.type):
            return EncodedTexts(column.dictionary.to_pylist(), _filled(column.indices, np.int32(-1)))
        return _filled(column, np.float64(np.nan))

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def watch(window: Path, stored: Path) -> dict[str, object]:
    """Read the window and assess it: every column's tests, the domain classifier, the correction."""
    baseline = Baseline.from_json(stored.read_bytes())
    columns = WindowColumns(window, _texts(baseline))
    found = assess(columns, list(baseline.columns.values()), rows=columns.rows, policy=WatchPolicy())
    return {"drifted": found.drifted}


def read(window: Path, stored: Path) -> dict[str, object]:
    """Read the window as `watch` does, column by column, and look at nothing: what reading costs alone."""
    columns = WindowColumns(window, _texts(Baseline.from_json(stored.read_bytes())))
    return {"rows": {len(columns.read(name)) for name in columns}.pop()}


def _filled(array: pa.Array, missing: np.generic) -> NDArray[Any]:
    """Return numbers of that type, nulls replaced; Arrow's own conversion loads pandas where it can."""
    validity, data = array.buffers()
    rows = slice(array.offset, array.offset + len(array))
    numbers = np.frombuffer(data, missing.dtype)[rows]
    if not array.null_count:
        return numbers
    present = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[rows]
    return np.where(present, numbers, missing)


def _texts(baseline: Baseline) -> list[str]:
    return [column.name for column in baseline.columns.values() if column.type == "category"]


if __name__ == "__main__":
    mode, first, second = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if mode == "profile":
        profile(first, second)
    else:
        work = {"watch": watch, "read": read}[mode]
        started = time.perf_counter(), time.process_time()
        report(started, work(first, second))
