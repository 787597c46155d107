"""Holds a block to the contract: typed prepared columns, the rows' hashes, and what was rejected and why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dropforge.adapters.tables.buffers import Mask, extremes, is_present, is_true, looked_up, without
from dropforge.adapters.tables.checking.conversion import (
    ARROW_TYPES,
    ENCODED_TEXT,
    Converted,
    as_text,
    converter_of,
    encode,
    native_text,
    text_buffers,
)
from dropforge.adapters.tables.checking.earlier_reading import read_otherwise
from dropforge.adapters.tables.reading.blocks import BadRecord, Block, Hints
from dropforge.domain.contract import NUMERIC_TYPES, Column, Contract
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
from dropforge.domain.time_split import ordered_keys
from dropforge.domain.values import BLANKS, NumberFormat


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
    """The rows that keep the contract, their hashes, and the rest.

    Attributes:
        lanes: 2 x uint64 (n,), of what identifies a row: its key, or all of it.
        splitting: uint64 (n,), of what decides which split it goes to; of time `ordered_keys`.
        groups: uint64 (n,), the hash of its group, where rows have any.
        unlabelled_rows: how many have no target; they are neither kept nor rejected.
    """

    rows: pa.RecordBatch
    lanes: tuple[UInt64, UInt64]
    splitting: UInt64
    rejects: list[Rejects]
    rejected_rows: int
    unlabelled_rows: int
    records: int
    names: Collection[str] = ()
    """As of the block."""
    filled: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Up to two different values of the contract's unfilled columns."""
    read_otherwise: Mapping[str, int] = field(default_factory=dict)
    """Columns that earlier releases may have split these rows by other values of, see there."""
    missing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """As of the columns."""
    groups: UInt64 | None = None


def prepared_schema(contract: Contract) -> pa.Schema:
    """Return the columns of the prepared Parquet without the row key."""
    return pa.schema(
        [
            pa.field(column.name, _prepared_type(column, contract), nullable=column.nullable)
            for column in contract.prepared
        ]
    )


def wanted_columns(contract: Contract) -> list[str]:
    """Return the columns to read: ignored ones too that take part in a row's hashes or may be filled."""
    read = {*(contract.splitting_columns or ()), *contract.unfilled}
    return [c.name for c in contract.columns if c.role != "ignored" or contract.key is None or c.name in read]


def reading_hints(contract: Contract) -> Hints:
    """Say which columns a parser may read as numbers at once, or encoded as few different texts."""
    kinds: dict[str, pa.DataType] = {}
    formats: dict[str, NumberFormat | None] = {}
    readers = [(column, contract.reader(column.name)) for column in contract.prepared]
    for column, reader in readers:
        if column.type in NUMERIC_TYPES and column.format is None:
            kinds[column.name] = ARROW_TYPES[column.type]
        elif column.type in ("category", "boolean"):
            kinds[column.name] = ENCODED_TEXT
        if column.type in NUMERIC_TYPES and column.format is not None:
            formats[column.name] = NumberFormat.of(column.format)
        elif reader.is_code:
            formats[column.name] = None
    return Hints(kinds, formats)


def check_block(block: Block, contract: Contract) -> CheckedBlock:
    """Check each row of a block against every rule of the contract."""
    checked = check_columns(block, contract.prepared, contract)
    rejects, unlabelled = _unlabelled(checked.rejects, contract)
    failed, kept = checked.failed, np.flatnonzero(~checked.failed)
    arrays = [checked.final[column.name] for column in contract.prepared]
    batch = pa.RecordBatch.from_arrays(arrays, schema=prepared_schema(contract))
    lanes, hashed = _hashes(block, contract, checked.typed)
    splitting = hashed if contract.time is None else _times(checked.typed[contract.time])
    return CheckedBlock(
        without(batch, failed),
        (lanes[0].take(kept), lanes[1].take(kept)),
        splitting.take(kept),
        rejects,
        len(failed) - len(kept) - unlabelled + len(block.bad),
        unlabelled,
        block.records,
        block.names,
        {
            name: pc.unique(_ignored_text(block.columns[name]).drop_null()).slice(0, 2).to_pylist()
            for name in contract.unfilled
            if name in block.columns
        },
        read_otherwise(block, contract),
        checked.missing,
        None if contract.group is None else hashed.take(kept),
    )


