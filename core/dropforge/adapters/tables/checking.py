"""Holds a block to the contract: typed prepared columns, the rows' hashes, and what was rejected and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dropforge.adapters.tables.blocks import BadRecord, Block
from dropforge.adapters.tables.conversion import ARROW_TYPES, Converted, as_text, convert
from dropforge.domain.contract import Column, Contract
from dropforge.domain.row_rules import (
    RULE_CATEGORY,
    RULE_CLASS,
    RULE_MISSING,
    RULE_RANGE,
    RULE_TYPE,
    SHOWN_CHARACTERS,
    label_of,
    shown,
)
from dropforge.domain.splitting import RowHash, UInt64, hash_bits, hash_texts

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rejects:
    """The rows of a block that broke one rule in one column (None: the record as a whole)."""

    rule: str
    column: str | None
    positions: npt.NDArray[np.int64]
    """int64 (n,), ascending: the records' places in their block, from 0."""
    values: pa.Array
    """string (n,): what stood there, cut to what a reject keeps; null for nothing."""


@dataclass(frozen=True, slots=True)
class CheckedBlock:
    """The rows that keep the contract, their hashes (uint64 each), and the rest."""

    rows: pa.RecordBatch
    lanes: tuple[UInt64, UInt64]
    rejects: list[Rejects]
    rejected_rows: int
    records: int


def prepared_schema(contract: Contract) -> pa.Schema:
    """Return the columns of the prepared Parquet without the row key."""
    return pa.schema(
        [
            pa.field(column.name, _prepared_type(column, contract), nullable=column.nullable)
            for column in contract.prepared
        ]
    )


def wanted_columns(contract: Contract) -> list[str]:
    """Return the columns to read: ignored ones too where the whole row identifies it."""
    return [c.name for c in contract.columns if c.role != "ignored" or contract.key is None]


def numeric_columns(contract: Contract) -> Mapping[str, pa.DataType]:
    """Return the columns that a parser may read as numbers at once."""
    return {c.name: ARROW_TYPES[c.type] for c in contract.prepared if c.type in ("number", "integer")}


def check_block(block: Block, contract: Contract) -> CheckedBlock:
    """Check each row of a block against every rule of the contract."""
    checked = check_columns(block, contract.prepared, contract)
    failed = checked.failed
    arrays = [checked.final[column.name] for column in contract.prepared]
    batch = pa.RecordBatch.from_arrays(arrays, schema=prepared_schema(contract))
    lanes = _hashes(block, contract, checked.typed)
    return CheckedBlock(
        batch.filter(pa.array(~failed)) if failed.any() else batch,
        (lanes[0][~failed], lanes[1][~failed]),
        checked.rejects,
        int(failed.sum()) + len(block.bad),
        block.records,
    )


@dataclass(frozen=True, slots=True)
class CheckedColumns:
    """Some columns of a block's readable rows, held to the contract; nothing is filtered out.

    `typed` has the contract's types, `final` the same but a classification's target as text. `failed` is bool
    (rows,): which rows broke a rule. `rejects` tells of these and of the records that are no rows.
    """

    typed: dict[str, pa.Array]
    final: dict[str, pa.Array]
    failed: Mask
    rejects: list[Rejects]


def check_columns(block: Block, columns: Sequence[Column], contract: Contract) -> CheckedColumns:
    """Check each row of a block against the rules of some of the contract's columns."""
    rejects = _unreadable(block)
    failed: Mask = np.zeros(block.rows, dtype=np.bool_)
    typed: dict[str, pa.Array] = {}
    finals: dict[str, pa.Array] = {}
    for column in columns:
        raw = block.columns.get(column.name)
        converted = (
            Converted(pa.nulls(block.rows, ARROW_TYPES[column.type]))
            if raw is None
            else convert(raw, column.type)
        )
        typed[column.name] = converted.values
        final = _labels(converted.values, column) if _is_label(column, contract) else converted.values
        for rule, mask, source in _violations(column, contract, converted, raw, final):
            failed |= mask
            rejects.append(_rejects(rule, mask, source, column.name, block.positions))
        finals[column.name] = final
    return CheckedColumns(typed, finals, failed, rejects)


def _prepared_type(column: Column, contract: Contract) -> pa.DataType:
    return pa.string() if _is_label(column, contract) else ARROW_TYPES[column.type]


def _is_label(column: Column, contract: Contract) -> bool:
    return column.role == "target" and contract.is_classification


def _labels(values: pa.Array, column: Column) -> pa.Array:
    if column.type == "number":
        distinct = values.dictionary_encode()
        labels = [label_of(value) for value in distinct.dictionary.to_pylist()]
        return pa.array(labels, pa.string()).take(distinct.indices)
    return as_text(values) if column.type == "boolean" else values.cast(pa.string())


