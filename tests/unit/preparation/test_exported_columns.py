"""Numbers, dates and columns as people export them, read by the evidence of the first drop."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.preparation.chunking import prepare_in_chunks
from tests.unit.preparation.dropping import prepare

from dropforge.domain.contract import Contract
from dropforge.domain.errors import MissingTarget, SchemaChanged

ROWS = 400


def table_of(delimiter: str = ",", **columns: list[str]) -> bytes:
    """A CSV of these columns, repeated to 400 rows, a measured one and a target."""
    names = [*columns, "measured", "y"]
    lines = [delimiter.join(names)]
    for i in range(ROWS):
        values = [column[i % len(column)] for column in columns.values()]
        row = [*values, f"{i}.5", "yes" if i * 7 % 5 < 2 else "no"]
        lines.append(delimiter.join('"' + value + '"' for value in row))
    return ("\n".join(lines) + "\n").encode()


def read(values: list[str], delimiter: str = ",", **others: list[str]) -> tuple[Any, dict[str, Any]]:
    """Return the contract's column, and what each value became."""
    outcome = prepare(table_of(delimiter, v=values, **others))
    column = outcome.contract.column("v")
    if column.role == "ignored":
        return column, {}
    # `measured` counts the rows, so it says which value a row had.
    found = {values[int(row["measured"]) % len(values)]: row["v"] for row in outcome.kept()}
    return column, found


def moment(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("values", "format_", "means"),
    [
        (["1,273.95", "12", "0.5"], "1,234.5", [1273.95, 12, 0.5]),
        (["$25,479", "$1,273.95", "$5"], "$1,234.5", [25479, 1273.95, 5]),
        (["1.273,95 €", "12 €", "-0,5 €"], "€1.234,5", [1273.95, 12, -0.5]),
        (["USD 1,200", "USD 5.25"], "USD 1,234.5", [1200, 5.25]),
        (["12.5%", "7%", "100.0%"], "1234.5%", [12.5, 7, 100]),
        (["(1,234.50)", "7.25", "1,000"], "1,234.5", [-1234.5, 7.25, 1000]),
        (["\u22125.5", "7.25"], "1234.5", [-5.5, 7.25]),
        (["1 234,5", "7,25"], "1 234,5", [1234.5, 7.25]),
        (["1'234.50", "7"], "1'234.5", [1234.5, 7]),
        (["12,5", "7,25"], "1234,5", [12.5, 7.25]),
    ],
)
def test_numbers_as_people_export_them_are_features(values, format_, means):
    column, found = read(values)
    assert (column.type, column.role, column.format) == ("number", "feature", format_)
    assert found == dict(zip(values, means, strict=True))
    assert format_ in column.note


def test_a_zero_padded_decimal_is_a_number_and_a_padded_integer_a_code():
    column, found = read(["05.3", "12.25", "00.5"])
    assert (column.type, column.format, found["05.3"]) == ("number", None, 5.3)
    column, found = read(["05", "12", "00"])
    assert (column.type, column.format, set(found.values())) == ("category", "00", {"05", "12", "00"})


@pytest.mark.parametrize("placeholder", ["?", "-", "\\N"])
@pytest.mark.parametrize(("values", "kind"), [(["1", "2.5"], "number"), (["2024-01-05"] * 2, "timestamp")])
def test_a_placeholder_beside_numbers_or_dates_is_missing(placeholder, values, kind):
    column, found = read([*values, placeholder, "NA"])
    assert (column.type, column.nullable, column.missing) == (
        kind,
        True,
        tuple(sorted(("", "NA", placeholder))),
    )
    assert found[placeholder] is None is found["NA"]


def test_amounts_in_several_currencies_are_told_and_learned_from_as_texts():
    values = [f"{'$€'[i % 2]}{i}.25" for i in range(300)]
    column, _ = read(values)
    assert (column.role, column.type) == ("feature", "text")
    assert column.note == ("its amounts have several units: $ (200), € (200)")


def test_a_comma_that_fits_both_ways_is_decided_by_other_columns_and_the_note_says_so():
    column, found = read(["1,234", "5,678"])
    assert (column.format, found["1,234"]) == ("1,234.5", 1234.0)
    assert "1.234,5 fits as well" in column.note
    column, found = read(["1,234", "5,678"], ";", other=["0,5", "12,25"])
    assert (column.format, found["1,234"]) == ("1234,5", 1.234)
    assert "as other columns say" in column.note