def _unlabelled(rejects: list[Rejects], contract: Contract) -> tuple[list[Rejects], int]:
    """Tell rows without a target from those that break a rule: nobody has to correct them.

    Returns:
        The rejects but for theirs, whatever else they break; and how many there are.
    """
    lacking = [each for each in rejects if (each.rule, each.column) == (RULE_MISSING, contract.target)]
    if not lacking:
        return rejects, 0
    (unlabelled,) = lacking
    left = []
    for group in rejects:
        others = ~np.isin(group.positions, unlabelled.positions)
        if others.all():
            left.append(group)
        elif others.any():
            values = group.values.filter(pa.array(others))
            left.append(replace(group, positions=group.positions[others], values=values))
    return left, len(unlabelled.positions)


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
    missing: dict[str, dict[str, int]]
    """By column and text, how often that was read as missing; an empty text aside."""


def check_columns(block: Block, columns: Sequence[Column], contract: Contract) -> CheckedColumns:
    """Check each row of a block against the rules of some of the contract's columns."""
    rejects = _unreadable(block)
    failed: Mask = np.zeros(block.rows, dtype=np.bool_)
    typed: dict[str, pa.Array] = {}
    finals: dict[str, pa.Array] = {}
    missing: dict[str, dict[str, int]] = {}
    for column in columns:
        raw = block.columns.get(column.name)
        converted = (
            Converted(pa.nulls(block.rows, ARROW_TYPES[column.type]))
            if raw is None
            else converter_of(contract.reader(column.name)).convert(raw)
        )
        typed[column.name] = converted.values
        spelled = {} if raw is None else _spellings(raw, converted)
        if spelled:
            missing[column.name] = spelled
        final = _labels(converted.values, column) if _is_label(column, contract) else converted.values
        for rule, mask, source in _violations(column, contract, converted, raw, final):
            failed |= mask
            rejects.append(_rejects(rule, mask, source, column.name, block.positions))
        finals[column.name] = final
    return CheckedColumns(typed, finals, failed, rejects, missing)


def _spellings(raw: pa.Array, converted: Converted) -> dict[str, int]:
    """Count the texts and numbers that were read as missing."""
    values = converted.values
    if values.null_count == raw.null_count:
        return {}
    spelled = is_present(raw) & ~is_present(values)
    if converted.bad is not None:
        spelled &= ~converted.bad
    found = native_text(raw.filter(pa.array(spelled)).cast(_plain_type(raw)))
    counted = pc.ascii_trim(found, BLANKS).drop_null().value_counts()
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    return {text: count for text, count in pairs if text}


def _plain_type(array: pa.Array) -> pa.DataType:
    return array.type.value_type if pa.types.is_dictionary(array.type) else array.type


def _prepared_type(column: Column, contract: Contract) -> pa.DataType:
    return ENCODED_TEXT if _is_label(column, contract) else ARROW_TYPES[column.type]


def _is_label(column: Column, contract: Contract) -> bool:
    return column.role == "target" and contract.is_classification


def _labels(values: pa.Array, column: Column) -> pa.DictionaryArray:
    """Write the values as the labels of their classes."""
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    if column.type == "number":
        labels = pa.array([label_of(value) for value in encoded.dictionary.to_pylist()], pa.string())
    else:
        labels = (
            as_text(encoded.dictionary) if column.type == "boolean" else encoded.dictionary.cast(pa.string())
        )
    return encode(pa.DictionaryArray.from_arrays(encoded.indices, labels))


