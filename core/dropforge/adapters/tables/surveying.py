"""Gathers the evidence of a block from which a contract is inferred."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dropforge.adapters.tables.blocks import Block
from dropforge.adapters.tables.conversion import as_text, clean_text, convert
from dropforge.domain.row_rules import (
    FALSE_SPELLINGS,
    INTEGER_PATTERN,
    LEADING_ZERO_PATTERN,
    TIMESTAMP_PATTERN,
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

_WORDS = pa.array(sorted(TRUE_SPELLINGS | FALSE_SPELLINGS), pa.string())
_DIGITS = pa.array(["0", "1"], pa.string())


def survey_block(block: Block, source: str) -> TableSurvey:
    """Examine every column of a block of the object named `source`."""
    columns = {name: survey_column(array) for name, array in block.columns.items()}
    return TableSurvey(block.rows, columns, dict.fromkeys(columns, source))


def survey_column(array: pa.Array) -> ColumnSurvey:
    """Examine one column."""
    if pa.types.is_null(array.type):
        return ColumnSurvey()
    if pa.types.is_string(array.type):
        return _text(clean_text(array).drop_null())
    return _native(array)


def _text(texts: pa.Array) -> ColumnSurvey:
    # Work on the distinct values: columns with few of them cost next to nothing.
    counted = texts.value_counts()
    distinct, counts = counted.field("values"), counted.field("counts").to_numpy()

    def rows(matching: pa.Array) -> int:
        return int(counts[pc.fill_null(matching, False).to_numpy(zero_copy_only=False)].sum())

    integer_shaped = pc.match_substring_regex(distinct, INTEGER_PATTERN)
    numbers = pc.is_valid(convert(distinct, "number").values)
    whole = convert(pc.if_else(integer_shaped, distinct, None), "integer").values
    integers = pc.and_(integer_shaped, pc.is_valid(whole))
    seen = ColumnSurvey(
        values=len(texts),
        numbers=rows(numbers),
        integers=rows(integers),
        fractions=rows(pc.and_(numbers, pc.invert(integer_shaped))),
        huge_integers=rows(pc.and_(integer_shaped, pc.invert(pc.is_valid(whole)))),
        leading_zeros=rows(pc.match_substring_regex(distinct, LEADING_ZERO_PATTERN)),
        boolean_words=rows(pc.is_in(distinct, value_set=_WORDS)),
        boolean_digits=rows(pc.is_in(distinct, value_set=_DIGITS)),
        texts=_counts(distinct, counts),
    )
    if pc.any(pc.match_substring_regex(distinct, TIMESTAMP_PATTERN)).as_py():
        seen.timestamps = rows(pc.is_valid(convert(distinct, "timestamp").values))
    if seen.integers == seen.values:
        values = convert(texts, "integer").values.to_numpy(zero_copy_only=False)
        seen.sequence, seen.identifiers = Sequence.of(values), Identifiers(values)
    else:
        seen.sequence = Sequence(broken=True)
    return seen


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
        seen = _text(as_text(array.drop_null()))
        seen.boolean_digits = 0
        return seen
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        seen = _text(as_text(array.drop_null()))
        seen.timestamps = seen.values
        return seen
    if pa.types.is_integer(kind):
        return _native_integers(array.drop_null())
    return _native_numbers(array)


def _native_integers(array: pa.Array) -> ColumnSurvey:
    counted = array.value_counts()
    whole = convert(array, "integer").values.drop_null()
    values = whole.to_numpy(zero_copy_only=False)
    return ColumnSurvey(
        values=len(array),
        numbers=len(array),
        integers=len(whole),
        huge_integers=len(array) - len(whole),
        boolean_digits=int(np.isin(values, (0, 1)).sum()),
        texts=_counts(counted.field("values").cast(pa.string()), counted.field("counts").to_numpy()),
        sequence=Sequence.of(values),
        identifiers=Identifiers(values),
    )


def _native_numbers(array: pa.Array) -> ColumnSurvey:
    numbers = array.cast(pa.float64(), safe=False)
    numbers = numbers.filter(pc.invert(pc.is_nan(numbers)))
    numbers = numbers.drop_null()
    finite = int(pc.sum(pc.is_finite(numbers)).as_py() or 0)
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
        texts=texts,
        sequence=Sequence(broken=True),
    )
