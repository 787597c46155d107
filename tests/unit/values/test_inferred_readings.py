"""What a first drop is taken for, it can be read as: evidence and reading never disagree."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.preparation.dropping import prepare

from dropforge.adapters.tables.checking.surveying import survey_column
from dropforge.adapters.tables.reading.blocks import Hints, Table
from dropforge.adapters.tables.reading.formats import open_table
from dropforge.domain.contract import Column
from dropforge.domain.formats import Locale, Reading, reading_of
from dropforge.domain.values import DATE_SAMPLES, NUMBER_SAMPLES, ColumnReader, WrongValue

TOLERATED = 0.05
PIECES = (
    *("(", ")", "+", "-", "−", "$", "€", "USD", "%", " ", "\u00a0", ",", ".", "'", "e5", "E-3", "/", ":"),
    *("0", "1", "5", "12", "234", "2024", "31", "02", "13", "00", "T", "Z", "UTC", "AM", "pm", "x", "Death"),
    *("1,234.5", "1.234,5", "1 234", "31/12/2024", "2024.05.12", "05-12-2024", "10:30", "10:30:00", "25:61"),
)
written = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)


def read_as(texts: list[str]) -> tuple[Reading, list[str]]:
    """How a column of these texts is read, and those of them that can't be."""
    reading = reading_of("x", survey_column(pa.array(texts, pa.string())), TOLERATED, Locale())
    reader = ColumnReader(Column("x", reading.kind, format=reading.format, missing=reading.missing))
    unread = []
    for text in texts:
        try:
            reader.read(text)
        except WrongValue:
            unread.append(text)
    return reading, unread


@settings(max_examples=1500)
@given(texts=st.lists(written, min_size=1, max_size=3))
@example(texts=["1887.05.12 - 1893.10.30  (Death)", "1896.01.07 - 1899.01.01  (Death)"])
@example(texts=["30/02/2023", "29/02/2023"])
@example(texts=["31/12/2024 25:00", "31/12/2024 10:61"])
@example(texts=["31/12/2024 13:00 PM"])
@example(texts=["((5,000)", "5)"])
@example(texts=["1,234.5$5"])
def test_a_column_can_be_read_as_what_its_first_values_are_taken_for(texts):
    reading, unread = read_as(texts)
    assert len(unread) <= reading.strays, (reading, unread)


@pytest.mark.parametrize("sample", DATE_SAMPLES)
@pytest.mark.parametrize("clock", ["", " 5:06", " 05:06:07.123", "T05:06:07Z", " 5:06 PM", " 5:06:07+02:00"])
def test_dates_are_found_with_and_without_a_time_of_day(sample, clock):
    date = sample.replace("dd", "25").replace("mm", "12").replace("yyyy", "2024")
    reading, unread = read_as([date + clock, date.replace("25", "26") + clock])
    assert (reading.kind, reading.format, unread) == ("timestamp", sample, [])


@pytest.mark.parametrize("sample", [sample for sample in NUMBER_SAMPLES if sample != "1234.5"])
@pytest.mark.parametrize(
    "around", ["{}", "({})", "-{}", "−{}", "${}", "-${}", "$-{}", "{} €", "EUR {}", "{}%"]
)
def test_amounts_are_found_with_signs_and_units(sample, around):
    reading, unread = read_as([around.format(sample), around.format(sample.replace("234", "567"))])
    assert (reading.kind, unread) == ("number", [])
    assert sample in (reading.format or "")


def open_table_of(data: bytes) -> AbstractContextManager[Table]:
    store = InMemoryObjectStore({"s3://data/x.jsonl": data})
    return open_table(store, store.pinned("s3://data/x.jsonl"), 1 << 20)


def jsonl(values: list[str]) -> bytes:
    return "".join(f'{{"x": {value}, "y": {"01"[i % 2]}}}\n' for i, value in enumerate(values)).encode()


@pytest.mark.parametrize("largest", ["3.0", "1e20", "1.7976931348623157e308", "3e0"])
def test_a_column_of_json_with_points_is_a_number_although_all_are_whole(largest):
    data = jsonl([f"{i}.0" for i in range(399)] + [largest])
    outcome = prepare(("x.jsonl", data))
    assert outcome.contract.column("x").type == "number"
    later = prepare(
        ("x.jsonl", data), ("y.jsonl", jsonl([f"{i}.5" for i in range(400)])), store=outcome.store
    )
    assert (later.contract, later.prepared.rejected) == (outcome.contract, 0)


def test_whole_numbers_with_points_are_labels_and_identifiers_without():
    data = "".join(f'{{"id": {i}.0, "x": {i % 7}.5, "y": {i % 2}.0}}\n' for i in range(400)).encode()
    outcome = prepare(("x.jsonl", data), key="id")
    assert (outcome.contract.classes, outcome.contract.column("id").type) == (("0", "1"), "integer")
    assert sorted(outcome.values("id")) == list(range(400))


@pytest.mark.parametrize("value", ["9007199254740993", "1e400", "Infinity"])
def test_a_number_that_no_float_holds_stays_as_it_is_beside_numbers_with_points(value):
    with open_table_of(f'{{"x": 2.0}}\n{{"x": {value}}}\n'.encode()) as table:
        (block,) = table.blocks(None, Hints())
    assert block.columns["x"].to_pylist() == ["2", value]


def test_errors_of_spreadsheets_among_numbers_are_missing():
    values = ["1.5", "#DIV/0!", "2", "#REF!", "#N/A", "#VALUE!"]
    data = "".join(f"{values[i % 6]},{i * 7 % 31},{i % 2}\n" for i in range(400))
    outcome = prepare(f"ratio,x,y\n{data}".encode())
    assert outcome.contract.column("ratio").type == "number"
    assert (set(outcome.values("ratio")), outcome.prepared.rejected) == ({1.5, 2.0, None}, 0)