def _violations(
    column: Column, contract: Contract, converted: Converted, raw: pa.Array | None, final: pa.Array
) -> list[tuple[str, Mask, pa.Array | None]]:
    found: list[tuple[str, Mask, pa.Array | None]] = []
    if converted.bad is not None:
        found.append((RULE_TYPE, converted.bad, raw))
    if not column.nullable and converted.values.null_count:
        absent = ~is_present(converted.values)
        found.append((RULE_MISSING, absent if converted.bad is None else absent & ~converted.bad, None))
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
    reach = extremes(values)
    mask = np.zeros(len(values), dtype=np.bool_)
    if reach is None:
        return mask
    if column.minimum is not None and reach[0] < column.minimum:
        mask |= is_true(pc.less(values, pa.scalar(column.minimum, values.type)))
    if column.maximum is not None and reach[1] > column.maximum:
        mask |= is_true(pc.greater(values, pa.scalar(column.maximum, values.type)))
    return mask


def _not_among(values: pa.DictionaryArray, allowed: tuple[str, ...]) -> Mask:
    known = pc.is_in(values.dictionary, value_set=pa.array(list(allowed), pa.string()))
    if pc.all(known).as_py() is not False:
        return np.zeros(len(values), dtype=np.bool_)
    mask: Mask = looked_up(~is_true(known), values.indices)
    return mask & is_present(values) if values.null_count else mask


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
    if pa.types.is_dictionary(values.type):
        values = values.cast(pa.string())
    if not pa.types.is_string(values.type):
        return pa.array([repr(value) for value in values.to_pylist()], pa.string())
    trimmed = pc.ascii_trim(values, " \t")
    cut = pc.binary_join_element_wise(pc.utf8_slice_codeunits(trimmed, 0, SHOWN_CHARACTERS - 1), "…", "")
    return pc.if_else(pc.greater(pc.utf8_length(trimmed), SHOWN_CHARACTERS), cut, trimmed)


def _hashes(
    block: Block, contract: Contract, typed: Mapping[str, pa.Array]
) -> tuple[tuple[UInt64, UInt64], UInt64]:
    """Return both lanes of what identifies each row, and the hash of what decides on its split."""
    row_hash = RowHash(block.rows)

    def add(names: Iterable[str]) -> None:
        for name in names:
            values = typed.get(name)
            if values is None:
                raw = block.columns.get(name)
                values = pa.nulls(block.rows, pa.string()) if raw is None else _ignored_text(raw)
            missing = ~is_present(values) if values.null_count else None
            if _holds_text(values):
                row_hash.add(name, _text_hashes(values), missing)
            else:
                bits = _bits(values)
                row_hash.add(name, (bits, bits), missing)

    first = contract.splitting_columns
    add(first or ())
    splitting = None if first is None else row_hash.first_lane()
    if contract.key is None:
        add(column.name for column in contract.columns if column.name not in (first or ()))
        lanes = row_hash.lanes()
    else:
        key = typed[contract.key]
        lanes = _text_hashes(key) if _holds_text(key) else hash_bits(_bits(key))
    return lanes, lanes[0] if splitting is None else splitting


def _times(values: pa.Array) -> UInt64:
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    return ordered_keys(pc.fill_null(values, 0).to_numpy(zero_copy_only=False))


def _holds_text(values: pa.Array) -> bool:
    return bool(pa.types.is_string(values.type) or pa.types.is_dictionary(values.type))


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
    if not pa.types.is_dictionary(texts.type):
        return _direct_hashes(texts)
    first, second = _direct_hashes(texts.dictionary)
    if not len(first):
        nothing = np.zeros(len(texts), dtype=np.uint64)
        return nothing, nothing
    index = pc.fill_null(texts.indices, 0).to_numpy(zero_copy_only=False)
    return first[index], second[index]


def _direct_hashes(texts: pa.Array) -> tuple[UInt64, UInt64]:
    offsets, data = text_buffers(pc.fill_null(texts, ""))
    low, high = int(offsets[0]), int(offsets[-1])
    return hash_texts(offsets - low, data[low:high])
