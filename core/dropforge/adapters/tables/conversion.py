"""From what a file holds to what the contract says a column holds, keeping apart what doesn't fit.

Every path yields the same: whether a block came typed from the parser or as text never shows in the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dropforge.domain.row_rules import (
    FALSE_SPELLINGS,
    INTEGER_PATTERN,
    MISSING_SPELLINGS,
    NUMBER_PATTERN,
    TIMESTAMP_PATTERN,
    TRUE_SPELLINGS,
    WHOLE_PATTERN,
    ZONED_PATTERN,
    whole_number,
)

ARROW_TYPES = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "category": pa.string(),
    "text": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
}
_MISSING = pa.array(sorted(MISSING_SPELLINGS), pa.string())
_TRUE = pa.array(sorted(TRUE_SPELLINGS | {"1"}), pa.string())
_FALSE = pa.array(sorted(FALSE_SPELLINGS | {"0"}), pa.string())
_SAFE_DIGITS = 18  # Any integer of 18 digits fits 64 bits.


@dataclass(frozen=True, slots=True)
class Converted:
    """`values` has the contract's type, null where there is no value; `bad` marks values that don't fit."""

    values: pa.Array
    bad: npt.NDArray[np.bool_] | None = None


def clean_text(texts: pa.Array) -> pa.Array:
    """Trim spaces and tabs and make the spellings of a missing value null."""
    trimmed = pc.ascii_trim(texts, " \t")
    return pc.if_else(pc.is_in(trimmed, value_set=_MISSING), pa.scalar(None, pa.string()), trimmed)


def fits(native: pa.DataType, column_type: str) -> bool:
    """Whether a file's declared type can hold values of the contract's type at all."""
    if pa.types.is_null(native) or pa.types.is_string(native) or column_type in ("category", "text"):
        return True
    if pa.types.is_large_string(native) or pa.types.is_string_view(native):
        return True
    numeric = pa.types.is_integer(native) or pa.types.is_floating(native) or pa.types.is_decimal(native)
    if column_type in ("number", "integer"):
        return bool(numeric)
    if column_type == "boolean":
        return bool(pa.types.is_boolean(native) or pa.types.is_integer(native))
    return bool(pa.types.is_timestamp(native) or pa.types.is_date(native))


def convert(array: pa.Array, column_type: str) -> Converted:
    """Convert a column of a block.

    Args:
        array: text, or a type that `fits` the column's.
        column_type: a type of the contract.
    """
    if pa.types.is_null(array.type):
        return Converted(pa.nulls(len(array), ARROW_TYPES[column_type]))
    if pa.types.is_string(array.type):
        return _from_text(clean_text(array), column_type)
    if column_type in ("category", "text"):
        return Converted(as_text(array))
    return _FROM_NATIVE[column_type](array)


def as_text(array: pa.Array) -> pa.Array:
    """Write each value as the text that stands for it; NaN is missing."""
    if pa.types.is_string(array.type):
        return clean_text(array)
    if pa.types.is_boolean(array.type):
        return pc.if_else(array, "true", "false")
    if pa.types.is_floating(array.type) or pa.types.is_decimal(array.type):
        numbers = _nan_to_null(array.cast(pa.float64()))
        return pa.array([None if v is None else repr(v) for v in numbers.to_pylist()], pa.string())
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        moments = _timestamps_from_native(array).values
        return pc.strftime(moments, format="%Y-%m-%dT%H:%M:%SZ")
    return array.cast(pa.string())


def _from_text(texts: pa.Array, column_type: str) -> Converted:
    if column_type in ("category", "text"):
        return Converted(texts)
    return _FROM_TEXT[column_type](texts)


def _judged(texts: pa.Array, values: pa.Array) -> Converted:
    bad = pc.and_(pc.is_valid(texts), pc.is_null(values)).to_numpy(zero_copy_only=False)
    return Converted(values, bad if bad.any() else None)


def _numbers(texts: pa.Array) -> Converted:
    matching = pc.match_substring_regex(texts, NUMBER_PATTERN)
    values = pc.if_else(matching, texts, None).cast(pa.float64())
    finite = pc.is_finite(values)
    return _judged(texts, pc.if_else(finite, values, None))


def _integers(texts: pa.Array) -> Converted:
    # Fast where the digits surely fit; the few others (signs, 5.0, long) one by one.
    plain = pc.and_(
        pc.match_substring_regex(texts, INTEGER_PATTERN),
        pc.and_(pc.less_equal(pc.binary_length(texts), _SAFE_DIGITS), pc.invert(pc.starts_with(texts, "+"))),
    )
    values = pc.if_else(plain, texts, None).cast(pa.int64())
    rest = pc.fill_null(pc.and_not(pc.match_substring_regex(texts, WHOLE_PATTERN), plain), False)
    if pc.any(rest).as_py():
        parsed = pa.array([whole_number(text) for text in texts.filter(rest).to_pylist()], pa.int64())
        values = pc.replace_with_mask(values, rest, parsed)
    return _judged(texts, values)


def _booleans(texts: pa.Array) -> Converted:
    true, false = pc.is_in(texts, value_set=_TRUE), pc.is_in(texts, value_set=_FALSE)
    return _judged(texts, pc.if_else(pc.or_(true, false), true, None))


def _timestamps(texts: pa.Array) -> Converted:
    shaped = pc.match_substring_regex(texts, TIMESTAMP_PATTERN)
    zoned = pc.match_substring_regex(texts, ZONED_PATTERN)
    with_zone = _moments(pc.if_else(pc.and_(shaped, zoned), texts, None), pa.timestamp("us", "UTC"))
    without = _moments(pc.if_else(pc.and_(shaped, pc.invert(zoned)), texts, None), pa.timestamp("us"))
    return _judged(texts, pc.coalesce(with_zone, without.cast(pa.timestamp("us", "UTC"))))


def _moments(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:  # a date that no calendar has, such as 30 February
        return pa.array([_moment(text, kind) for text in texts.to_pylist()], kind)


def _moment(text: str | None, kind: pa.DataType) -> int | None:
    if text is None:
        return None
    try:
        return int(pa.array([text], pa.string()).cast(kind).cast(pa.int64())[0].as_py())
    except pa.ArrowInvalid:
        return None


def _nan_to_null(numbers: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_nan(numbers), None, numbers)


def _numbers_from_native(array: pa.Array) -> Converted:
    numbers = _nan_to_null(array.cast(pa.float64(), safe=False))
    values = pc.if_else(pc.is_finite(numbers), numbers, None)
    bad = pc.and_(pc.is_valid(numbers), pc.is_null(values)).to_numpy(zero_copy_only=False)
    return Converted(values, bad if bad.any() else None)


def _integers_from_native(array: pa.Array) -> Converted:
    if pa.types.is_signed_integer(array.type):
        return Converted(array.cast(pa.int64()))
    if pa.types.is_unsigned_integer(array.type):
        small = pc.less_equal(array.cast(pa.uint64()), pa.scalar(2**63 - 1, pa.uint64()))
        values = pc.if_else(small, array.cast(pa.uint64()), None).cast(pa.int64())
        bad = pc.and_(pc.is_valid(array), pc.is_null(values)).to_numpy(zero_copy_only=False)
        return Converted(values, bad if bad.any() else None)
    numbers = _nan_to_null(array.cast(pa.float64(), safe=False))
    whole = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), 2.0**63))
    values = pc.if_else(whole, numbers, None).cast(pa.int64())
    bad = pc.and_(pc.is_valid(numbers), pc.is_null(values)).to_numpy(zero_copy_only=False)
    return Converted(values, bad if bad.any() else None)


def _booleans_from_native(array: pa.Array) -> Converted:
    if pa.types.is_boolean(array.type):
        return Converted(array)
    one, zero = pc.equal(array, 1), pc.equal(array, 0)
    values = pc.if_else(pc.or_(one, zero), one, None)
    bad = pc.and_(pc.is_valid(array), pc.is_null(values)).to_numpy(zero_copy_only=False)
    return Converted(values, bad if bad.any() else None)


def _timestamps_from_native(array: pa.Array) -> Converted:
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("s" if array.type == pa.date32() else "ms"))
    # A nanosecond is cut to its microsecond; a time without a zone is UTC.
    if array.type.tz is None:
        array = array.cast(pa.timestamp(array.type.unit, "UTC"))
    return Converted(array.cast(ARROW_TYPES["timestamp"], safe=False))


_FROM_TEXT = {
    "number": _numbers,
    "integer": _integers,
    "boolean": _booleans,
    "timestamp": _timestamps,
}
_FROM_NATIVE = {
    "number": _numbers_from_native,
    "integer": _integers_from_native,
    "boolean": _booleans_from_native,
    "timestamp": _timestamps_from_native,
}
