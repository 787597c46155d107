from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropforge.adapters.tables.buffers import extremes, floats, is_present, is_true, taken, without

KINDS = {
    pa.float64(): st.floats(allow_nan=False, allow_infinity=False),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.timestamp("us", "UTC"): st.integers(-(10**15), 10**15),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=3),
    pa.dictionary(pa.int32(), pa.string()): st.sampled_from(["a", "b", ""]),
}


@st.composite
def columns(draw, kind: pa.DataType, rows: int) -> pa.Array:
    values = draw(st.lists(st.none() | KINDS[kind], min_size=rows, max_size=rows))
    if draw(st.booleans()):
        values = [value for value in values if value is not None] or [None]
        values = (values * rows)[:rows]
    offset = draw(st.integers(0, 9))
    array = pa.array([None] * offset + values, kind)
    return array.slice(offset)


@st.composite
def batches(draw) -> pa.RecordBatch:
    rows = draw(st.integers(0, 20))
    return pa.RecordBatch.from_arrays([draw(columns(kind, rows)) for kind in KINDS], list(map(str, KINDS)))


@settings(max_examples=25)
@given(batches(), st.data())
def test_rows_are_taken_and_left_out_as_arrow_does(batch, data):
    places = data.draw(st.lists(st.integers(0, batch.num_rows - 1), max_size=30)) if batch.num_rows else []
    assert taken(batch, np.array(places, dtype=np.intp)).equals(batch.take(pa.array(places, pa.int64())))
    marks = np.zeros(batch.num_rows, dtype=np.bool_)
    marks[places] = True
    assert without(batch, marks).equals(batch.filter(pa.array(~marks)))


def test_few_rows_are_left_out_of_many():
    batch = pa.RecordBatch.from_pydict({"x": range(1000), "y": [str(n % 7) for n in range(1000)]})
    marks = np.arange(1000) % 300 == 7
    assert without(batch, marks).equals(batch.filter(pa.array(~marks)))


@settings(max_examples=25)
@given(batches())
def test_masks_say_where_values_are(batch):
    for column in batch.columns:
        assert is_present(column).tolist() == pc.is_valid(column).to_pylist()
    truth = batch.column("bool")
    assert is_true(truth).tolist() == [value is True for value in truth.to_pylist()]


@settings(max_examples=25)
@given(batches())
def test_numbers_and_their_extremes_leave_out_what_is_missing(batch):
    for name in ("double", "int64"):
        column = batch.column(name)
        plain = [math.nan if value is None else float(value) for value in column.to_pylist()]
        assert floats(column).tolist() == pytest.approx(plain, rel=0, abs=0, nan_ok=True)
        present = [value for value in column.to_pylist() if value is not None]
        assert extremes(column) == ((min(present), max(present)) if present else None)