@pytest.mark.parametrize(
    ("values", "format_", "means"),
    [
        (["31/12/2024", "03/04/2024"], "dd/mm/yyyy", [moment(2024, 12, 31), moment(2024, 4, 3)]),
        (["12/31/2024", "3/4/2024 5:06 PM"], "mm/dd/yyyy", [moment(2024, 12, 31), moment(2024, 3, 4, 17, 6)]),
        (["2024/12/31", "2024/01/02"], "yyyy/mm/dd", [moment(2024, 12, 31), moment(2024, 1, 2)]),
        (["03.04.2024", "05.06.2024"], "dd.mm.yyyy", [moment(2024, 4, 3), moment(2024, 6, 5)]),
        (["2024-01-02 10:00 UTC", "2024-01-02T10:00:00+00"], None, [moment(2024, 1, 2, 10)] * 2),
        (["2024-01-02T10:00:00.123456789Z"] * 2, None, [moment(2024, 1, 2, 10, 0, 0, 123456)] * 2),
    ],
)
def test_dates_as_people_export_them_are_features(values, format_, means):
    values = [*values, values[0].replace("2024", "2023")]
    column, found = read(values)
    assert (column.type, column.role, column.format) == ("timestamp", "feature", format_)
    assert [found[value] for value in values[:2]] == means


def test_a_date_that_fits_both_ways_is_decided_by_other_columns_and_the_note_says_so():
    column, found = read(["03/04/2024", "05/06/2024"])
    assert (column.format, found["03/04/2024"]) == ("mm/dd/yyyy", moment(2024, 3, 4))
    assert "dd/mm/yyyy fits as well" in column.note
    column, found = read(["03/04/2024", "05/06/2024"], other=["31/12/2023", "01/02/2023"])
    assert (column.format, found["03/04/2024"]) == ("dd/mm/yyyy", moment(2024, 4, 3))


def test_seconds_since_1970_are_told_by_name():
    rows = "".join(f"{1_700_000_000 + 3601 * i},{i}.5,{'ab'[i % 2]}\n" for i in range(300))
    outcome = prepare(f"created_at,x,y\n{rows}".encode())
    column = outcome.contract.column("created_at")
    assert (column.type, column.format) == ("timestamp", "epoch seconds")
    assert min(outcome.values("created_at")) == moment(2023, 11, 14, 22, 13, 20)
    assert prepare(f"amount,x,y\n{rows}".encode()).contract.column("amount").type == "integer"


def test_an_edited_format_rules_over_later_drops():
    store = InMemoryObjectStore()
    content = table_of(v=["03/04/2024", "05/06/2024"])
    prepare(content, store=store)
    edited = json.loads(store.read("s3://data/contract/schema.json"))
    edited["columns"][0]["format"] = "dd/mm/yyyy"
    store.write("s3://data/contract/schema.json", json.dumps(edited).encode())
    assert set(prepare(content, store=store, run_id="b").values("v")) == {
        moment(2024, 4, 3),
        moment(2024, 6, 5),
    }


# --- columns ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
def test_an_exported_index_is_never_a_feature(name):
    rng = random.Random(1)  # noqa: S311 - a sample
    order = rng.sample(range(900), 400)
    rows = "".join(f"{i},{rng.random():.6f},{'yes' if i < 450 else 'no'}\n" for i in order)
    outcome = prepare(f"{name},x,y\n{rows}".encode())
    assert [column.name for column in outcome.contract.features] == ["x"]
    assert "index" in outcome.contract.columns[0].note


def test_three_thousand_referrers_are_a_category():
    rng = random.Random(1)  # noqa: S311 - a sample
    rows = "".join(
        f"site{int(3000 * rng.random() ** 2)}.example,{i}.5,{'ab'[i % 2]}\n" for i in range(12_000)
    )
    outcome = prepare(f"referrer,x,y\n{rows}".encode())
    assert (outcome.contract.column("referrer").type, len(set(outcome.values("referrer")))) > (
        "category",
        2500,
    )


@pytest.mark.parametrize("header", ["x,Y", "x, Y", "'x','y'", "`x`,`y`"])
def test_a_target_of_another_case_or_in_other_quotes_is_asked_for(header):
    with pytest.raises(MissingTarget, match="Did you mean ") as raised:
        prepare(f"{header}\n1,a\n2,b\n".encode())
    assert repr(header.split(",")[1].strip()) in str(raised.value).partition("Did you mean")[2]


