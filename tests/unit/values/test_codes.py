"""Digits with zeros in front are a code: under an integer they are refused, and no other number."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.preparation.dropping import prepare

from dropforge.adapters.tables.csv_table import _may_hold_codes
from dropforge.domain.contract import Column
from dropforge.domain.errors import SchemaChanged
from dropforge.domain.values import ColumnReader, WrongValue


def months(write, rows: int = 400, start: int = 0, delimiter: str = ",") -> bytes:
    lines = [
        delimiter.join([write(1 + i % 12), f"{i * 0.37:.2f}", "yes" if i * 7 % 5 < 2 else "no"])
        for i in range(start, start + rows)
    ]
    return (delimiter.join(["month", "x", "y"]) + "\n" + "\n".join(lines) + "\n").encode()


@pytest.fixture
def pinned():
    return prepare(months("{}".format)).store


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_column_of_codes_under_a_pinned_integer_is_a_changed_schema(pinned, delimiter):
    codes = months("{:02d}".format, start=1000, delimiter=delimiter)
    with pytest.raises(
        SchemaChanged, match="column 'month' was integer, is category written as 00"
    ) as refused:
        prepare(codes, store=pinned, run_id="second")
    assert "dropforge contract accept second" in str(refused.value)


@pytest.mark.parametrize("written", ["07", '"07"', " 07", "-07", "+07", "007.0", "00"])
def test_single_codes_are_rejected_rows(pinned, written):
    lines = months("{}".format, start=1000).splitlines()
    lines[200] = written.encode() + lines[200][lines[200].index(b",") :]
    outcome = prepare(b"\n".join([*lines, b""]), store=pinned, run_id="second")
    (reject,) = outcome.rejected()
    assert (reject["column"], reject["rule"], reject["row"]) == ("month", "type", 200)
    assert reject["value"] == written.strip(' "')


def test_numbers_may_be_filled_up():
    assert ColumnReader(Column("x", "number")).read("07") == 7.0
    assert ColumnReader(Column("x", "number")).read("05.30") == 5.3


def test_a_request_is_told_why():
    with pytest.raises(WrongValue, match="an integer, not the string '07': its zeros say that it is a code"):
        ColumnReader(Column("x", "integer")).read("07")
    assert ColumnReader(Column("x", "integer")).read("0") == 0
    assert ColumnReader(Column("x", "integer")).read("-0.0") == 0


@settings(max_examples=2000, deadline=None)
@given(st.text(st.sampled_from('0013,;|\n\r" -+\t.a'), max_size=9), st.sampled_from(",;|\t"))
@example("2024-01-05 06:07\n", ",")
def test_every_block_with_a_code_is_found(text, delimiter):
    ends = re.escape('\n\r"' + delimiter)
    holds = re.search(rf"(?:^|[{ends}])[ \t]*[+-]?0[0-9]", text)
    found = _may_hold_codes(memoryview(text.encode()), delimiter)
    assert found or not holds


def test_dates_and_fractions_hold_none():
    assert not _may_hold_codes(memoryview(b"2024-01-05 06:07,0.05,10,-0.5,1e05,0\n"), ",")
