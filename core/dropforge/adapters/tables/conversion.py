"""From what a file holds to what the contract says a column holds, keeping apart what doesn't fit.

Every path yields the same: whether a block came typed from the parser or as text never shows in the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dropforge.adapters.tables.buffers import Mask, extremes, is_present
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

ENCODED_TEXT = pa.dictionary(pa.int32(), pa.string())
"""Few different texts: each stands once, and what is done to a text is done once."""

ARROW_TYPES = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "category": ENCODED_TEXT,
    "text": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
}
_MISSING = pa.array(sorted(MISSING_SPELLINGS), pa.string())
_TRUE = pa.array(sorted(TRUE_SPELLINGS | {"1"}), pa.string())
_FALSE = pa.array(sorted(FALSE_SPELLINGS | {"0"}), pa.string())
_SAFE_DIGITS = 18  # Any integer of 18 digits fits 64 bits.
_PLAIN_TIMES = (10, 16, 19, *range(21, 27))
"""Lengths of the dates and times without an offset that the parser reads as our grammar does."""
_PLAIN_TIME_LENGTHS = np.isin(np.arange(max(_PLAIN_TIMES) + 2), _PLAIN_TIMES)
_PLUS, _NINE = np.uint8(ord("+")), np.uint8(ord("9"))
_FEW = 0.1
"""Share of the values up to which odd ones are looked at apart."""


@dataclass(frozen=True, slots=True)
class Converted:
    """`values` has the contract's type, null where there is no value; `bad` marks values that don't fit."""

    values: pa.Array
    bad: npt.NDArray[np.bool_] | None = None


def clean_text(texts: pa.Array) -> pa.Array:
    """Trim spaces and tabs and make the spellings of a missing value null."""
    trimmed = pc.ascii_trim(texts, " \t")
    return pc.if_else(pc.is_in(trimmed, value_set=_MISSING), pa.scalar(None, pa.string()), trimmed)


def encode(texts: pa.Array) -> pa.DictionaryArray:
    """Return texts, encoded or not, as cleaned and encoded ones."""
    encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    if encoded.type != ENCODED_TEXT:
        encoded = encoded.cast(ENCODED_TEXT)
    distinct = clean_text(encoded.dictionary)
    if distinct.equals(encoded.dictionary):
        return encoded
    # Values that were different before have become one, or missing.
    codes = distinct.dictionary_encode()
    return pa.DictionaryArray.from_arrays(codes.indices.take(encoded.indices), codes.dictionary)


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
        array: text, encoded or not, or a type that `fits` the column's.
        column_type: a type of the contract. Categories come out encoded.
    """
    if pa.types.is_null(array.type):
        return Converted(pa.nulls(len(array), ARROW_TYPES[column_type]))
    if pa.types.is_string(array.type) or pa.types.is_dictionary(array.type):
        return _FROM_TEXT[column_type](array)
    if column_type in ("category", "text"):
        texts = as_text(array)
        return Converted(texts.dictionary_encode() if column_type == "category" else texts)
    return _FROM_NATIVE[column_type](array)


def as_text(array: pa.Array) -> pa.Array:
    """Write each value as the text that stands for it; NaN is missing."""
    if pa.types.is_string(array.type):
        return clean_text(array)
    if pa.types.is_dictionary(array.type):
        return encode(array).cast(pa.string())
    if pa.types.is_boolean(array.type):
        return pc.if_else(array, "true", "false")
    if pa.types.is_floating(array.type) or pa.types.is_decimal(array.type):
        numbers = _nan_to_null(array.cast(pa.float64()))
        return pa.array([None if v is None else repr(v) for v in numbers.to_pylist()], pa.string())
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        moments = _timestamps_from_native(array).values
        return pc.strftime(moments, format="%Y-%m-%dT%H:%M:%SZ")
    return array.cast(pa.string())


def _categories(texts: pa.Array) -> Converted:
    return Converted(encode(texts))


