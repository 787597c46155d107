"""Gathers the evidence of a block from which a contract is inferred."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dropforge.adapters.tables.checking.conversion import (
    USUAL_MISSING,
    Converter,
    any_integers,
    native_text,
    widened,
)
from dropforge.adapters.tables.reading.blocks import Block
from dropforge.domain.contract import Column
from dropforge.domain.row_rules import (
    FALSE_SPELLINGS,
    INTEGER_PATTERN,
    MISSING_SPELLINGS,
    PADDED_PATTERN,
    TRUE_SPELLINGS,
    label_of,
)
from dropforge.domain.survey import (
    DISTINCT_TEXTS,
    LONGEST_CATEGORY,
    ColumnSurvey,
    Identifiers,
    Sequence,
    TableSurvey,
)
from dropforge.domain.values import (
    AMOUNT_PATTERN,
    BLANKS,
    DATE_SAMPLES,
    NUMBER_SAMPLES,
    PLACEHOLDERS,
    ColumnReader,
    NumberFormat,
    date_pattern,
    number_pattern,
)

_NUMBER, _INTEGER, _TIMESTAMP = (
    Converter(ColumnReader(Column("any", kind))) for kind in ("number", "integer", "timestamp")
)
_ISO_START, _DATE_START = "^[0-9]{4}-[0-9]{2}-[0-9]{2}", "^[0-9]{1,4}[/.-][0-9]{1,2}[/.-][0-9]{1,4}"
_GROUPED_BY_POINTS = "^[+-]?[1-9][0-9]{0,2}([.][0-9]{3})+$"
# What formats with a null of their own spell out nevertheless.
_PLACEHOLDERS = pa.array(sorted(PLACEHOLDERS | MISSING_SPELLINGS), pa.string())
_WORDS = pa.array(sorted(TRUE_SPELLINGS | FALSE_SPELLINGS), pa.string())
_DIGITS = pa.array(["0", "1"], pa.string())


def survey_block(block: Block, source: str) -> TableSurvey:
    """Examine every column of a block of the object named `source`."""
    columns = {name: survey_column(array, block.spells_missing) for name, array in block.columns.items()}
    return TableSurvey(block.rows, columns, dict.fromkeys(columns, source))


def survey_column(array: pa.Array, spells_missing: bool = True) -> ColumnSurvey:
    """Examine one column.

    Args:
        spells_missing: whether the usual texts mean a missing value.
    """
    if pa.types.is_null(array.type):
        return ColumnSurvey(spelled=spells_missing)
    if pa.types.is_string(array.type):
        return _text(array, spells_missing)
    return _native(array)


def _text(raw: pa.Array, spells_missing: bool) -> ColumnSurvey:
    # Work on the distinct values: columns with few of them cost next to nothing.
    texts = pc.ascii_trim(raw, BLANKS)
    texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    spellings: dict[str, int] = {}
    if spells_missing:
        missing = pc.is_in(texts, value_set=USUAL_MISSING)
        missing = pc.and_(missing, pc.is_valid(texts))
        if pc.any(missing).as_py():
            spellings = _tally(texts.filter(missing).value_counts())
            texts = pc.if_else(missing, pa.scalar(None, pa.string()), texts)
    texts = texts.drop_null()
    counted = texts.value_counts()
    distinct, counts = counted.field("values"), counted.field("counts").to_numpy()

    def rows(matching: pa.Array) -> int:
        return int(counts[pc.fill_null(matching, False).to_numpy(zero_copy_only=False)].sum())

    integer_shaped = pc.match_substring_regex(distinct, INTEGER_PATTERN)
    numbers = pc.is_valid(_NUMBER.convert(distinct).values)
    whole = any_integers(pc.if_else(integer_shaped, distinct, None)).values
    integers = pc.and_(integer_shaped, pc.is_valid(whole))
    padded = pc.match_substring_regex(distinct, PADDED_PATTERN)
    seen = ColumnSurvey(
        values=len(texts),
        numbers=rows(numbers),
        integers=rows(integers),
        fractions=rows(pc.and_(numbers, pc.invert(integer_shaped))),
        huge_integers=rows(pc.and_(integer_shaped, pc.invert(pc.is_valid(whole)))),
        leading_zeros=rows(padded),
        boolean_words=rows(pc.is_in(distinct, value_set=_WORDS)),
        boolean_digits=rows(pc.is_in(distinct, value_set=_DIGITS)),
        texts=_counts(distinct, counts),
        spelled=spells_missing,
        spellings=spellings,
    )
    seen.whole = seen.integers
    held_out = pc.is_in(distinct, value_set=_PLACEHOLDERS)
    if pc.any(held_out).as_py():
        seen.placeholders = _tally(counted.filter(held_out))
    if seen.integers:
        widths = pc.binary_length(distinct.filter(integer_shaped))
        for width in pc.unique(widths).to_pylist():
            seen.widths[str(width)] = rows(
                pc.and_(integer_shaped, pc.equal(pc.binary_length(distinct), width))
            )
    _add_formats(seen, distinct, numbers, rows)
    if seen.integers == seen.values:
        values = any_integers(texts).values.to_numpy(zero_copy_only=False)
        seen.sequence, seen.identifiers = Sequence.of(values), Identifiers(values)
    else:
        seen.sequence = Sequence(broken=True)
    return seen


def _add_formats(
    seen: ColumnSurvey, distinct: pa.Array, numbers: pa.Array, rows: Callable[[pa.Array], int]
) -> None:
    """Count which formats of numbers and dates the values fit."""
    if pc.any(pc.match_substring_regex(distinct, _ISO_START)).as_py():
        seen.timestamps = rows(pc.is_valid(_TIMESTAMP.convert(distinct).values))
    if pc.any(pc.match_substring_regex(distinct, _DATE_START)).as_py():
        for sample in DATE_SAMPLES:
            matching = pc.match_substring_regex(distinct, date_pattern(sample))
            if pc.any(matching).as_py():
                seen.formats[sample] = rows(matching)
    if not len(distinct):
        return
    if seen.numbers == seen.values:
        # As most columns of numbers are written. A point may yet be one between thousands.
        pointed = pc.match_substring(distinct, ".")
        bare = rows(pc.invert(pointed))
        grouped = rows(pc.match_substring_regex(distinct, _GROUPED_BY_POINTS)) if bare < seen.values else 0
        for sample in NUMBER_SAMPLES:
            point = NumberFormat.of(sample).point
            fitting = seen.values if point == "." else bare + (grouped if sample == "1.234,5" else 0)
            seen.formats[sample] = fitting
        seen.amounts = seen.values
        return
    parts = _amounts(distinct)
    amounts = pc.is_valid(parts)
    if not pc.any(amounts).as_py():
        return
    number = pc.struct_field(parts, "number")
    seen.amounts = rows(pc.or_(amounts, numbers))
    for sample in NUMBER_SAMPLES:
        point = NumberFormat.of(sample).point
        fitting = pc.match_substring_regex(number, number_pattern(sample))
        # Exponents, of which an amount has none.
        plain = pc.and_(numbers, pc.invert(amounts)) if point == "." else pa.scalar(False)
        seen.formats[sample] = rows(pc.or_(pc.fill_null(fitting, False), plain))
    for side in ("before", "after"):
        units = pc.fill_null(pc.struct_field(parts, side), "")
        for unit in pc.unique(units).to_pylist():
            if unit:
                seen.units[unit] = seen.units.get(unit, 0) + rows(pc.equal(units, unit))


def _amounts(texts: pa.Array) -> pa.StructArray:
    """The parts of each number as people export it, as of `AMOUNT_PATTERN`; null for any other text."""
    parts = pc.extract_regex(texts, AMOUNT_PATTERN)

    def has(name: str) -> pa.Array:
        return pc.not_equal(pc.struct_field(parts, name), "")

    opened, signs = has("open"), [has("open"), has("sign"), has("inner")]
    several = pc.or_(pc.or_(pc.and_(*signs[:2]), pc.and_(*signs[1:])), pc.and_(signs[0], signs[2]))
    wrong = pc.or_(pc.or_(pc.xor(opened, has("close")), several), pc.and_(has("before"), has("after")))
    return pc.if_else(wrong, pa.scalar(None, parts.type), parts)


def _tally(counted: pa.StructArray) -> dict[str, int]:
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _counts(distinct: pa.Array, counts: np.ndarray) -> dict[str, int] | None:
    if len(distinct) > DISTINCT_TEXTS:
        return None
    longest = pc.max(pc.utf8_length(distinct)).as_py() or 0
    if longest > LONGEST_CATEGORY:
        return None
    return dict(zip(distinct.to_pylist(), counts.tolist(), strict=True))


def _native(array: pa.Array) -> ColumnSurvey:
    kind = array.type
    if pa.types.is_boolean(kind):
        seen = _text(native_text(array.drop_null()), spells_missing=False)
        seen.boolean_digits = 0
        return seen
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        seen = _text(native_text(array.drop_null()), spells_missing=False)
        seen.timestamps = seen.values
        return seen
    if pa.types.is_integer(kind):
        return _native_integers(array.drop_null())
    if pa.types.is_decimal(kind):
        return _native_decimals(array.drop_null())
    return _native_numbers(array)


def _native_integers(array: pa.Array) -> ColumnSurvey:
    counted = array.value_counts()
    whole = _INTEGER.convert(array).values.drop_null()
    values = whole.to_numpy(zero_copy_only=False)
    return ColumnSurvey(
        values=len(array),
        numbers=len(array),
        integers=len(whole),
        whole=len(whole),
        huge_integers=len(array) - len(whole),
        boolean_digits=int(np.isin(values, (0, 1)).sum()),
        texts=_counts(counted.field("values").cast(pa.string()), counted.field("counts").to_numpy()),
        sequence=Sequence.of(values),
        identifiers=Identifiers(values),
    )


def _native_decimals(array: pa.Array) -> ColumnSurvey:
    """Exactly: identifiers may have more digits than a float holds."""
    seen = _text(native_text(array), spells_missing=False)
    if array.type.scale > 0:
        # Of numbers, whichever of them are whole.
        seen.fractions = seen.numbers
        seen.integers = seen.huge_integers = seen.leading_zeros = 0
        seen.sequence, seen.identifiers = Sequence(broken=True), Identifiers()
    seen.formats, seen.widths = {}, {}
    return seen


def _native_numbers(array: pa.Array) -> ColumnSurvey:
    numbers = widened(array)
    numbers = numbers.filter(pc.invert(pc.is_nan(numbers)))
    numbers = numbers.drop_null()
    finite = int(pc.sum(pc.is_finite(numbers)).as_py() or 0)
    whole = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less_equal(pc.abs(numbers), 2.0**53))
    counted = numbers.value_counts()
    values, counts = counted.field("values"), counted.field("counts").to_numpy()
    texts: dict[str, int] | None = None
    if len(values) <= DISTINCT_TEXTS:
        texts = {}
        for value, count in zip(values.to_pylist(), counts.tolist(), strict=True):
            text = label_of(value) if np.isfinite(value) else repr(value)
            texts[text] = texts.get(text, 0) + count  # 0.0 and -0.0 are one value
    return ColumnSurvey(
        values=len(numbers),
        numbers=finite,
        fractions=finite,
        whole=int(pc.sum(whole).as_py() or 0),
        texts=texts,
        sequence=Sequence(broken=True),
    )
