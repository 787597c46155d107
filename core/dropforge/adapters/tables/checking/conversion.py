"""From what a file holds to what the contract says a column holds, keeping apart what doesn't fit.

Every path yields the same: whether a block came typed from the parser or as text never shows in the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dropforge.adapters.tables.buffers import Mask, extremes, is_present, looked_up
from dropforge.domain.row_rules import (
    FALSE_SPELLINGS,
    INTEGER_PATTERN,
    LEADING_ZERO_PATTERN,
    MISSING_SPELLINGS,
    NUMBER_PATTERN,
    TRUE_SPELLINGS,
    WHOLE_PATTERN,
    label_of,
    whole_number,
)
from dropforge.domain.values import BLANKS, CODE, ColumnReader, WrongValue

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
_PLAIN_TYPES = {"category": pa.string()}
USUAL_MISSING = pa.array(sorted(MISSING_SPELLINGS), pa.string())
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


def clean_text(texts: pa.Array, missing: pa.Array = USUAL_MISSING) -> pa.Array:
    """Trim spaces and tabs and make the texts that mean a missing value null."""
    trimmed = pc.ascii_trim(texts, BLANKS)
    return pc.if_else(pc.is_in(trimmed, value_set=missing), pa.scalar(None, pa.string()), trimmed)


def encode(texts: pa.Array, missing: pa.Array = USUAL_MISSING) -> pa.DictionaryArray:
    """Return texts, encoded or not, as cleaned and encoded ones."""
    encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    if encoded.type != ENCODED_TEXT:
        encoded = encoded.cast(ENCODED_TEXT)
    distinct = clean_text(encoded.dictionary, missing)
    if distinct.equals(encoded.dictionary):
        return encoded
    # Values that were different before have become one, or missing.
    codes = distinct.dictionary_encode()
    return pa.DictionaryArray.from_arrays(codes.indices.take(encoded.indices), codes.dictionary)


def fits(native: pa.DataType, reader: ColumnReader) -> bool:
    """Whether a file's declared type can hold values of the contract's type at all."""
    column_type = reader.column.type
    if pa.types.is_null(native) or pa.types.is_string(native):
        return True
    if pa.types.is_large_string(native) or pa.types.is_string_view(native):
        return True
    numeric = pa.types.is_integer(native) or pa.types.is_floating(native) or pa.types.is_decimal(native)
    if column_type in ("category", "text"):
        return not (numeric and reader.is_code)
    if column_type in ("number", "integer"):
        return bool(numeric)
    if column_type == "boolean":
        return bool(pa.types.is_boolean(native) or pa.types.is_integer(native))
    return bool(pa.types.is_timestamp(native) or pa.types.is_date(native) or (numeric and reader.is_epoch))


class Converter:
    """Reads a column of a block as its `ColumnReader` reads value by value.

    Args:
        reader: of the contract's column.
    """

    def __init__(self, reader: ColumnReader) -> None:
        self._reader, self._kind = reader, reader.column.type
        self._missing = (
            USUAL_MISSING if reader.reads_usual_spellings else pa.array(sorted(reader.missing), pa.string())
        )
        kind = ARROW_TYPES[self._kind]
        self._missing_numbers = (
            pa.array(sorted(reader.missing_numbers), pa.float64()).cast(kind, safe=False)
            if (reader.missing_numbers)
            else None
        )
        # Values of odd formats are read one by one, each text once.
        self._is_plain = reader.column.format in (None, CODE)

    def convert(self, array: pa.Array) -> Converted:
        """Convert a column of a block.

        Args:
            array: text, encoded or not, or a type that `fits` the column's. Categories come out encoded.
        """
        converted = self._converted(array)
        if not self._reader.missing_numbers:
            return converted
        missing = pc.is_in(converted.values, value_set=self._missing_numbers)
        return Converted(pc.if_else(missing, None, converted.values), converted.bad)

    def _converted(self, array: pa.Array) -> Converted:
        if array.null_count == len(array):
            # Whatever type a file gives a column without values.
            return Converted(pa.nulls(len(array), ARROW_TYPES[self._kind]))
        if pa.types.is_string(array.type) or pa.types.is_dictionary(array.type):
            return self._from_text(array) if self._is_plain else self._one_by_one(array)
        if self._kind in ("category", "text"):
            texts = native_text(array)
            return Converted(texts.dictionary_encode() if self._kind == "category" else texts)
        if self._kind == "timestamp" and not (
            pa.types.is_timestamp(array.type) or pa.types.is_date(array.type)
        ):
            return self._one_by_one(native_text(array))
        return _FROM_NATIVE[self._kind](array)

    def _from_text(self, texts: pa.Array) -> Converted:
        if self._kind == "category":
            return Converted(encode(texts, self._missing))
        if self._kind == "text":
            if pa.types.is_dictionary(texts.type):
                return Converted(encode(texts, self._missing).cast(pa.string()))
            return Converted(clean_text(texts, self._missing))
        if self._kind == "boolean":
            encoded = encode(texts, self._missing)
            distinct = encoded.dictionary
            true, false = pc.is_in(distinct, value_set=_TRUE), pc.is_in(distinct, value_set=_FALSE)
            return _judged(encoded, pc.if_else(pc.or_(true, false), true, None).take(encoded.indices))
        texts = texts.cast(pa.string()) if pa.types.is_dictionary(texts.type) else texts
        if self._kind == "number":
            return self._mostly_plain(texts, _outside_digits, pa.float64(), _any_numbers)
        if self._kind == "integer":
            return self._mostly_plain(texts, _outside_codes, pa.int64(), _any_integers_but_codes)
        converted = self._mostly_plain(texts, _outside_lengths, pa.timestamp("us"), self._any_timestamps)
        return Converted(converted.values.cast(ARROW_TYPES["timestamp"]), converted.bad)

    def _any_timestamps(self, texts: pa.Array) -> Converted:
        converted = self._one_by_one(texts)
        return Converted(converted.values.cast(pa.timestamp("us")), converted.bad)

    def _one_by_one(self, texts: pa.Array) -> Converted:
        encoded = encode(texts, self._missing)
        values: list[Any] = []
        bad = np.zeros(len(encoded.dictionary), dtype=np.bool_)
        for place, text in enumerate(encoded.dictionary.to_pylist()):
            try:
                values.append(None if text is None else self._reader.read(text))
            except WrongValue:
                values.append(None)
                bad[place] = True
        kind = (
            pa.int64() if self._kind == "timestamp" else _PLAIN_TYPES.get(self._kind, ARROW_TYPES[self._kind])
        )
        found = pa.array(values, kind).take(encoded.indices).cast(ARROW_TYPES[self._kind])
        if not bad.any():
            return Converted(found)
        return Converted(found, looked_up(bad, encoded.indices) & is_present(encoded))

    def _mostly_plain(
        self,
        texts: pa.Array,
        odd_values: Callable[[pa.Array], Mask],
        kind: pa.DataType,
        any_values: Callable[[pa.Array], Converted],
    ) -> Converted:
        """Cast at once what is surely written plainly, and look at the few other values one by one.

        Args:
            odd_values: marks (bool (n,)) every value that the cast would read otherwise than `any_values`
                does, and may mark others.
            kind: what to cast to.
            any_values: reads values of all spellings, cleaned.
        """
        odd = odd_values(texts)
        count = int(odd.sum())
        if count > _FEW * len(texts):
            return any_values(clean_text(texts, self._missing))
        try:
            values = (_without(texts, odd) if count else texts).cast(kind)
        except pa.ArrowInvalid:
            return any_values(clean_text(texts, self._missing))
        if pa.types.is_floating(kind) and not _all_finite(values):
            return any_values(clean_text(texts, self._missing))
        if not count:
            return Converted(values)
        others = any_values(clean_text(texts.filter(pa.array(odd)), self._missing))
        bad = None
        if others.bad is not None:
            bad = np.zeros(len(texts), dtype=np.bool_)
            bad[odd] = others.bad
        return Converted(pc.replace_with_mask(values, pa.array(odd), others.values), bad)


@cache
def converter_of(reader: ColumnReader) -> Converter:
    """Return the converter of a contract's column; the same each time."""
    return Converter(reader)