def test_dates_with_something_behind_them_are_texts():
    days = [f"{1880 + i}.05.12 - {1890 + i}.10.30  (Death)" for i in range(ROWS)]
    outcome = prepare(
        ("term,x,y\n" + "".join(f"{day},{i * 7 % 31},{'ab'[i % 2]}\n" for i, day in enumerate(days))).encode()
    )
    assert (outcome.prepared.rejected, outcome.contract.column("term").type) == (0, "text")


# --- identity -----------------------------------------------------------------------------------------


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    target = ["yes" if i * 7 % 5 < 2 else "no" for i in range(ROWS)]
    pq.write_table(pa.table({**columns, "x": [i + 0.5 for i in range(ROWS)], "y": target}), sink)
    return sink.getvalue()


def keyed_csv(keys: list[str]) -> bytes:
    lines = [f"{key},{i}.5,{'yes' if i * 7 % 5 < 2 else 'no'}" for i, key in enumerate(keys)]
    return ("id,x,y\n" + "\n".join(lines) + "\n").encode()


def test_decimal_identifiers_stay_apart_beyond_what_a_float_holds():
    ids = [decimal.Decimal(9_007_199_254_740_993 + i) for i in range(ROWS)]
    outcome = prepare(("x.parquet", parquet(id=pa.array(ids, pa.decimal128(38, 0)))), key="id")
    assert (outcome.contract.column("id").type, outcome.prepared.duplicates) == ("integer", 0)
    assert sorted(outcome.values("id")) == [int(each) for each in ids]
    huge = [decimal.Decimal(int(each) + 10**30) for each in ids]
    outcome = prepare(("x.parquet", parquet(id=pa.array(huge, pa.decimal128(38, 0)))), key="id")
    assert sorted(outcome.values("id")) == [str(each) for each in huge]


@pytest.mark.parametrize("kind", [pa.float64(), pa.decimal128(24, 2), pa.int64()])
def test_the_same_identifiers_meet_in_every_format(kind):
    store = prepare(keyed_csv([str(i) for i in range(ROWS)]), key="id").store
    ids = pa.array(list(range(ROWS)), pa.int64()).cast(kind)
    outcome = prepare(
        ("new.parquet", parquet(id=ids)),
        ("old.csv", keyed_csv([str(i) for i in range(ROWS)])),
        key="id",
        store=store,
        run_id="b",
    )
    assert (outcome.prepared.kept, outcome.prepared.duplicates) == (ROWS, ROWS)


def test_03_and_3_are_two_identifiers_under_a_pinned_integer_key():
    store = prepare(keyed_csv([str(i) for i in range(ROWS)]), key="id").store
    outcome = prepare(keyed_csv(["03", *(str(i) for i in range(1, ROWS))]), key="id", store=store, run_id="b")
    assert [(each["value"], each["rule"]) for each in outcome.rejected()] == [("03", "type")]
    assert 3 in outcome.values("id")


def test_codes_against_integers_are_a_changed_schema():
    codes = [f"{i % 7:02d}" for i in range(ROWS)]
    store = prepare(("a.parquet", parquet(code=codes))).store
    with pytest.raises(SchemaChanged, match="code"):
        prepare(("b.parquet", parquet(code=[i % 7 for i in range(ROWS)])), store=store, run_id="b")


def test_nanoseconds_as_identifiers_stay_apart():
    moments = pa.array(1_700_000_000_000_000_000 + np.arange(ROWS), pa.timestamp("ns"))
    outcome = prepare(("x.parquet", parquet(id=moments)), key="id")
    assert len(set(outcome.values("id"))) == ROWS == outcome.prepared.kept
    assert outcome.values("id")[0].endswith("Z")


def test_int96_reaches_beyond_2262():
    sink = io.BytesIO()
    moments = pa.array([moment(9999, 12, 31), moment(2024, 1, 1)] * 200, pa.timestamp("us"))
    target = ["yes" if i * 7 % 5 < 2 else "no" for i in range(ROWS)]
    table = pa.table({"t": moments, "x": [i + 0.5 for i in range(ROWS)], "y": target})
    pq.write_table(table, sink, use_deprecated_int96_timestamps=True)
    assert max(prepare(("x.parquet", sink.getvalue())).values("t")) == moment(9999, 12, 31)