def _texts(texts: pa.Array) -> Converted:
    return Converted(
        encode(texts).cast(pa.string()) if pa.types.is_dictionary(texts.type) else clean_text(texts)
    )


def _booleans(texts: pa.Array) -> Converted:
    encoded = encode(texts)
    distinct = encoded.dictionary
    true, false = pc.is_in(distinct, value_set=_TRUE), pc.is_in(distinct, value_set=_FALSE)
    values = pc.if_else(pc.or_(true, false), true, None).take(encoded.indices)
    return _judged(encoded, values)


def _numbers(texts: pa.Array) -> Converted:
    return _mostly_plain(_decoded(texts), _outside_digits, pa.float64(), _any_numbers)


def _integers(texts: pa.Array) -> Converted:
    return _mostly_plain(_decoded(texts), _outside_digits, pa.int64(), _any_integers)


def _timestamps(texts: pa.Array) -> Converted:
    converted = _mostly_plain(_decoded(texts), _outside_lengths, pa.timestamp("us"), _any_timestamps)
    return Converted(converted.values.cast(ARROW_TYPES["timestamp"]), converted.bad)


def _mostly_plain(
    texts: pa.Array,
    odd_values: Callable[[pa.Array], Mask],
    kind: pa.DataType,
    any_values: Callable[[pa.Array], Converted],
) -> Converted:
    """Cast at once what is surely written plainly, and look at the few other values one by one.

    Args:
        odd_values: marks (bool (n,)) every value that the cast would read otherwise than `any_values` does,
            and may mark others.
        kind: what to cast to.
        any_values: reads values of all spellings.
    """
    odd = odd_values(texts)
    count = int(odd.sum())
    if count > _FEW * len(texts):
        return any_values(texts)
    try:
        values = (_without(texts, odd) if count else texts).cast(kind)
    except pa.ArrowInvalid:
        return any_values(texts)
    if pa.types.is_floating(kind) and not _all_finite(values):
        return any_values(texts)
    if not count:
        return Converted(values)
    others = any_values(texts.filter(pa.array(odd)))
    bad = None
    if others.bad is not None:
        bad = np.zeros(len(texts), dtype=np.bool_)
        bad[odd] = others.bad
    return Converted(pc.replace_with_mask(values, pa.array(odd), others.values), bad)


def _decoded(texts: pa.Array) -> pa.Array:
    return texts.cast(pa.string()) if pa.types.is_dictionary(texts.type) else texts


def _outside_digits(texts: pa.Array) -> Mask:
    """Mark values that hold anything but digits and ``+,-./``, of which the casts refuse what we refuse."""
    offsets, data = text_buffers(texts)
    low, high = int(offsets[0]), int(offsets[-1])
    used = data[low:high]
    odd: Mask = offsets[1:] == offsets[:-1]
    if texts.null_count:
        odd &= is_present(texts)
    found = np.flatnonzero((used > _NINE) | (used < _PLUS))
    if len(found):
        odd[np.searchsorted(offsets, found + low, "right") - 1] = True
    return odd


def _outside_lengths(texts: pa.Array) -> Mask:
    offsets, _ = text_buffers(texts)
    lengths = np.diff(offsets)
    odd: Mask = ~_PLAIN_TIME_LENGTHS[np.minimum(lengths, len(_PLAIN_TIME_LENGTHS) - 1)]
    if texts.null_count:
        odd &= is_present(texts)
    return odd


def text_buffers(texts: pa.Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """Return the memory of n texts: offsets int32 (n + 1,), and the bytes that they point into."""
    _, offsets, data = texts.buffers()
    nothing = np.empty(0, dtype=np.uint8)
    if not len(texts):
        return np.zeros(1, dtype=np.int32), nothing
    return (
        np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1],
        nothing if data is None else np.frombuffer(data, dtype=np.uint8),
    )