def _violations(
    column: Column, contract: Contract, converted: Converted, raw: pa.Array | None, final: pa.Array
) -> list[tuple[str, Mask, pa.Array | None]]:
    found: list[tuple[str, Mask, pa.Array | None]] = []
    absent = pc.is_null(converted.values).to_numpy(zero_copy_only=False)
    if converted.bad is not None:
        found.append((RULE_TYPE, converted.bad, raw))
        absent = absent & ~converted.bad
    if not column.nullable and absent.any():
        found.append((RULE_MISSING, absent, None))
    outside = _outside(column, converted.values)
    if outside is not None:
        found.append((RULE_RANGE, outside, converted.values))
    if column.categories is not None:
        found.append((RULE_CATEGORY, _not_among(converted.values, column.categories), converted.values))
    if _is_label(column, contract):
        found.append((RULE_CLASS, _not_among(final, contract.classes or ()), final))
    return [(rule, mask, source) for rule, mask, source in found if mask.any()]


def _outside(column: Column, values: pa.Array) -> Mask | None:
    if column.minimum is None and column.maximum is None:
        return None
    mask = np.zeros(len(values), dtype=np.bool_)
    if column.minimum is not None:
        below = pc.less(values, pa.scalar(column.minimum, values.type))
        mask |= pc.fill_null(below, False).to_numpy(zero_copy_only=False)
    if column.maximum is not None:
        above = pc.greater(values, pa.scalar(column.maximum, values.type))
        mask |= pc.fill_null(above, False).to_numpy(zero_copy_only=False)
    return mask


def _not_among(values: pa.Array, allowed: tuple[str, ...]) -> Mask:
    known = pc.is_in(values, value_set=pa.array(list(allowed), pa.string()))
    mask: Mask = pc.and_(pc.is_valid(values), pc.invert(known)).to_numpy(zero_copy_only=False)
    return mask


def _unreadable(block: Block) -> list[Rejects]:
    groups: dict[tuple[str, str | None], list[BadRecord]] = {}
    for bad in block.bad:
        groups.setdefault((bad.rule, bad.column), []).append(bad)
    return [
        Rejects(
            rule,
            column,
            np.array([bad.position for bad in group], dtype=np.int64),
            pa.array([shown(bad.text) for bad in group], pa.string()),
        )
        for (rule, column), group in groups.items()
    ]


def _rejects(
    rule: str, mask: Mask, source: pa.Array | None, name: str, positions: npt.NDArray[np.int64]
) -> Rejects:
    index = np.flatnonzero(mask)
    nothing = pa.nulls(len(index), pa.string())
    values = nothing if source is None else _shown(source.take(pa.array(index)))
    return Rejects(rule, name, positions[index], values)


def _shown(values: pa.Array) -> pa.Array:
    if not pa.types.is_string(values.type):
        return pa.array([repr(value) for value in values.to_pylist()], pa.string())
    trimmed = pc.ascii_trim(values, " \t")
    cut = pc.binary_join_element_wise(pc.utf8_slice_codeunits(trimmed, 0, SHOWN_CHARACTERS - 1), "…", "")
    return pc.if_else(pc.greater(pc.utf8_length(trimmed), SHOWN_CHARACTERS), cut, trimmed)


def _hashes(block: Block, contract: Contract, typed: Mapping[str, pa.Array]) -> tuple[UInt64, UInt64]:
    if contract.key is not None:
        key = typed[contract.key]
        return hash_bits(_bits(key)) if not pa.types.is_string(key.type) else _text_hashes(key)
    row_hash = RowHash(block.rows)
    for column in contract.columns:
        values = typed.get(column.name)
        if values is None:
            raw = block.columns.get(column.name)
            values = pa.nulls(block.rows, pa.string()) if raw is None else _ignored_text(raw)
        missing = pc.is_null(values).to_numpy(zero_copy_only=False) if values.null_count else None
        if pa.types.is_string(values.type):
            row_hash.add(column.name, _text_hashes(values), missing)
        else:
            bits = _bits(values)
            row_hash.add(column.name, (bits, bits), missing)
    return row_hash.lanes()


def _ignored_text(raw: pa.Array) -> pa.Array:
    return pa.nulls(len(raw), pa.string()) if pa.types.is_null(raw.type) else as_text(raw)


def _bits(values: pa.Array) -> UInt64:
    """Return each value's 64 bits; equal numbers have equal bits (0.0 is -0.0)."""
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    numbers = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
    if numbers.dtype == np.float64:
        return (numbers + 0.0).view(np.uint64)
    return numbers.astype(np.int64).view(np.uint64)


def _text_hashes(texts: pa.Array) -> tuple[UInt64, UInt64]:
    encoded = texts.dictionary_encode()
    if len(encoded.dictionary) * 2 < len(texts):
        first, second = _direct_hashes(encoded.dictionary)
        index = pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False)
        if not len(first):
            nothing = np.zeros(len(texts), dtype=np.uint64)
            return nothing, nothing
        return first[index], second[index]
    return _direct_hashes(texts)


def _direct_hashes(texts: pa.Array) -> tuple[UInt64, UInt64]:
    texts = pc.fill_null(texts, "")
    _, offset_buffer, data_buffer = texts.buffers()
    if not len(texts):
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint64)
    start = texts.offset
    offsets = np.frombuffer(offset_buffer, dtype=np.int32)[start : start + len(texts) + 1]
    data = np.empty(0, dtype=np.uint8) if data_buffer is None else np.frombuffer(data_buffer, dtype=np.uint8)
    low, high = int(offsets[0]), int(offsets[-1])
    return hash_texts(offsets - low, data[low:high])
