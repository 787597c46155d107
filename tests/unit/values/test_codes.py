"""Digits with zeros in front are a code: under an integer they are refused, and no other number."""

from __future__ import annotations

import io
import re

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.preparation.dropping import prepare

from dropforge.adapters.tables.reading.blocks import Hints
from dropforge.adapters.tables.reading.csv_table import CsvTable, may_hold_codes
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


@settings(max_examples=2000)
@given(
    st.lists(st.none() | st.text(st.sampled_from("0013xX -+\t.a"), max_size=5), max_size=4), st.integers(0, 4)
)
@example(["2024-01-05 06:07", "0.05", "10", "-0.5", "1e05", "0", "-7"], 0)
def test_a_column_with_a_code_is_found_and_no_other(texts, start):
    holds = any(re.match(r"[ \t]*[+-]?0[0-9xX]", text) for text in texts[start:] if text)
    assert may_hold_codes(pa.array(texts, pa.string())[start:]) == holds


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (["1", "", "-2", "0"], [1, None, -2, 0]),
        (["1", "01", "2"], ["1", "01", "2"]),
        (["1", "0x1F", "2"], ["1", "0x1F", "2"]),
        (["1", "2.5", "2"], ["1", "2.5", "2"]),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
    ],
)
def test_integers_are_numbers_unless_one_could_be_read_otherwise(written, seen):
    data = "".join(f"a,{each},1.5\n" for each in written).encode()
    table = CsvTable(io.BytesIO(b"x,n,y\n" + data), "s3://data/x.csv", 1 << 20)
    hints = Hints({"n": pa.int64(), "y": pa.float64()})
    (block,) = [piece() for piece in table.pieces(["n", "y"], hints)]
    assert block.columns["n"].to_pylist() == seen
    assert block.columns["y"].to_pylist() == [1.5] * len(written)
