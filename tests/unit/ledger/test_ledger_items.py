"""Plain values become DynamoDB's typed attributes and come back; the SDK reads and writes the same form."""

from __future__ import annotations

from decimal import Decimal

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from dropforge.ledger_table.items import attributes_of, item_of, values_of

_NUMBERS = st.integers(-(10**15), 10**15) | st.floats(-1e15, 1e15).filter(
    lambda value: value == 0 or abs(value) > 1e-100
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.text() | _NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), _VALUES, max_size=5))
def test_what_is_written_is_read_back(values):
    assert values_of(attributes_of(values)) == values


@given(st.dictionaries(st.text(max_size=5), _VALUES, max_size=3))
def test_the_sdk_reads_what_is_written(values):
    read = TypeDeserializer().deserialize({"M": attributes_of(values)})
    assert _plain(read) == values


@given(st.dictionaries(st.text(max_size=5), _VALUES, max_size=3))
def test_what_the_sdk_has_written_is_read(values):
    written = TypeSerializer().serialize(_with_decimals(values))["M"]
    assert values_of(written) == values


def test_an_item_says_nothing_where_there_is_no_value():
    assert item_of({"sk": "a", "version": None}) == {"sk": {"S": "a"}}


def test_what_the_ledger_never_holds_is_refused():
    with pytest.raises(TypeError, match="bytes"):
        attributes_of({"salt": b"x"})
    with pytest.raises(ValueError, match="SS"):
        values_of({"keys": {"SS": ["a"]}})


def _plain(value):
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _with_decimals(value):
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, dict):
        return {name: _with_decimals(each) for name, each in value.items()}
    return [_with_decimals(each) for each in value] if isinstance(value, list) else value