def test_a_narrow_float_means_the_decimal_number_that_it_stands_for():
    narrow = pa.array(np.array([0.1, 0.2, 1 / 3] * 134)[:ROWS], pa.float32())
    values = set(prepare(("x.parquet", parquet(v=narrow))).values("v"))
    assert values == {0.1, 0.2, 0.33333334}


# --- missing ------------------------------------------------------------------------------------------


def json_lines(values: list[Any]) -> bytes:
    return "".join(
        json.dumps({"v": values[i % len(values)], "x": i + 0.5, "y": "yes" if i * 7 % 5 < 2 else "no"}) + "\n"
        for i in range(ROWS)
    ).encode()


def test_texts_of_json_and_parquet_are_values_and_only_null_is_missing():
    values = ["NA", "None", "null", None, "a"]
    for name, content in (
        ("x.jsonl", json_lines(values)),
        ("x.parquet", parquet(v=(values * ROWS)[:ROWS])),
    ):
        outcome = prepare((name, content))
        assert (outcome.contract.column("v").missing, set(outcome.values("v"))) == ((), set(values))
        # The contract says so, whatever the format of later drops.
        csv = "v,x,y\n" + "".join(f"NA,{i}.5,{'yes' if i * 7 % 5 < 2 else 'no'}\n" for i in range(ROWS))
        later = prepare(("b.csv", csv.encode()), store=outcome.store, run_id="b")
        assert set(later.values("v")) == {"NA"}


def test_a_spelling_that_the_contract_lists_as_a_category_is_a_value():
    store = prepare(table_of(v=["a", "None", "NA"])).store
    edited = json.loads(store.read("s3://data/contract/schema.json"))
    edited["columns"][0]["categories"] = ["None", "a"]
    store.write("s3://data/contract/schema.json", json.dumps(edited).encode())
    outcome = prepare(table_of(v=["a", "None", "NA"]), store=store, run_id="b")
    assert set(outcome.values("v")) == {"a", "None", None}


def test_an_edited_list_of_missing_texts_holds_in_every_format():
    store = prepare(table_of(v=["1", "2.5", "-999"])).store
    edited = json.loads(store.read("s3://data/contract/schema.json"))
    edited["columns"][0] |= {"missing": ["-999"], "nullable": True}
    store.write("s3://data/contract/schema.json", json.dumps(edited).encode())
    assert Contract.from_json(store.read("s3://data/contract/schema.json")).column("v").missing == ("-999",)
    for run, content in (("b", table_of(v=["1", "2.5", "-999"])),):
        assert set(prepare(content, store=store, run_id=run).values("v")) == {1.0, 2.5, None}


# --- sizes --------------------------------------------------------------------------------------------


def test_a_header_of_any_usual_length_is_read():
    names = [f"measurement_number_{n}_{'of_a_long_series_' * 30}" for n in range(150)]
    rows = "".join(",".join([*(str(i % 7 + n) for n in range(150)), "ab"[i % 2]]) + "\n" for i in range(60))
    content = f"{','.join(names)},y\n{rows}".encode()
    assert content.index(b"\n") > 1 << 16
    assert len(prepare(content).contract.features) == 150


def test_a_long_message_is_cut_and_the_whole_one_kept():
    store = prepare(table_of(v=["a", "b"])).store
    names = ",".join(f"new column number {n}" for n in range(4000))
    values = ",".join("1" for _ in range(4000))
    content = f"v,measured,y,{names}\n" + f"a,1.5,yes,{values}\n" * 3
    with pytest.raises(SchemaChanged) as caught:
        prepare(content.encode(), store=store, run_id="b")
    assert len(str(caught.value)) < 5000
    assert "s3://data/runs/b/failure.txt" in str(caught.value)
    whole = store.read("s3://data/runs/b/failure.txt").decode()
    assert "new column number 3999" in whole
    assert "so nothing can be accepted." in str(caught.value)
    assert json.loads(store.read("s3://data/runs/b/report.json"))["failure"]["message"] == str(caught.value)


def test_what_was_read_as_missing_is_told_by_spelling():
    notes = prepare(table_of(v=["1", "2.5", "NA", "n/a", "?"])).report["notes"]
    assert "column 'v': read as missing: '?' (80), 'NA' (80), 'n/a' (80)" in notes