def native_text(array: pa.Array) -> pa.Array:
    """Write each value of a file's own type as the text that stands for it; NaN is missing.

    Whole numbers have no point, so that the same identifiers are the same texts in every format.
    """
    kind = array.type
    if pa.types.is_string(kind):
        return array
    if pa.types.is_boolean(kind):
        return pc.if_else(array, "true", "false")
    if pa.types.is_decimal(kind):
        return pc.replace_substring_regex(
            array.cast(pa.string()), r"^(-?[0-9]+)\.0+$|(\.[0-9]*?)0+$", r"\1\2"
        )
    if pa.types.is_floating(kind):
        numbers = _nan_to_null(widened(array))
        return pa.array([None if v is None else label_of(v) for v in numbers.to_pylist()], pa.string())
    if pa.types.is_date(kind):
        array = array.cast(pa.timestamp("s" if kind == pa.date32() else "ms"))
    if pa.types.is_timestamp(array.type):
        if array.type.tz is not None:
            array = array.cast(pa.timestamp(array.type.unit, "UTC"))
        texts = pc.strftime(array, format="%Y-%m-%dT%H:%M:%S")
        return pc.binary_join_element_wise(
            pc.replace_substring_regex(texts, r"\.?0+$|(\.[0-9]*?)0+$", r"\1")
            if array.type.unit != "s"
            else texts,
            "Z",
            "",
        )
    return array.cast(pa.string())


