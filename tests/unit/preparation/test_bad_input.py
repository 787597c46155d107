"""The table of bad input: each line works, or fails with its own class and says where and what to do."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import struct
import zipfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.preparation.dropping import csv_table, prepare, request_for

from dropforge.adapters.tables.reading import source
from dropforge.adapters.tables.streamed_tables import StreamedTables
from dropforge.application.prepare_data import prepare_data
from dropforge.domain.contract import Contract
from dropforge.domain.errors import (
    ConstantTarget,
    DuplicateColumn,
    EmptyData,
    ExpandsTooFar,
    MissingKey,
    MissingTarget,
    ObjectMissing,
    SchemaChanged,
    TooFewRows,
    TooManyRejects,
    UnreadableData,
    UnsuitableTarget,
    UnsupportedColumn,
    UnsupportedFormat,
)
from dropforge.domain.ports import ObjectRef

GOOD = csv_table()
PINNED = "s3://data/contract/schema.json"


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.csv", GOOD)
    return buffer.getvalue()


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def good_parquet() -> pa.Table:
    return pa.table(
        {"x": [i * 0.5 for i in range(400)], "y": ["yes" if i * 7 % 5 < 2 else "no" for i in range(400)]}
    )


FATAL = [
    ("zero bytes", "x.csv", b"", EmptyData, "0 bytes"),
    ("header only", "x.csv", b"x,c,y\n", EmptyData, "no rows"),
    ("header without line end", "x.csv", b"x,c,y", EmptyData, "no rows"),
    ("only blank lines", "x.csv", b"\n\n\n", EmptyData, "blank lines"),
    ("empty gzip", "x.csv.gz", gzip.compress(b""), EmptyData, "decompressed"),
    ("one row", "x.csv", b"x,y\n1,a\n", ConstantTarget, "'a' in every row"),
    ("few rows", "x.csv", csv_table(30), TooFewRows, "minimum_rows is 50"),
    ("no target", "x.csv", GOOD.replace(b"x,c,y", b"x,c,z"), MissingTarget, "'x', 'c', 'z'"),
    ("no header", "x.csv", b"1,2,3\n4,5,6\n", MissingTarget, "looks like data"),
    ("constant target", "x.csv", b"x,y\n" + b"1,a\n2,a\n" * 50, ConstantTarget, "nothing to learn"),
    ("target without values", "x.csv", b"x,y\n" + b"1,\n2,NA\n" * 50, MissingTarget, "no value in any row"),
    ("latin-1", "x.csv", GOOD.replace(b"1.610,a", b"1.610,\xe9"), UnreadableData, "row 4 .*0xe9.*UTF-8"),
    ("NUL byte", "x.csv", GOOD.replace(b"1.610,a", b"1.610,\0"), UnreadableData, "row 4 .*NUL"),
    ("truncated gzip", "x.csv.gz", gzip.compress(GOOD)[:-40], UnreadableData, "truncated gzip"),
    ("damaged gzip", "x.csv.gz", gzip.compress(GOOD)[:200] + b"?" * 900, UnreadableData, "damaged"),
    ("no gzip", "x.csv.gz", GOOD, UnreadableData, "named as gzip"),
    ("truncated zstd", "x.csv.zst", pa.compress(GOOD, "zstd", asbytes=True)[:-20], UnreadableData, "zstd"),
    ("compressed twice", "x.csv.gz", gzip.compress(gzip.compress(GOOD)), UnsupportedFormat, "twice"),
    ("unclosed quote", "x.csv", GOOD + b'1,"a,yes\n2,b,no\n', UnreadableData, "never closed"),
    ("PNG", "x.csv", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, UnsupportedFormat, "PNG image"),
    ("ZIP", "x.csv", zipped(), UnsupportedFormat, "ZIP archive or Excel"),
    ("PDF", "x.pdf", b"%PDF-1.7\n...", UnsupportedFormat, "PDF"),
    ("executable", "x", b"\x7fELF\x02\x01\x01\0", UnsupportedFormat, "executable"),
    ("random bytes", "x.csv", bytes(range(256)) * 20, UnreadableData, "UTF-8|NUL|line end"),
    ("unknown extension", "x.foo", GOOD, UnsupportedFormat, "'.foo'.*Parquet"),
    ("JSON array", "x.json", b'[{"x": 1}]', UnsupportedFormat, "one JSON object per line"),
    ("indented JSON", "x.json", b'{\n "x": 1\n}\n', UnreadableData, "one object per line"),
    ("duplicate columns", "x.csv", GOOD.replace(b"x,c,y", b"x,x,y"), DuplicateColumn, "'x'"),
    ("named as Parquet", "x.parquet", GOOD, UnreadableData, "named as Parquet"),
    ("truncated Parquet", "x.parquet", parquet(good_parquet())[:-200], UnreadableData, "truncated Parquet"),
    (
        "nested Parquet",
        "x.parquet",
        parquet(good_parquet().append_column("n", pa.array([{"a": 1}] * 400))),
        UnsupportedColumn,
        r"'n' \(struct<a: int64>\).*Flatten",
    ),
    (
        # Written by polars 2.1: Arrow, as Parquet readers know it, has no such type.
        "128-bit integers",
        "x.parquet",
        Path(__file__).with_name("int128.parquet").read_bytes(),
        UnsupportedColumn,
        "more than 64 bits.*as text",
    ),
    (
        "reserved name",
        "x.csv",
        GOOD.replace(b"x,c,y", b"dropforge_row_key,c,y"),
        UnsupportedColumn,
        "reserved",
    ),
    (
        "dates as target",
        "x.csv",
        b"x,y\n" + b"".join(b"%d,2024-01-%02d\n" % (i, i % 28 + 1) for i in range(100)),
        UnsuitableTarget,
        "dates",
    ),
    (
        "too many classes",
        "x.csv",
        b"x,y\n" + b"".join(b"%d,name%d\n" % (i % 7, i) for i in range(300)),
        UnsuitableTarget,
        "more than 100 classes",
    ),
    (
        "nothing but the target",
        "x.csv",
        b"y\n" + b"a\nb\n" * 100,
        TooFewRows,
        "no other column",
    ),
    (
        "most rows ragged",
        "x.csv",
        GOOD.replace(b"\n", b",1\n").replace(b"x,c,y,1", b"x,c,y"),
        TooManyRejects,
        "number of fields .3.*row 1 of",
    ),
]


@pytest.mark.parametrize(("what", "name", "content", "error", "says"), FATAL, ids=[line[0] for line in FATAL])
def test_unusable_file_fails_with_its_own_class_and_a_remedy(what, name, content, error, says):
    store = InMemoryObjectStore()
    with pytest.raises(error, match=f"(?s){says}") as caught:
        prepare((name, content), store=store, block_bytes=1024)
    assert type(caught.value) is error
    assert store.read(f"s3://data/incoming/{name}") == content
    assert not store.exists("s3://data/contract/schema.json")
    if error not in (ConstantTarget, TooFewRows, UnsuitableTarget):
        assert f"incoming/{name}" in str(caught.value)


def test_ragged_rows_are_rejected_with_their_row_numbers():
    content = b"x,c,y\n1,a\n" + GOOD.partition(b"\n")[2] + b"1,2,3,4\n"
    outcome = prepare(content, block_bytes=1024)
    ragged = [(r["row"], r["rule"], r["value"], r["column"]) for r in outcome.rejected()]
    assert ragged == [
        (1, "number of fields", "1,a", None),
        (402, "number of fields", "1,2,3,4", None),
    ]
    rows = {"read": 402, "rejected": 2, "unlabelled": 0, "duplicates": 0, "kept": 400}
    assert outcome.prepared.to_dict()["rows"] == rows


def test_byte_order_mark_is_no_part_of_the_first_name():
    assert prepare(b"\xef\xbb\xbf" + GOOD).contract.has_column("x")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_with_its_mark_is_read(encoding):
    mark = b"\xff\xfe" if encoding.endswith("le") else b"\xfe\xff"
    outcome = prepare(mark + GOOD.decode().encode(encoding))
    assert outcome.kept() == prepare(GOOD).kept()


@pytest.mark.parametrize("ending", ["\r\n", "\r"])
@pytest.mark.parametrize("block_bytes", [7, 1024, 1 << 20])
def test_line_ends_of_every_system_are_read(ending, block_bytes):
    outcome = prepare(csv_table(50, ending=ending), block_bytes=block_bytes)
    assert outcome.kept() == prepare(csv_table(50)).kept()


@pytest.mark.parametrize("block_bytes", [1, 16, 64, 1000, 1 << 20])
def test_quoted_newlines_survive_every_block_boundary(block_bytes):
    lines = "".join(
        f'{i},"first\nse""cond,{i % 4}\r\n","{"yes" if i * 7 % 5 < 2 else "no"}"\n' for i in range(80)
    )
    outcome = prepare(b"x,c,y\n" + lines.encode(), block_bytes=block_bytes)
    assert sorted(set(outcome.values("c"))) == [f'first\nse"cond,{n}\r\n' for n in range(4)]
    assert outcome.prepared.kept == 80


def test_stray_quotes_are_read_as_the_csv_module_reads_them():
    stray = b'1.5,5" pipe,yes\n2.5,"a"b,no\n3.5, "x",yes\n'
    outcome = prepare(GOOD + stray * 3, block_bytes=64)
    assert {'5" pipe', "ab", '"x"'} <= set(outcome.values("c"))


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiter_is_recognised(delimiter):
    assert prepare(GOOD.replace(b",", delimiter.encode())).kept() == prepare(GOOD).kept()


def test_decimal_commas_neither_hide_the_semicolon_nor_the_numbers():
    outcome = prepare(GOOD.replace(b",", b";").replace(b".", b","))
    assert outcome.contract.column("x").format == "1234,5"
    assert outcome.kept() == prepare(GOOD).kept()


def test_empty_column_names_are_numbered():
    content = GOOD.replace(b"x,c,y", b",c,y")
    assert prepare(content).contract.column("column_1").type == "number"


def test_any_text_is_a_column_name():
    names = ["with space", "com,ma", 'quo"te', "🙂", "línea\nnueva"]
    quoted = ",".join('"' + name.replace('"', '""') + '"' for name in names)
    rows = "".join(f"{i}.5,{i}.25,{i * 3}.5,{i}.75,{i}.125,{'a' if i % 3 else 'b'}\n" for i in range(80))
    outcome = prepare(f"{quoted},y\n{rows}".encode(), block_bytes=32)
    assert [c.name for c in outcome.contract.features] == names


def column_of(values: list[str], **settings) -> tuple:
    """Infer the type of a feature whose values are given, repeated to 400 rows."""
    rows = "".join(
        f'"{values[i % len(values)]}",{i % 13}.{i},{"yes" if i * 7 % 5 < 2 else "no"}\n' for i in range(400)
    )
    outcome = prepare(f"v,other,y\n{rows}".encode(), **settings)
    return outcome.contract.column("v"), outcome


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        (["007", "7", "08"], "category", {"007", "7", "08"}),
        (["18446744073709551616", "1", "2"], "category", {"18446744073709551616", "1", "2"}),
        (["-9223372036854775808", "9223372036854775807"], "integer", {-(2**63), 2**63 - 1}),
        (["1", " 2 ", "+3"], "integer", {1, 2, 3}),
        (["1", "2.5", ".5", "1e3", "5."], "number", {1.0, 2.5, 0.5, 1000.0, 5.0}),
        (["1e-400", "2.5"], "number", {0.0, 2.5}),
        (["1,000", "2,000"], "number", {1000.0, 2000.0}),
        (["0x1F", "1"], "category", {"0x1F", "1"}),
        (["1_000", "1"], "category", {"1_000", "1"}),
        (["true", "FALSE", "True", "0", "1"], "boolean", {True, False}),
        (["0", "1"], "integer", {0, 1}),
        (["yes", "no", "true"], "category", {"yes", "no", "true"}),
        (["a", " a", "a\t"], "ignored", None),
        (["2024-02-30", "2024-02-28"], "category", {"2024-02-30", "2024-02-28"}),
        (["01/22/2024", "13/02/2024"], "category", {"01/22/2024", "13/02/2024"}),
    ],
)
def test_values_decide_the_type(values, kind, read):
    column, outcome = column_of(values)
    if kind == "ignored":
        assert column.role == "ignored"
        return
    assert (column.type, column.role) == (kind, "feature")
    assert set(outcome.values("v")) == read


def test_dates_become_utc():
    column, outcome = column_of(
        ["2024-01-01", "2024-01-01T10:00:00Z", "2024-01-01 10:00:00.25", "2024-01-01T10:00+02:00"]
    )
    assert column.type == "timestamp"
    assert {value.isoformat() for value in outcome.values("v")} == {
        "2024-01-01T00:00:00+00:00",
        "2024-01-01T10:00:00+00:00",
        "2024-01-01T10:00:00.250000+00:00",
        "2024-01-01T08:00:00+00:00",
    }


@pytest.mark.parametrize("missing", ["", "NA", "N/A", "null", "NaN", "nan", "None", " ", "<NA>", " NA "])
def test_every_spelling_of_missing_is_missing(missing):
    column, outcome = column_of(["1.5", "2.5", missing])
    assert (column.type, column.nullable) == ("number", True)
    assert set(outcome.values("v")) == {1.5, 2.5, None}


def test_missing_values_may_be_spelled_out_from_any_row_on():
    rows = [
        [f"{n}.5", str(n % 50), f"2024-01-01T00:00:{n % 60:02d}", f"w{n % 3}", "true"] for n in range(300)
    ]
    for n, row in enumerate(rows[200:]):
        row[n % 5] = ("NA", "nan", "null", "-1.#IND", "<NA>", "NaN", "None")[n % 7]
    lines = [",".join([*row, "ny"[n % 2]]) for n, row in enumerate(rows)]
    table = "\n".join(["number,whole,time,word,truth,y", *lines, ""]).encode()
    whole, cut = prepare(table), prepare(table, block_bytes=256)
    for name in ("number", "whole", "time", "word", "truth"):
        assert whole.profile[name]["missing"] == 20
        assert cut.values(name) == whole.values(name)


@pytest.mark.parametrize("value", ["1e400", "inf", "-inf", "Infinity", "abc", "1,5", "NAN", "0x10"])
def test_a_value_that_is_no_number_costs_its_row_and_not_the_column(value):
    rows = GOOD + f'"{value}",a,yes\n'.encode()
    outcome = prepare(rows, block_bytes=1024)
    assert outcome.contract.column("x").type == "number"
    assert outcome.rejected() == [
        {"source": "s3://data/incoming/x.csv", "row": 401, "column": "x", "value": value, "rule": "type"}
    ]


def test_text_among_numbers_rejects_the_run_with_examples():
    store = prepare(GOOD).store
    bad = csv_table().replace(b"3.", b"3o").replace(b"4.", b"4o")
    with pytest.raises(TooManyRejects, match=r"of 400 rows.*'x' \(expected number\)") as caught:
        prepare(("bad.csv", bad), store=store, run_id="second", block_bytes=1024)
    assert "row 8 of s3://data/incoming/bad.csv" in str(caught.value)
    report = json.loads(store.read("s3://data/runs/second/report.json"))
    assert report["accepted"] is False
    assert report["failure"] == {"type": "TooManyRejects", "message": str(caught.value)}
    assert store.exists("s3://data/runs/second/rejected/part-00000.parquet")


def proposal(store: InMemoryObjectStore) -> Contract:
    return Contract.from_json(store.read("s3://data/runs/second/contract/proposed.json"))


def test_text_where_numbers_were_is_a_changed_schema():
    store = prepare(GOOD).store
    bad = csv_table().replace(b".", b"o")
    with pytest.raises(SchemaChanged, match=r"'x' was number, is text.*400 of 400 rows.*'0o500' in row 1"):
        prepare(("bad.csv", bad), store=store, run_id="second")
    assert (proposal(store).column("x").type, proposal(store).column("x").role) == ("text", "feature")
    assert store.exists("s3://data/runs/second/rejected/part-00000.parquet")


def test_a_changed_schema_is_shown_as_a_diff_with_the_command_that_accepts_it():
    store = prepare(GOOD).store
    edited = json.loads(store.read(PINNED))
    edited["columns"][0]["maximum"] = 1000
    store.write(PINNED, json.dumps(edited).encode())
    renamed = GOOD.replace(b"x,c,y", b"x,colour,y")
    with pytest.raises(SchemaChanged, match=r"(?s)- column 'c' is missing.*'colour' is new") as caught:
        prepare(("new.csv", renamed), store=store, run_id="second")
    proposed = proposal(store)
    assert "Perhaps 'c' was renamed to 'colour'" in str(caught.value)
    assert f"dropforge contract accept second --hash {proposed.hash[:12]}" in str(caught.value)
    assert [column.name for column in proposed.columns] == ["x", "y", "colour"]
    assert proposed.column("x").maximum == 1000, "edits by hand are kept"
    assert json.loads(store.read("s3://data/runs/second/report.json"))["failure"]["type"] == "SchemaChanged"

    store.write(PINNED, proposed.to_json().encode())
    again = prepare(("new.csv", renamed), store=store, run_id="third").prepared
    assert (again.contract_hash, again.kept) == (proposed.hash, 400)


def test_new_classes_can_be_accepted_and_other_classes_are_a_changed_schema():
    store = prepare(GOOD).store
    third = csv_table(400, "".join(f"{i}.5,a,maybe\n" for i in range(40)))
    with pytest.raises(TooManyRejects, match=r"If the new values are right.*contract accept second"):
        prepare(("n.csv", third), store=store, run_id="second")
    assert (proposal(store).classes, proposal(store).task) == (("maybe", "no", "yes"), "multiclass")
    numbers = csv_table().replace(b"yes", b"1").replace(b"no", b"0")
    with pytest.raises(SchemaChanged, match="'y' was category, is integer"):
        prepare(("n.csv", numbers), store=store, run_id="second")
    assert proposal(store).classes == ("0", "1")


def test_drops_that_differ_among_themselves_propose_what_the_newest_has():
    store = prepare(GOOD).store
    renamed = GOOD.replace(b"x,c,y", b"x,colour,y")
    with pytest.raises(SchemaChanged, match="contract accept second"):
        prepare(("new.csv", renamed), ("old.csv", GOOD), store=store, run_id="second", new=1)
    assert proposal(store).has_column("colour")


def test_a_retyped_parquet_column_is_a_changed_schema():
    store = prepare(("x.parquet", parquet(good_parquet()))).store
    moments = pa.array([i * 10**6 for i in range(400)], pa.timestamp("us"))
    retyped = good_parquet().set_column(0, "x", moments)
    with pytest.raises(SchemaChanged, match=r"'x' was number, is timestamp\[us\]"):
        prepare(("new.parquet", parquet(retyped)), store=store, run_id="second")


def test_unseen_class_rejects_its_rows():
    store = prepare(GOOD).store
    outcome = prepare(("n.csv", csv_table(400, "1.5,a,maybe\n")), store=store, run_id="second")
    assert [(r["row"], r["value"], r["rule"]) for r in outcome.rejected()] == [(401, "maybe", "class")]


def test_rows_without_a_target_are_left_out_and_not_rejected_whatever_else_they_break():
    outcome = prepare(GOOD + b"1.5,a,\n1.5,a,NA\n" * 440 + b"word,a,\n" * 20 + b"word,a,yes\n")
    assert [(r["row"], r["column"], r["rule"]) for r in outcome.rejected()] == [(1301, "x", "type")]
    rows = {"read": 1301, "rejected": 1, "unlabelled": 900, "duplicates": 0, "kept": 400}
    assert outcome.prepared.to_dict()["rows"] == rows == outcome.report["rows"]
    assert outcome.report["objects"][0]["unlabelled"] == 900


def test_missing_key_column_is_named():
    with pytest.raises(MissingKey, match="key column 'id'"):
        prepare(GOOD, key="id")


def test_a_deleted_drop_is_named():
    store = InMemoryObjectStore()
    request = request_for([ObjectRef("data", "incoming/gone.csv")], target="y")
    with pytest.raises(ObjectMissing, match=r"gone\.csv"):
        prepare_data(request, store, StreamedTables(store))


def json_lines(rows: int = 300) -> list[str]:
    return [
        json.dumps({"x": i * 0.5, "n": i % 9, "y": "yes" if i * 7 % 5 < 2 else "no"}) for i in range(rows)
    ]


@pytest.mark.parametrize("block_bytes", [16, 1024, 1 << 20])
def test_json_lines_keep_what_is_readable(block_bytes):
    lines = json_lines(40)
    lines[3:3] = [
        "not json",
        '{"x": 1, "n": {"deep": 1}, "y": "no"}',
        "[1, 2]",
        '{"x": 1, "x": 2, "n": 1, "y": "no"}',
        '{"x": 1e400, "n": 1, "y": "no"}',
    ]
    lines.append('{"x": 7.25, "y": "no"}')
    drop = ("x.jsonl", "\n".join(lines).encode())
    outcome = prepare(drop, block_bytes=block_bytes, minimum_rows=40, maximum_reject_rate=0.2)
    assert [(r["row"], r["rule"], r["column"]) for r in outcome.rejected()] == [
        (4, "JSON", None),
        (5, "nested value", "n"),
        (6, "JSON", None),
        (7, "JSON", None),
        (8, "type", "x"),
    ]
    assert outcome.contract.column("n").nullable
    assert outcome.prepared.kept == 41


def test_a_new_key_in_json_is_a_changed_schema():
    store = prepare(("x.jsonl", "\n".join(json_lines()).encode())).store
    changed = [*json_lines(), '{"x": 1, "n": 1, "y": "no", "z": 1}']
    with pytest.raises(SchemaChanged, match="column 'z' is new"):
        prepare(("y.jsonl", "\n".join(changed).encode()), store=store, run_id="second")


def test_formats_mix_in_one_run():
    table = pa.table(
        {
            "x": pa.array([1000.5 + i for i in range(50)]),
            "c": pa.array(["a", "b"] * 25).dictionary_encode(),
            "y": ["yes", "no"] * 25,
        }
    )
    lines = "\n".join(json.dumps({"y": "yes", "c": "c", "x": 2000.5 + i}) for i in range(20))
    outcome = prepare(
        ("a.parquet", parquet(table)),
        ("b.jsonl", lines.encode()),
        ("c.csv.gz", gzip.compress(csv_table(100))),
        ("d.csv.zst", pa.compress(csv_table(100, start=500), "zstd", asbytes=True)),
        ("e", csv_table(100, start=900)),
    )
    assert outcome.prepared.kept == 370
    assert len(outcome.report["objects"]) == 5


def test_parquet_types_come_through():
    n = 200
    table = pa.table(
        {
            "small": pa.array([i % 50 for i in range(n)], pa.int8()),
            "big": pa.array([2**64 - 1 - i for i in range(n)], pa.uint64()),
            "half": pa.array([i * 0.5 for i in range(n)], pa.float32()),
            "dec": pa.array([Decimal(i) / 4 for i in range(n)], pa.decimal128(20, 2)),
            "flag": [i % 3 == 0 for i in range(n)],
            "day": pa.array([19000 + i for i in range(n)], pa.int32()).cast(pa.date32()),
            "nan": [float("nan") if i % 2 else i * 1.5 for i in range(n)],
            "large": pa.array(["a", "b"] * (n // 2), pa.large_string()),
            "empty": pa.nulls(n),
            "y": [i * 0.25 for i in range(n)],
        }
    )
    outcome = prepare(("x.parquet", parquet(table)), block_bytes=512)
    kinds = {c.name: (c.type, c.role) for c in outcome.contract.columns}
    assert kinds == {
        "small": ("integer", "feature"),
        "big": ("text", "feature"),
        "half": ("number", "feature"),
        "dec": ("number", "feature"),
        "flag": ("boolean", "feature"),
        "day": ("timestamp", "feature"),
        "nan": ("number", "feature"),
        "large": ("category", "feature"),
        "empty": ("text", "ignored"),
        "y": ("number", "target"),
    }
    assert outcome.values("nan").count(None) == 100


def test_a_binary_header_that_only_looks_like_magic_is_read():
    content = csv_table().replace(b"x,c,y", b"MZ,c,y")
    assert prepare(content).contract.has_column("MZ")


def test_damaged_parquet_pages_are_named():
    content = bytearray(parquet(good_parquet()))
    content[20:200] = struct.pack("180s", b"\xff" * 180)
    with pytest.raises(UnreadableData, match="damaged or truncated Parquet"):
        prepare(("x.parquet", bytes(content)))


@pytest.mark.parametrize("name", ["bomb.csv.gz", "bomb.csv.zst"])
def test_a_compressed_file_that_holds_more_than_a_function_can_prepare_is_refused(name, monkeypatch):
    monkeypatch.setattr(source, "MAXIMUM_EXPANDED_BYTES", 1_000_000)
    plain = b"a,b\n" + b"1,2\n" * 500_000
    packed = gzip.compress(plain) if name.endswith(".gz") else pa.compress(plain, "zstd", asbytes=True)
    with (
        source.open_source(io.BytesIO(packed), name) as opened,
        pytest.raises(ExpandsTooFar, match="several"),
    ):
        shutil.copyfileobj(opened.stream, io.BytesIO())
    monkeypatch.setattr(source, "MAXIMUM_EXPANDED_BYTES", len(plain))
    with source.open_source(io.BytesIO(packed), name) as opened:
        assert len(opened.stream.read()) == len(plain)
