"""Writes staged rows, in chunks, to the parts of the splits; gives their profile and a sample.

Chunks for writing are cut by row count, never by how the rows were read, so that neither the block size nor
the number of cores leaves a trace in the output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dropforge.adapters.tables.buffers import taken
from dropforge.adapters.tables.threads import ordered
from dropforge.adapters.tables.writing.parts import tidied, write_part
from dropforge.adapters.tables.writing.profiling import profile_table
from dropforge.adapters.tables.writing.row_sample import RowSample, placed
from dropforge.domain.contract import GROUP_KEY, ROW_KEY, Contract
from dropforge.domain.ports import ObjectStore
from dropforge.domain.profile import ColumnProfile, Rulers, TableProfile
from dropforge.domain.splitting import SPLITS, RowSplits

_CHUNK_CELLS = 1 << 22
_CHUNK_ROWS = (4096, 262_144)  # bounds: few enough parts, and few enough bytes in memory


def write_chunks(
    store: ObjectStore,
    prefix_uri: str,
    series: str,
    chunks: Iterable[tuple[pa.Table, npt.NDArray[np.bool_], int]],
    contract: Contract,
    splits: RowSplits,
    rulers: Rulers,
    workers: int,
) -> tuple[TableProfile, RowSample]:
    """Write chunks of staged rows to the splits, each to the parts of its number.

    Args:
        chunks: as `kept_chunks` yields them.
        series: what the parts' names have in front of the number, so that their order is that of the rows.

    Returns:
        The profile and the sample of the rows that were kept.
    """
    calls = (
        partial(
            write_chunk,
            store,
            prefix_uri,
            f"{series}{number:05d}",
            rows,
            keep,
            first,
            contract,
            splits,
            rulers,
        )
        for number, (rows, keep, first) in enumerate(chunks)
    )
    profile, sample = TableProfile(), RowSample(contract)
    for chunk in ordered(calls, workers):
        profile.add(chunk.rows, chunk.profile)
        sample.add(chunk.sample)
    return profile, sample


@dataclass(frozen=True, slots=True)
class WrittenChunk:
    """What remains to be known of a chunk that was written."""

    rows: int
    profile: dict[str, ColumnProfile]
    sample: pa.Table


def kept_chunks(
    batches: Iterable[pa.RecordBatch], keep: npt.NDArray[np.bool_] | None, schema: pa.Schema
) -> Iterator[tuple[pa.Table, npt.NDArray[np.bool_], int]]:
    """Yield staged rows, which of them to keep, and the place of the first: equally many kept ones of each
    chunk but the last.

    Args:
        keep: bool (n,) of all rows of the batches; None for all.
    """
    size = min(max(_CHUNK_CELLS // len(schema), _CHUNK_ROWS[0]), _CHUNK_ROWS[1])
    pending: list[pa.RecordBatch] = []
    masks: list[npt.NDArray[np.bool_]] = []
    held = start = first = 0
    for each in batches:
        batch = each
        mask = np.ones(batch.num_rows, dtype=np.bool_)
        if keep is not None:
            mask = keep[start : start + batch.num_rows]
        start += batch.num_rows
        while len(mask):
            # The chunk is full with the row that makes `size` kept ones.
            kept = np.cumsum(mask)
            end = int(np.searchsorted(kept, size - held)) + 1
            pending.append(batch.slice(0, end))
            masks.append(mask[:end])
            held += int(masks[-1].sum())
            batch, mask = batch.slice(end), mask[end:]
            if held == size:
                yield pa.Table.from_batches(pending, schema), np.concatenate(masks), first
                first += sum(map(len, masks))
                pending, masks, held = [], [], 0
    if held:
        yield pa.Table.from_batches(pending, schema), np.concatenate(masks), first


def write_chunk(
    store: ObjectStore,
    prefix_uri: str,
    name: str,
    rows: pa.Table,
    keep: npt.NDArray[np.bool_],
    first: int,
    contract: Contract,
    splits: RowSplits,
    rulers: Rulers,
) -> WrittenChunk:
    """Write a chunk's rows to the splits' parts of this name, and profile them.

    Args:
        rows: staged rows.
        keep: bool (n,), which of them to write.
        first: the place of the first among the rows that `splits` knows the origins of.
    """
    batch = _one_batch(rows)
    hashes = batch.column(ROW_KEY).to_numpy()
    groups = batch.column(GROUP_KEY).to_numpy() if contract.group is not None else None
    numbers = np.arange(first, first + len(hashes))
    keys, codes = splits.of(numbers, hashes, groups)
    if keys is not hashes:
        batch = batch.set_column(
            len(batch.schema) - 1, batch.schema.field(ROW_KEY), pa.array(keys, pa.uint64())
        )
    places = [np.flatnonzero((codes == code) & keep) for code in range(len(SPLITS))]
    by_split = taken(batch, np.concatenate(places))
    start = 0
    for split, count in zip(SPLITS, map(len, places), strict=True):
        if count:
            part = tidied(pa.Table.from_batches([by_split.slice(start, count)]))
            write_part(store, f"{prefix_uri}{split}/", name, part)
        start += count
    kept = pa.Table.from_batches([by_split])
    sample = RowSample(contract)
    rows_of_splits = np.concatenate(places)
    sample.add(placed(kept, codes[rows_of_splits], *splits.origins_of(numbers[rows_of_splits])))
    return WrittenChunk(kept.num_rows, profile_table(kept, contract, rulers), sample.table())


def _one_batch(rows: pa.Table) -> pa.RecordBatch:
    return next(iter(rows.combine_chunks().to_batches()), pa.RecordBatch.from_pylist([], rows.schema))