def as_text(array: pa.Array) -> pa.Array:
    """Write each value as the text that stands for it, where no contract says what is missing."""
    if pa.types.is_dictionary(array.type):
        return encode(array).cast(pa.string())
    return clean_text(array) if pa.types.is_string(array.type) else native_text(array)


def widened(array: pa.Array) -> pa.Array:
    """Return the nearest float64: of a narrower float the decimal number that it stands for, 0.1 as 0.1."""
    if pa.types.is_float16(array.type) or pa.types.is_float32(array.type):
        narrow = array.to_numpy(zero_copy_only=False)
        distinct, places = np.unique(narrow, return_inverse=True)
        wide = np.array([float(str(value)) for value in distinct], dtype=np.float64)
        return pa.array(wide[places], pa.float64(), mask=~is_present(array))
    if pa.types.is_decimal(array.type):
        # Arrow's own cast scales by a rounded power of ten: 18.24 becomes 18.240000000000002.
        array = array.cast(pa.string())
    return array.cast(pa.float64(), safe=False)


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


def _outside_codes(texts: pa.Array) -> Mask:
    """Mark as `_outside_digits` does, and values with a leading zero."""
    odd = _outside_digits(texts)
    offsets, data = text_buffers(texts)
    starts = np.flatnonzero(np.diff(offsets) > 1)
    odd[starts[data[offsets[starts]] <= np.uint8(ord("0"))]] = True
    return odd & is_present(texts) if texts.null_count else odd


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


def _any_numbers(texts: pa.Array) -> Converted:
    matching = pc.match_substring_regex(texts, NUMBER_PATTERN)
    values = pc.if_else(matching, texts, None).cast(pa.float64())
    return _judged(texts, pc.if_else(pc.is_finite(values), values, None))


def any_integers(texts: pa.Array) -> Converted:
    """Read cleaned texts as integers of 64 bits, also with zeros in front."""
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


def _any_integers_but_codes(texts: pa.Array) -> Converted:
    """Integers without leading zeros: 03 is a code, and another one than 3."""
    values = any_integers(texts).values
    padded = pc.match_substring_regex(texts, LEADING_ZERO_PATTERN)
    return _judged(texts, pc.if_else(padded, pa.scalar(None, pa.int64()), values))


def _nan_to_null(numbers: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_nan(numbers), None, numbers)


def _numbers_from_native(array: pa.Array) -> Converted:
    total = pc.sum(array).as_py() if pa.types.is_float64(array.type) else math.nan
    if total is None or math.isfinite(total):
        return Converted(array)
    numbers = _nan_to_null(widened(array))
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
    if pa.types.is_decimal(array.type):
        return any_integers(native_text(array))
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


_FROM_NATIVE = {
    "number": _numbers_from_native,
    "integer": _integers_from_native,
    "boolean": _booleans_from_native,
    "timestamp": _timestamps_from_native,
}