@pytest.mark.parametrize("before", ["", "same"])
@pytest.mark.parametrize("key", [None, "id"])
def test_a_column_that_a_later_drop_fills_is_told_with_the_command_that_takes_it_in(before, key):
    def drop(values: list[str]) -> bytes:
        rows = [f"{i},{values[i % len(values)]},{i}.5,{'ab'[i * 7 % 5 < 2]}" for i in range(400)]
        return ("id,late,x,y\n" + "\n".join(rows) + "\n").encode()

    store = prepare(drop([before]), key=key).store
    assert prepare(drop([before]), key=key, store=store, run_id="b").report["remarks"] == []
    outcome = prepare(drop(["red", "green", "blue"]), key=key, store=store, run_id="c")
    (remark,) = [each for each in outcome.report["remarks"] if "late" in each]
    proposed = Contract.from_json(store.read("s3://data/runs/c/contract/proposed.json"))
    assert remark.endswith(f"dropforge contract accept c --hash {proposed.hash[:12]}")
    assert (proposed.column("late").type, proposed.column("late").role) == ("category", "feature")
    store.write("s3://data/contract/schema.json", proposed.to_json().encode())
    again = prepare(drop(["red", "green", "blue"]), key=key, store=store, run_id="d")
    assert set(again.values("late")) == {"red", "green", "blue"}


def test_a_new_format_in_a_later_drop_is_told_as_one():
    store = prepare(table_of(v=["1273.95", "25479", "5.5"])).store
    with pytest.raises(SchemaChanged, match=r"'v' was number, is number written as \$1,234.5"):
        prepare(table_of(v=["$1,273.95", "$25,479", "$5"]), store=store, run_id="b")
    proposed = Contract.from_json(store.read("s3://data/runs/b/contract/proposed.json"))
    assert proposed.column("v").format == "$1,234.5"


def test_labels_that_differ_in_case_are_explained_by_their_values():
    content = table_of(v=["a", "b"])
    store = prepare(content).store
    with pytest.raises(SchemaChanged, match=r"values of 'y' were 'no', 'yes', are 'NO', 'YES'; .* case only"):
        prepare(content.replace(b"yes", b"YES").replace(b"no", b"NO"), store=store, run_id="b")


def test_a_contract_of_before_formats_reads_as_it_did():
    column = {"role": "feature", "nullable": True, "minimum": None, "maximum": None, "categories": None}
    raw = {
        **{"format": 1, "target": "y", "key": None, "task": "binary", "classes": ["no", "yes"]},
        "columns": [
            {"name": "v", "type": "number", **column},
            {"name": "y", "type": "category", **column, "role": "target", "nullable": False},
        ],
    }
    contract = Contract.from_json(json.dumps(raw))
    # Written down from the release that had no formats.
    assert contract.hash == "46068fd2a6b82efa946f35e22a763d6e03d9a20f32c1765b19ec292db7f5a96f"
    assert contract.split_by is None
    assert contract.reader("v").read("NA") is None is contract.reader("v").read("")
    assert "missing" not in contract.to_dict()["columns"][0]


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_what_a_later_drop_spells_as_missing_is_told_by_column(kind, in_chunks):
    def rows(count, spelled):
        return [
            {
                "x": spelled.get(i, f"{i * 0.37:.2f}"),
                "c": "NA" if i % 50 == 1 else "ab"[i % 2],
                "y": "ny"[i % 7 % 2],
            }
            for i in range(count)
        ]

    def as_csv(table):
        return ("x,c,y\n" + "".join(",".join(row.values()) + "\n" for row in table)).encode()

    store = prepare(as_csv(rows(400, {3: "null"}))).store
    later = rows(300, {5: "NA", 6: " NA", 7: "n/a", 8: ""})
    sink = io.BytesIO()
    pq.write_table(pa.table({name: [row[name] for row in later] for name in "xcy"}), sink)
    data = {
        "csv": as_csv(later),
        "jsonl": "".join(json.dumps(row) + "\n" for row in later).encode(),
        "parquet": sink.getvalue(),
    }[kind]
    run = {"store": store, "run_id": "second"}
    if in_chunks:
        prepare_in_chunks((f"x.{kind}", data), chunk_bytes=2000, **run)
    else:
        prepare((f"x.{kind}", data), **run)
    report = json.loads(store.read("s3://data/runs/second/report.json"))
    assert report["missing"] == {"c": {"NA": 6}, "x": {"NA": 2, "n/a": 1}}
