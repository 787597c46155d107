"""One value, one meaning: whichever way a value comes in, it means what the scalar reference says.

The environment variable DROPFORGE_EXAMPLES says how many tables to try; each holds several values.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.in_memory_store import InMemoryObjectStore

from dropforge.adapters.tables.batch_tables import StreamedBatchTables
from dropforge.adapters.tables.checking.contract_check import check_block, check_columns, reading_hints
from dropforge.adapters.tables.reading.formats import open_table
from dropforge.adapters.tables.staging.outline import Outline
from dropforge.adapters.tables.writing.profiling import profile_table
from dropforge.domain.batch import ScorableRow
from dropforge.domain.contract import Column, Contract
from dropforge.domain.drift.baseline import CategoricalBaseline, NumericBaseline, column_of
from dropforge.domain.drift.features import compare
from dropforge.domain.instance_rules import InvalidInstances, checked_values, parse_json, read_instances
from dropforge.domain.instances import columns_of_csv, columns_of_json
from dropforge.domain.predictions import logged_inputs
from dropforge.domain.values import WrongValue, class_of
from dropforge_ops.console.reading.trying import instance_of, problems_of

pytestmark = pytest.mark.timeout(1800)

EXAMPLES = int(os.environ.get("DROPFORGE_EXAMPLES", "2000"))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SENTINEL = "-999"

FEATURES = (
    Column("number", "number", nullable=True),
    Column("sentinel", "number", nullable=True, missing=("", SENTINEL, "?")),
    Column("money", "number", nullable=True, format="$1,234.5"),
    Column("euro", "number", nullable=True, format="1.234,5 €"),
    Column("percent", "number", nullable=True, format="1234.5%"),
    Column("integer", "integer", nullable=True),
    Column("boolean", "boolean", nullable=True),
    Column("category", "category", nullable=True),
    Column("exact", "category", nullable=True, missing=()),
    Column("listed", "category", nullable=True, categories=("NA", "None", "a")),
    Column("code", "category", nullable=True, format="00"),
    Column("moment", "timestamp", nullable=True),
    Column("day_first", "timestamp", nullable=True, format="dd/mm/yyyy"),
    Column("epoch", "timestamp", nullable=True, format="epoch seconds"),
)
CONTRACT = Contract(
    "y",
    "id",
    "binary",
    ("no", "yes"),
    (*FEATURES, Column("id", "integer", "key"), Column("y", "category", "target")),
)

ALONE = {
    column.name: Contract("y", None, "binary", ("no", "yes"), (column, Column("y", "category", "target")))
    for column in FEATURES
}
"""For requests about one column."""

TEXTS = (
    *(
        "",
        " ",
        "NA",
        " nan ",
        "None",
        "null",
        "?",
        "-",
        "-999",
        "-999.0",
        "n/a",
        " Private",
        "Private\t",
        "a",
        "b",
    ),
    *(
        "0",
        "1",
        "-0",
        "0.0",
        "-0.0",
        "007",
        "03",
        "3",
        "+3",
        " 3 ",
        "5.0",
        "5.",
        ".5",
        "1e3",
        "1E3",
        "1_000",
        "05.3",
    ),
    *(
        "1e400",
        "inf",
        "-Infinity",
        "0x1F",
        "1,234",
        "1,234.5",
        "1.234",
        "1.234,5",
        "12,5",
        "12.5",
        "12.5%",
        "%",
    ),
    *(
        "$25,479",
        "$1,273.95",
        "-$5",
        "$-5",
        "($1,000)",
        "(5)",
        "−5",
        "5 €",
        "€5",
        "EUR 5",
        "$ 7",
        "1 234",
        "$",
    ),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "12345678901234567890123"),
    *("true", "TRUE", "False", "T", "yes", "01", "12", "123", "x1", "٣", "\u00a01", "é", "x" * 300),
    *(
        "2024-01-01",
        "2024-02-30",
        "2024-01-01T10:00:00Z",
        "2024-01-01 10:00:00.5+02:00",
        "2024-01-01 10:00 UTC",
    ),
    *("2024-01-01T10:00:00+00", "2024-01-01T10:00:00.123456789Z", "2024-1-1", "0001-01-01", "9999-12-31"),
    *("2024-01-01T25:00", "2024-01-01T10:00:60", "2024-01-01T10", "20240101", "2024-01-01T10:00:00+0530"),
    *("03/04/2024", "31/12/2024", "12/31/2024", "3/4/2024 5:06 PM", "03/04/2024 13:06:07.5", "30/02/2024"),
    *("1700000000", "1700000000.25", "-1", "1e9"),
)
text = st.one_of(
    st.sampled_from(TEXTS),
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(-(10**9), 10**9, places=2, allow_nan=False).map("{:,}".format),
    st.datetimes().map(datetime.isoformat),
    st.text(st.sampled_from(" \t$€%()-−+.,0123456789eE'"), max_size=8),
)
json_value = st.one_of(
    st.none(),
    st.booleans(),
    text,
    st.integers(-(2**65), 2**65),
    st.sampled_from([0.1, 5.0, -0.0, 1e22, 2.0**53, 1.5, -999.0, 1700000000.5, 1e-7, 1e308, 3, 0, 1]),
    st.floats(allow_nan=False, allow_infinity=False),
)


def meaning(column: Column, written: Any) -> Any:
    """What the reference says: None where it is missing, Ellipsis where the column can't hold it."""
    try:
        value = CONTRACT.reader(column.name).read(written)
    except WrongValue:
        return ...
    if column.categories is not None and value is not None and value not in column.categories:
        return ...
    return value


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def prepared(data: bytes, name: str, columns: tuple[Column, ...] = FEATURES) -> dict[str, list[Any]]:
    """What preparation makes of each value of a file of one column or more."""
    store = InMemoryObjectStore({f"s3://data/{name}": data})
    (ref,) = store.list(f"s3://data/{name}")
    found: dict[str, list[Any]] = {column.name: [] for column in columns}
    with open_table(store, ref, 1 << 20) as table:
        for block in table.blocks([c.name for c in columns], reading_hints(CONTRACT)):
            assert not block.bad
            checked = check_columns(block, columns, CONTRACT)
            for column in columns:
                values = [_plain(value) for value in checked.typed[column.name].to_pylist()]
                for group in checked.rejects:
                    if group.column == column.name:
                        for position in group.positions.tolist():
                            values[position] = ...
                found[column.name] += values
    return found


