"""What has to be known of all rows before any of them is profiled: from where to where numbers reach, and a
random sample that says where they lie. Outlines of parts merge into that of the whole, in any grouping.
"""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dropforge.adapters.tables.buffers import extremes
from dropforge.domain.contract import PROFILED, ROW_KEY, Column, Contract
from dropforge.domain.profile import DISTINCT_BOUND, Ruler, Rulers
from dropforge.domain.splitting import UInt64

SAMPLE_ROWS = 16_384
"""Four for each of a ruler's points: its steps then hold even shares of the rows to within a half or so."""

_RANGES = b"ranges"
_EVERY_KEY = np.uint64(2**64 - 1)


class Outline:
    """Collects the rows whose keys have the least hashes, and the extremes of every numeric column.

    Rows that share a key count once, with the least of their values in each column, so that their order
    leaves no trace.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._columns = [c for c in contract.prepared if c.role in PROFILED]
        self._sampled = [c for c in self._columns if _is_numeric(c, contract) or _is_open(c, contract)]
        self._ranges: dict[str, tuple[float, float]] = {}
        self._pending: list[pa.Table] = []
        self._held = 0
        self._threshold = _EVERY_KEY

    def add(self, rows: pa.RecordBatch, keys: UInt64) -> None:
        """Add prepared rows, and the hashes of their keys, uint64 (n,)."""
        for column in self._columns:
            if _is_numeric(column, self._contract):
                self._stretch(column.name, rows.column(column.name))
        near = np.flatnonzero(keys <= self._threshold)
        if len(near) > SAMPLE_ROWS:
            near = near[keys[near] <= _least_keys(keys[near])[-1]]
        arrays = [_plain(rows.column(c.name).take(pa.array(near))) for c in self._sampled]
        self._keep(pa.Table.from_arrays([pa.array(keys[near]), *arrays], names=self._names()))

    def merge(self, other: Outline) -> None:
        """Add the outline of other rows under the same contract."""
        for name, ends in other._ranges.items():
            self._widen(name, *ends)
        self._keep(other._sample())

    def rulers(self) -> Rulers:
        """Return how each column of the profile is measured."""
        sample = self._sample()
        found: dict[str, Ruler | tuple[str, ...]] = {}
        for column in self._columns:
            if _is_numeric(column, self._contract):
                values = sample.column(column.name).to_numpy()
                ends = self._ranges.get(column.name, (math.inf, -math.inf))
                found[column.name] = Ruler.of(values[~np.isnan(values)], *ends)
            elif _is_open(column, self._contract):
                counted = Counter(sample.column(column.name).drop_null().to_pylist())
                ranked = sorted(counted, key=lambda value: (-counted[value], value))
                found[column.name] = tuple(ranked[:DISTINCT_BOUND])
            else:
                found[column.name] = _known_values(column, self._contract)
        return found

    def to_bytes(self) -> bytes:
        """Return the outline as it travels, for `from_bytes`."""
        table = self._sample().replace_schema_metadata({_RANGES: json.dumps(self._ranges)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    @classmethod
    def from_bytes(cls, data: bytes, contract: Contract) -> Outline:
        """Read what `to_bytes` wrote of rows under this contract."""
        table = pa.ipc.open_stream(data).read_all()
        outline = cls(contract)
        for name, ends in json.loads(table.schema.metadata[_RANGES]).items():
            outline._widen(name, *ends)
        outline._keep(table.replace_schema_metadata(None))
        return outline

    def _names(self) -> list[str]:
        return [ROW_KEY, *(column.name for column in self._sampled)]

    def _stretch(self, name: str, values: pa.Array) -> None:
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.int64())
        reach = extremes(values)
        if reach is not None:
            self._widen(name, float(reach[0]) + 0.0, float(reach[1]) + 0.0)

    def _widen(self, name: str, minimum: float, maximum: float) -> None:
        least, greatest = self._ranges.get(name, (math.inf, -math.inf))
        self._ranges[name] = (min(least, minimum), max(greatest, maximum))

    def _keep(self, rows: pa.Table) -> None:
        self._pending.append(rows)
        self._held += rows.num_rows
        if self._held > 2 * SAMPLE_ROWS:
            self._sample()

    def _sample(self) -> pa.Table:
        """Reduce what was collected to the rows of the least keys, in the keys' order."""
        schema = pa.schema(
            [
                (ROW_KEY, pa.uint64()),
                *(
                    (c.name, pa.float64() if _is_numeric(c, self._contract) else pa.string())
                    for c in self._sampled
                ),
            ]
        )
        rows = pa.concat_tables([schema.empty_table(), *self._pending]).combine_chunks()
        keys = rows.column(ROW_KEY).to_numpy()
        least = _least_keys(keys)
        order = np.argsort(keys, kind="stable")
        order = order[: np.searchsorted(keys[order], least[-1], "right")] if len(least) else order
        sample = rows.take(pa.array(order))
        if len(order) > len(least):
            sample = _least_values(sample, np.searchsorted(keys[order], least))
        self._pending, self._held = [sample], sample.num_rows
        if len(least) == SAMPLE_ROWS:
            self._threshold = least[-1]
        return sample


def _least_keys(keys: UInt64) -> UInt64:
    ordered = np.sort(keys)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])][:SAMPLE_ROWS] if len(keys) else ordered


def _least_values(rows: pa.Table, starts: npt.NDArray[np.int64]) -> pa.Table:
    """Make one row of the rows of each key; `starts` says where a key's rows begin."""
    sizes = np.diff(starts, append=rows.num_rows)
    several = sizes > 1
    single = rows.take(pa.array(starts[~several]))
    repeated = rows.take(pa.array(np.flatnonzero(np.repeat(several, sizes))))
    ends = np.cumsum(sizes[several])
    least = [_least(column, ends - sizes[several]) for column in repeated.columns]
    found = pa.concat_tables([single, pa.Table.from_arrays(least, names=rows.column_names)])
    order = np.empty(len(starts), dtype=np.int64)
    order[np.concatenate([np.flatnonzero(~several), np.flatnonzero(several)])] = np.arange(len(starts))
    return found.take(pa.array(order))


def _least(column: pa.ChunkedArray, starts: npt.NDArray[np.int64]) -> pa.Array:
    if not pa.types.is_string(column.type):
        return pa.array(np.fmin.reduceat(column.to_numpy(), starts))
    distinct = sorted(set(column.drop_null().to_pylist()))
    ranks = pc.index_in(column, value_set=pa.array(distinct, pa.string())).fill_null(len(distinct))
    least = np.minimum.reduceat(ranks.to_numpy(), starts)
    return pa.array([*distinct, None], pa.string()).take(pa.array(least))


def _plain(values: pa.Array) -> pa.Array:
    """Numbers as float64, NaN where there is none; anything else as text."""
    if pa.types.is_dictionary(values.type) or pa.types.is_string(values.type):
        return values.cast(pa.string())
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    return pc.fill_null(values.cast(pa.float64(), safe=False), math.nan)


def _is_label(column: Column, contract: Contract) -> bool:
    return column.role == "target" and contract.is_classification


def _is_numeric(column: Column, contract: Contract) -> bool:
    return column.type in ("number", "integer", "timestamp") and not _is_label(column, contract)


def _is_open(column: Column, contract: Contract) -> bool:
    """Whether only the rows can tell which values a column of categories has."""
    return not _is_numeric(column, contract) and not _known_values(column, contract)


def _known_values(column: Column, contract: Contract) -> tuple[str, ...]:
    if _is_label(column, contract):
        return contract.classes or ()
    if column.type == "boolean":
        return ("false", "true")
    return column.categories or ()