def _without(texts: pa.Array, hidden: Mask) -> pa.Array:
    """The same texts, null where `hidden`; shares their memory."""
    present = is_present(texts) & ~hidden
    offsets, _ = text_buffers(texts)
    bitmap = pa.py_buffer(np.packbits(present, bitorder="little"))
    return pa.Array.from_buffers(
        pa.string(), len(texts), [bitmap, pa.py_buffer(np.ascontiguousarray(offsets)), texts.buffers()[2]]
    )


def _all_finite(values: pa.Array) -> bool:
    return all(math.isfinite(end) for end in extremes(values) or ())


def _judged(texts: pa.Array, values: pa.Array) -> Converted:
    if texts.null_count == values.null_count:
        return Converted(values)
    bad = is_present(texts) & ~is_present(values)
    return Converted(values, bad if bad.any() else None)


def _any_numbers(raw: pa.Array) -> Converted:
    texts = clean_text(raw)
    matching = pc.match_substring_regex(texts, NUMBER_PATTERN)
    values = pc.if_else(matching, texts, None).cast(pa.float64())
    return _judged(texts, pc.if_else(pc.is_finite(values), values, None))


def _any_integers(raw: pa.Array) -> Converted:
    texts = clean_text(raw)
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


def _any_timestamps(raw: pa.Array) -> Converted:
    """Moments in UTC, without their zone."""
    texts = clean_text(raw)
    shaped = pc.match_substring_regex(texts, TIMESTAMP_PATTERN)
    zoned = pc.match_substring_regex(texts, ZONED_PATTERN)
    with_zone = _moments(pc.if_else(pc.and_(shaped, zoned), texts, None), ARROW_TYPES["timestamp"])
    without = _moments(pc.if_else(pc.and_(shaped, pc.invert(zoned)), texts, None), pa.timestamp("us"))
    return _judged(texts, pc.coalesce(with_zone.cast(pa.timestamp("us")), without))


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
    total = pc.sum(array).as_py() if pa.types.is_float64(array.type) else math.nan
    if total is None or math.isfinite(total):
        return Converted(array)
    numbers = _nan_to_null(array.cast(pa.float64(), safe=False))
    values = pc.if_else(pc.is_finite(numbers), numbers, None)
    bad = is_present(numbers) & ~is_present(values)
    return Converted(values, bad if bad.any() else None)


def _integers_from_native(array: pa.Array) -> Converted:
    if pa.types.is_signed_integer(array.type):
        return Converted(array.cast(pa.int64()))
    if pa.types.is_unsigned_integer(array.type):
        small = pc.less_equal(array.cast(pa.uint64()), pa.scalar(2**63 - 1, pa.uint64()))
        values = pc.if_else(small, array.cast(pa.uint64()), None).cast(pa.int64())
        bad = is_present(array) & ~is_present(values)
        return Converted(values, bad if bad.any() else None)
    numbers = _nan_to_null(array.cast(pa.float64(), safe=False))
    whole = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), 2.0**63))
    values = pc.if_else(whole, numbers, None).cast(pa.int64())
    bad = is_present(numbers) & ~is_present(values)
    return Converted(values, bad if bad.any() else None)


def _booleans_from_native(array: pa.Array) -> Converted:
    if pa.types.is_boolean(array.type):
        return Converted(array)
    one, zero = pc.equal(array, 1), pc.equal(array, 0)
    values = pc.if_else(pc.or_(one, zero), one, None)
    bad = is_present(array) & ~is_present(values)
    return Converted(values, bad if bad.any() else None)


def _timestamps_from_native(array: pa.Array) -> Converted:
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("s" if array.type == pa.date32() else "ms"))
    # A nanosecond is cut to its microsecond; a time without a zone is UTC.
    if array.type.tz is None:
        array = array.cast(pa.timestamp(array.type.unit, "UTC"))
    return Converted(array.cast(ARROW_TYPES["timestamp"], safe=False))


_FROM_TEXT: Mapping[str, Callable[[pa.Array], Converted]] = {
    "category": _categories,
    "text": _texts,
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
