"""Works on the memory behind Arrow arrays, where numpy is several times faster than Arrow's own kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

_MOSTLY = 0.02
"""Share of rows up to which leaving them out is copying the runs between them."""


def is_present(values: pa.Array) -> Mask:
    """Return where there is a value, bool (n,)."""
    bitmap = values.buffers()[0]
    if not values.null_count or bitmap is None:
        return np.full(len(values), not values.null_count, dtype=np.bool_)
    return _bits(bitmap, values.offset, len(values))


def is_true(values: pa.BooleanArray) -> Mask:
    """Return where the value is true and not missing, bool (n,)."""
    if not len(values):
        return np.zeros(0, dtype=np.bool_)
    true = _bits(values.buffers()[1], values.offset, len(values))
    return true & is_present(values) if values.null_count else true


def floats(values: pa.Array) -> npt.NDArray[np.float64]:
    """Return numbers or moments as an array of its own, float64 (n,), NaN where there is none."""
    found = _fixed(values).astype(np.float64)
    if values.null_count:
        found[np.flatnonzero(~is_present(values))] = np.nan
    return found


def extremes(values: pa.Array) -> tuple[float, float] | None:
    """Return the least and the greatest number; None if there is none."""
    if not pa.types.is_float64(values.type):
        found = pc.min_max(values)
        return (found["min"].as_py(), found["max"].as_py()) if found["min"].is_valid else None
    if len(values) == values.null_count:
        return None
    numbers = floats(values) if values.null_count else _fixed(values)
    return float(np.fmin.reduce(numbers)), float(np.fmax.reduce(numbers))


def looked_up(table: npt.NDArray[Any], codes: pa.Array) -> npt.NDArray[Any]:
    """Return an entry of a table per code, (n,); any entry where there is no code."""
    if not len(table):
        return np.zeros(len(codes), dtype=table.dtype)
    return table.take(_fixed(codes), mode="clip")


def counted_codes(values: pa.DictionaryArray) -> npt.NDArray[np.intp]:
    """Count how often each entry of the dictionary stands for a value, int (entries,)."""
    codes = _fixed(values.indices)
    if values.null_count:
        codes = codes[is_present(values)]
    return np.bincount(codes, minlength=len(values.dictionary))


def encoded(codes: npt.NDArray[np.int32], present: Mask | None, texts: pa.Array) -> pa.DictionaryArray:
    """Return encoded texts, given their codes and, unless all are, which of them are there."""
    bitmap = None if present is None else pa.py_buffer(np.packbits(present, bitorder="little"))
    indices = pa.Array.from_buffers(pa.int32(), len(codes), [bitmap, pa.py_buffer(codes)])
    return pa.DictionaryArray.from_arrays(indices, texts, safe=False)


def taken(rows: pa.RecordBatch, places: Rows) -> pa.RecordBatch:
    """Return the rows at these places."""
    return pa.RecordBatch.from_arrays([_taken(column, places) for column in rows.columns], schema=rows.schema)


def without(rows: pa.RecordBatch, left_out: Mask) -> pa.RecordBatch:
    """Return the rows but for the ones that are marked, bool (n,)."""
    count = int(np.count_nonzero(left_out))
    if not count:
        return rows
    kept = pa.array(~left_out)
    if count > _MOSTLY * len(left_out):
        return rows.filter(kept)
    return pa.RecordBatch.from_arrays(
        [pc.filter(column, kept) for column in rows.columns], schema=rows.schema
    )


def _taken(values: pa.Array, places: Rows) -> pa.Array:
    kind = values.type
    if pa.types.is_dictionary(kind):
        indices = _taken(values.indices, places)
        return pa.DictionaryArray.from_arrays(indices, values.dictionary, safe=False)
    if not pa.types.is_primitive(kind):
        return values.take(pa.array(places))
    if not len(values):
        return values
    present = None
    if values.null_count:
        present = pa.py_buffer(np.packbits(is_present(values).take(places), bitorder="little"))
    if pa.types.is_boolean(kind):
        true = _bits(values.buffers()[1], values.offset, len(values)).take(places)
        data: npt.NDArray[Any] = np.packbits(true, bitorder="little")
    else:
        data = _fixed(values).take(places)
    return pa.Array.from_buffers(kind, len(places), [present, pa.py_buffer(data)])


def _fixed(values: pa.Array) -> npt.NDArray[Any]:
    """Return the memory of values of a fixed number of bytes, whatever stands where there is none."""
    kind = values.type
    # Not `to_pandas_dtype`, which imports pandas: no layer has it.
    letter = "f" if pa.types.is_floating(kind) else "u" if pa.types.is_unsigned_integer(kind) else "i"
    dtype = np.dtype(f"{letter}{kind.bit_width // 8}")
    if not len(values):
        return np.empty(0, dtype=dtype)
    return np.frombuffer(values.buffers()[1], dtype=dtype)[values.offset : values.offset + len(values)]


def _bits(bitmap: pa.Buffer, offset: int, count: int) -> Mask:
    first = offset // 8
    packed = np.frombuffer(bitmap, dtype=np.uint8)[first : (offset + count + 7) // 8]
    bits = np.unpackbits(packed, bitorder="little", count=offset - 8 * first + count)
    return bits[offset - 8 * first :].view(np.bool_)