def _plain(value: Any) -> Any:
    return (value - EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else value


def requested(column: Column, written: Any) -> Any:
    """What a request's value means to the prediction API, checked to be what the endpoint makes of it."""
    contract, body = ALONE[column.name], json.dumps({"instances": [{column.name: written}]}).encode()
    try:
        (read,) = read_instances(contract, parse_json(body)["instances"])
    except InvalidInstances:
        with pytest.raises(InvalidInstances):
            columns_of_json(contract, body)
        return ...
    # What is forwarded and logged means the same again.
    assert read_instances(contract, [read]) == [read]
    forwarded = _of_array(column, checked_values(contract, [read])[column.name][0])
    direct = _of_array(column, columns_of_json(contract, body)[column.name][0])
    assert forwarded == direct
    return direct


def filled_in(column: Column, written: str) -> Any:
    """What a text in the console's form, or in a file that is tried there, means to the endpoint."""
    contract = ALONE[column.name]
    instance = instance_of(contract, {column.name: written})
    if problems_of(contract, instance):
        return ...
    body = json.dumps({"instances": [instance]}).encode()
    return _of_array(column, columns_of_json(contract, body)[column.name][0])


def _of_array(column: Column, value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value) if column.type == "category" else float(value)


def as_array(column: Column, value: Any) -> Any:
    """The reference's value as a column array holds it."""
    if value is None or value is ...:
        return value
    return value if column.type == "category" else float(value)


def quoted(text_: str) -> str:
    return '"' + text_.replace('"', '""') + '"'


@settings(max_examples=EXAMPLES)
@given(texts=st.lists(text, min_size=1, max_size=2))
@example(texts=list(TEXTS))
def test_texts_mean_the_same_in_every_file_and_request(texts):
    header = ",".join(column.name for column in FEATURES)
    rows = [",".join([quoted(each)] * len(FEATURES)) for each in texts]
    csv = prepared(("\n".join([header, *rows]) + "\n").encode(), "x.csv")
    lines = "".join(json.dumps({c.name: each for c in FEATURES}) + "\n" for each in texts)
    jsonl = prepared(lines.encode(), "x.jsonl")
    table = pa.table({column.name: pa.array(texts, pa.string()) for column in FEATURES})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    parquet = prepared(sink.getvalue(), "x.parquet")
    for column in FEATURES:
        for place, each in enumerate(texts):
            expected = meaning(column, each)
            where = (column.name, each)
            assert same(csv[column.name][place], expected), (where, "csv", expected)
            assert same(jsonl[column.name][place], expected), (
                where,
                "jsonl",
                jsonl[column.name][place],
                expected,
            )
            assert same(parquet[column.name][place], expected), (where, "parquet", expected)
            assert same(requested(column, each), as_array(column, expected)), (where, "request", expected)
            assert same(filled_in(column, each), as_array(column, expected)), (where, "form", expected)
            _assert_endpoint_csv(column, each, expected)


@pytest.mark.parametrize("column", FEATURES, ids=lambda column: column.name)
def test_profile_and_drift_see_what_training_saw_of_known_texts(column):
    _assert_profile_and_drift(column, list(TEXTS))


@settings(max_examples=EXAMPLES)
@given(column=st.sampled_from(FEATURES), texts=st.lists(text, min_size=1, max_size=3))
def test_profile_and_drift_see_what_training_saw(column, texts):
    _assert_profile_and_drift(column, texts)


def _assert_profile_and_drift(column: Column, texts: list[str]) -> None:
    good = [each for each in texts if meaning(column, each) is not ...]
    if not good:
        return
    contract = ALONE[column.name]
    baseline = profiled(column, [each for each in good for _ in range(20)])
    expected = [meaning(column, each) for each in good]
    missing = 20 * expected.count(None)
    assert (baseline.count, baseline.missing) == (20 * len(good) - missing, missing), column.name
    if isinstance(baseline, CategoricalBaseline):
        words = Counter(str(class_of(value)) for value in expected if value is not None)
        counted = zip(baseline.values, baseline.counts.tolist(), strict=True)
        assert dict(counted) == {word: 20 * count for word, count in words.items()}, column.name
    else:
        numbers = sorted(float(value) for value in expected if value is not None)
        assert sorted(set(baseline.values.tolist())) == sorted(set(numbers)), column.name
    # The same rows as requests, as the log keeps them: nothing has drifted.
    (logged,) = [
        [logged_inputs(contract, each, b"salt")[column.name] for each in read_instances(contract, asked)]
        for asked in [[{column.name: each} for each in good for _ in range(20)]]
    ]
    found = compare(baseline, logged, level=0.01, minimum_rows=1, seed=0)
    assert found.missing == missing, column.name
    if column.type != "timestamp":
        assert found.p_value == pytest.approx(1.0, abs=0.01), (column.name, good, found.statistics)


def profiled(column: Column, texts: list[str]) -> NumericBaseline | CategoricalBaseline:
    """The column's entry of the profile of a file with these texts, as drift reads it."""
    contract = ALONE[column.name]
    rows = "".join(f"{quoted(each)},{'yes' if place % 2 else 'no'}\n" for place, each in enumerate(texts))
    store = InMemoryObjectStore({"s3://data/x.csv": f"{column.name},y\n{rows}".encode()})
    (ref,) = store.list("s3://data/x.csv")
    with open_table(store, ref, 1 << 20) as table:
        (block,) = table.blocks([column.name, "y"], reading_hints(contract))
    checked = check_block(block, contract)
    outline = Outline(contract)
    outline.add(checked.rows, checked.lanes[0])
    kept = pa.Table.from_batches([checked.rows])
    profile = profile_table(kept, contract, outline.rulers())[column.name]
    entry = {"name": column.name, "type": column.type, "role": "feature", **profile.to_dict()}
    return column_of(json.loads(json.dumps(entry)))


def _assert_endpoint_csv(column: Column, written: str, expected: Any) -> None:
    body = f"{column.name}\n{quoted(written)}\n".encode()
    try:
        found = _of_array(column, columns_of_csv(ALONE[column.name], body)[column.name][0])
    except InvalidInstances:
        found = ...
    assert same(found, as_array(column, expected)), (column.name, written, found, expected)


@settings(max_examples=EXAMPLES)
@given(values=st.lists(json_value, min_size=1, max_size=2))
@example(values=[0.1, 5.0, -0.0, 1e22, 2**63, -999, True, None, "NA", 12, 123])
def test_values_of_json_mean_the_same_in_lines_and_requests(values):
    columns = tuple(column for column in FEATURES if not CONTRACT.reader(column.name).is_code)
    lines = "".join(json.dumps({column.name: value for column in columns}) + "\n" for value in values)
    found = prepared(lines.encode(), "x.jsonl", columns)
    for column in columns:
        for value, read in zip(values, found[column.name], strict=True):
            expected = meaning(column, value)
            assert same(read, expected), (column.name, value, read, expected)
            assert same(requested(column, value), as_array(column, expected)), (column.name, value, expected)


@settings(max_examples=EXAMPLES // 4)
@given(texts=st.lists(text, min_size=1, max_size=4))
@example(texts=list(TEXTS))
def test_batches_read_as_drops_do(texts):
    names = [column.name for column in FEATURES]
    for column in FEATURES:
        rows = [
            ",".join([*(quoted(each) if name == column.name else "" for name in names), str(number)])
            for number, each in enumerate(texts)
        ]
        store = InMemoryObjectStore(
            {"s3://data/x.csv": "\n".join([",".join([*names, "id"]), *rows, ""]).encode()}
        )
        (ref,) = store.list("s3://data/x.csv")
        with StreamedBatchTables(store).open(ref, CONTRACT) as table:
            for each, row in zip(texts, table.rows(), strict=True):
                expected = as_array(column, meaning(column, each))
                if isinstance(row, ScorableRow):
                    found = checked_values(CONTRACT, [dict(row.instance)])[column.name][0]
                    assert same(_of_array(column, found), expected), (column.name, each, row.instance)
                else:
                    assert expected is ..., (column.name, each, row.problems)


@settings(max_examples=200)
@given(text=text)
@example(text="03")
@example(text="3.0")
def test_identifiers_with_leading_zeros_are_refused(text):
    column = CONTRACT.column("id")
    expected = meaning(column, text)
    for name, data in (
        ("x.csv", f"id,category\n{quoted(text)},a\n"),
        ("x.jsonl", json.dumps({"id": text, "category": "a"}) + "\n"),
    ):
        (found,) = prepared(data.encode(), name, (column,))["id"]
        assert same(found, ... if expected is None else expected), (name, text, found, expected)


@pytest.mark.parametrize("scale", [1, 2, 6, 10])
def test_decimals_of_parquet_are_the_numbers_that_their_digits_write(scale):
    random = np.random.default_rng(scale)
    values = [Decimal(int(each)).scaleb(-scale) for each in random.integers(-(10**14), 10**14, 2000)]
    sink = io.BytesIO()
    pq.write_table(pa.table({"number": pa.array(values, pa.decimal128(38, scale))}), sink)
    assert prepared(sink.getvalue(), "x.parquet", FEATURES[:1])["number"] == [float(each) for each in values]
