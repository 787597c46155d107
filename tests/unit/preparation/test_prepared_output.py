from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from tests.in_memory_store import InMemoryObjectStore
from tests.mocked_aws import mocked_aws
from tests.unit.preparation.dropping import SPLITS, csv_table, prepare, request_for

from dropforge.adapters.object_store import S3ObjectStore
from dropforge.adapters.tables.streamed_tables import StreamedTables
from dropforge.application.preparation_request import PrepareSettings
from dropforge.application.prepare_data import prepare_data
from dropforge.domain.contract import MAXIMUM_TEXTS, Contract
from dropforge.domain.errors import (
    ConstantTarget,
    InvalidContract,
    InvalidEvent,
    InvalidSettings,
    TooFewRows,
    TooManyRejects,
    UnsuitableTarget,
)
from dropforge.domain.ports import ObjectRef

MESSY = csv_table(500, "oops,a,yes\n1,2\n1.5,b,\n0.500,a,yes\n")


def outputs(store: InMemoryObjectStore) -> dict[str, bytes]:
    return {uri: data for uri, data in store.objects.items() if "/incoming/" not in uri}


@pytest.mark.parametrize("block_bytes", [1 << 10, 10_000, 1 << 20])
def test_block_size_leaves_no_trace(block_bytes):
    assert outputs(prepare(MESSY, block_bytes=block_bytes).store) == outputs(prepare(MESSY).store)


def test_repeating_a_run_gives_the_same_bytes_and_answer():
    first = prepare(MESSY)
    before = outputs(first.store)
    again = prepare(MESSY, store=first.store)
    assert outputs(again.store) == before
    assert again.prepared == first.prepared
    assert again.prepared.contract_is_new


def test_repeating_a_run_removes_what_an_interrupted_attempt_left():
    store = InMemoryObjectStore()
    for folder in (*SPLITS, "rejected"):
        store.write(f"s3://data/runs/run/{folder}/part-00077.parquet", b"stale")
    store.write("s3://data/runs/run/manifest.json", b"kept")
    prepare(MESSY, store=store)
    assert not [uri for uri in store.objects if "00077" in uri]
    assert store.exists("s3://data/runs/run/manifest.json")


def test_the_answer_says_where_everything_is():
    outcome = prepare(MESSY)
    answer = json.loads(json.dumps(outcome.prepared.to_dict()))
    assert set(answer) == {
        *("run_id", "prefix", "contract_uri", "contract_hash", "contract_is_new", "task", "target", "splits"),
        *("profile_uri", "report_uri", "rejected", "rows", "data_version", "remarks", "read_otherwise"),
    }
    rows = {"read": 504, "rejected": 2, "unlabelled": 1, "duplicates": 0, "kept": 501}
    assert answer["rows"] == rows
    for name, split in answer["splits"].items():
        assert outcome.split(name).num_rows == split["rows"] > 0
    for uri in (answer["contract_uri"], answer["profile_uri"], answer["report_uri"]):
        assert outcome.store.exists(uri)
    assert outcome.contract.hash == answer["contract_hash"]


def test_columns_come_in_contract_order_with_their_types_and_the_row_key():
    schema = prepare(MESSY).split("train").schema
    assert [(f.name, str(f.type)) for f in schema] == [
        ("x", "double"),
        ("c", "string"),
        ("y", "string"),
        ("dropforge_row_key", "uint64"),
    ]


def test_the_first_run_pins_its_contract_and_later_runs_are_held_to_it():
    first = prepare(MESSY)
    pinned = first.store.read("s3://data/contract/schema.json")
    second = prepare(("later.csv", csv_table(200, start=900)), store=first.store, run_id="second")
    assert not second.prepared.contract_is_new
    assert second.prepared.contract_hash == first.prepared.contract_hash
    assert first.store.read("s3://data/contract/schema.json") == pinned


def test_a_contract_pinned_meanwhile_wins():
    theirs = prepare(csv_table()).contract
    strict = Contract(theirs.target, theirs.key, theirs.task, theirs.classes, theirs.columns[::-1])

    class Racing(InMemoryObjectStore):
        def write_if_absent(self, uri, data, content_type=""):
            self.write(uri, strict.to_json().encode())
            return False

    outcome = prepare(csv_table(), store=Racing())
    assert not outcome.prepared.contract_is_new
    assert outcome.contract == strict


def test_a_failed_first_run_pins_nothing():
    store = InMemoryObjectStore()
    with pytest.raises(TooFewRows):
        prepare(csv_table(40), store=store)
    assert not store.exists("s3://data/contract/schema.json")
    assert json.loads(store.read("s3://data/runs/run/report.json"))["failure"]["type"] == "TooFewRows"


def test_an_edited_contract_rules():
    store = prepare(csv_table()).store
    uri = "s3://data/contract/schema.json"
    edited = json.loads(store.read(uri))
    edited["columns"][0]["maximum"] = 100
    store.write(uri, json.dumps(edited).encode())
    outcome = prepare(csv_table(), store=store, run_id="second", maximum_reject_rate=0.5)
    assert {r["rule"] for r in outcome.rejected()} == {"range"}
    assert max(outcome.values("x")) <= 100
    store.write(uri, b"{}")
    with pytest.raises(InvalidContract, match="format is None"):
        prepare(csv_table(), store=store, run_id="third")


@pytest.mark.parametrize("changed", [{"target": "c"}, {"key": "x"}, {"task": "regression"}])
def test_parameters_that_contradict_the_contract_are_named(changed):
    store = prepare(csv_table()).store
    with pytest.raises(InvalidSettings, match=f"{next(iter(changed))} is .*delete it"):
        prepare(csv_table(), store=store, run_id="second", **changed)


def test_settings_name_every_problem_at_once():
    with pytest.raises(InvalidSettings, match=r"target is empty.*task is 'x'.*maximum_reject_rate is 1"):
        PrepareSettings("", task="x", maximum_reject_rate=1)


def test_a_request_without_objects_is_refused():
    with pytest.raises(InvalidEvent, match="no objects"):
        request_for([], target="y")


# --- duplicates and splits --------------------------------------------------------------------------


def keyed(rows: dict[int, float]) -> bytes:
    return b"id,v,y\n" + b"".join(b"%d,%r,%r\n" % (k, v, (k * 37 % 101) / 4) for k, v in rows.items())


def test_the_newest_object_wins_a_key():
    old, new = {i: i + 0.25 for i in range(300)}, {i: i + 0.75 for i in range(250, 400)}
    outcome = prepare(("new.csv", keyed(new)), ("old.csv", keyed(old)), key="id", block_bytes=500)
    assert outcome.prepared.duplicates == 50
    assert {row["id"]: row["v"] for row in outcome.kept()} == {**old, **new}


def test_the_last_row_of_a_key_wins_within_an_object():
    content = keyed({i: i + 0.25 for i in range(200)}) + keyed({7: 99.5}).partition(b"\n")[2]
    outcome = prepare(content, key="id", block_bytes=100)
    assert {row["id"]: row["v"] for row in outcome.kept()}[7] == 99.5
    assert outcome.prepared.duplicates == 1


def test_rows_that_differ_only_in_an_ignored_column_are_no_duplicates_without_a_key():
    rows = "".join(f"{i},{i % 5}.5,{'ab'[i % 2]}\n" for i in range(200))
    outcome = prepare(f"row,x,y\n{rows}".encode())
    assert outcome.contract.column("row").role == "ignored"
    assert outcome.prepared.duplicates == 0


def test_the_order_of_the_columns_makes_no_new_row():
    table = csv_table(200)
    swapped = b"\n".join(b",".join(line.split(b",")[::-1]) for line in table.split(b"\n"))
    outcome = prepare(("b.csv", swapped), ("a.csv", table))
    assert outcome.prepared.duplicates == 200


def test_a_row_lands_in_the_same_split_whatever_the_file():
    store = prepare(("a.csv", csv_table(2000))).store
    whole = {name: prepare(("a.csv", csv_table(2000)), store=store).split(name) for name in SPLITS}
    later = prepare(("b.csv", csv_table(600, start=700)), store=store, run_id="second")
    for name in SPLITS:
        assert set(later.split(name).column("x").to_pylist()) <= set(whole[name].column("x").to_pylist())


def test_splits_are_about_eighty_ten_ten():
    rows = prepare(csv_table(4000)).prepared.split_rows
    assert rows["train"] == pytest.approx(3200, abs=100)
    assert rows["validation"] == pytest.approx(400, abs=80)
    assert sum(rows.values()) == 4000


def test_rows_keep_the_order_of_the_drops():
    keys = prepare(("b.csv", csv_table(300, start=300)), ("a.csv", csv_table(300))).split("train")
    values = keys.column("x").to_pylist()
    assert values == sorted(values)


def test_large_tables_come_in_parts(monkeypatch):
    monkeypatch.setattr("dropforge.adapters.tables.writing.chunks._CHUNK_ROWS", (100, 100))
    many = prepare(csv_table(1000), block_bytes=3000)
    one = prepare(csv_table(1000), block_bytes=1 << 20)
    assert outputs(many.store) == outputs(one.store)
    assert len(list(many.store.list("s3://data/runs/run/train/"))) == 10
    assert many.prepared.kept == 1000


# --- tasks and targets ------------------------------------------------------------------------------


def target_table(values: list, n: int = 300) -> bytes:
    return b"x,y\n" + b"".join(f"{i * 0.5},{values[i % len(values)]}\n".encode() for i in range(n))


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["a", "b"], "binary", ("a", "b")),
        (["a", "b", "c"], "multiclass", ("a", "b", "c")),
        ([0, 1], "binary", ("0", "1")),
        (["0.0", "1.0"], "binary", ("0", "1")),
        (["True", "false"], "binary", ("false", "true")),
        (["01", "02", "10"], "multiclass", ("01", "02", "10")),
        (list(range(10)), "multiclass", tuple("0123456789")),
        ([0.5, 1.25, 7.75], "regression", None),
        (list(range(60)), "regression", None),
    ],
)
def test_the_target_decides_the_task(values, task, classes):
    outcome = prepare(target_table(values))
    assert (outcome.prepared.task, outcome.contract.classes) == (task, classes)
    if classes:
        assert set(outcome.values("y")) == set(classes)


def test_an_explicit_task_is_taken_or_refused():
    assert prepare(target_table([0, 1, 2]), task="regression").prepared.task == "regression"
    with pytest.raises(UnsuitableTarget, match="3 classes"):
        prepare(target_table(["a", "b", "c"]), task="binary")
    with pytest.raises(UnsuitableTarget, match="needs a number"):
        prepare(target_table(["a", "b"]), task="regression")


def test_numbers_under_one_label_are_one_class():
    with pytest.raises(ConstantTarget):
        prepare(target_table(["1", "1.0"]), task="binary")


def test_a_stray_class_costs_its_rows():
    outcome = prepare(target_table(["a", "b"]) + b"1.5,typo\n")
    assert outcome.contract.classes == ("a", "b")
    assert [r["value"] for r in outcome.rejected()] == ["typo"]
    assert any("'typo' (1)" in note for note in outcome.report["notes"])


def test_a_class_with_too_few_rows_is_named():
    with pytest.raises(TooFewRows, match=r"'b' \(3\)"):
        prepare(target_table(["a"]) + b"1,b\n2,b\n3,b\n")


def test_a_split_without_a_class_is_named():
    store = prepare(target_table(["a", "b"])).store
    with pytest.raises(TooFewRows, match="train has no row of class 'b'"):
        prepare(("n.csv", target_table(["a"])), store=store, run_id="second")


# --- columns that are not learned from --------------------------------------------------------------


def test_texts_are_learned_from_and_stay_out_of_the_profile():
    rows = "".join(f"{i},name {i},{i % 9}.5,{'ab'[i % 2]}\n" for i in range(300))
    outcome = prepare(f"code,name,x,y\n{rows}".encode())
    assert outcome.contract.column("name").type == "text"
    assert "'name' is learned from by its words: free text: 300 different values" in str(
        outcome.report["notes"]
    )
    entry = outcome.profile["name"]
    assert (entry["count"], entry["categories"], entry["other"]) == (300, [], 300)
    assert "name 17" not in json.dumps(outcome.profile) + json.dumps(outcome.report)


def test_categories_beyond_those_with_codes_are_learned_from_by_their_target():
    rows = "".join(f"town {i % 250},{i % 9}.5,{'ab'[i % 2]}\n" for i in range(1000))
    column = prepare(f"town,x,y\n{rows}".encode()).contract.column("town")
    assert (column.type, column.encoding) == ("category", "target")


def test_more_texts_than_are_learned_from_are_ignored():
    header = ",".join(f"t{n}" for n in range(MAXIMUM_TEXTS + 2))
    rows = "".join(
        ",".join(f"text {n} of {i}" for n in range(MAXIMUM_TEXTS + 2)) + f",{'ab'[i % 2]}\n"
        for i in range(100)
    )
    contract = prepare(f"{header},y\n{rows}".encode()).contract
    assert len(contract.features) == MAXIMUM_TEXTS
    assert "16 columns of texts" in (contract.column("t17").note or "")


def test_ignored_columns_are_explained():
    rows = "".join(f"{i},{i * 7919 % 100003},same,name {i},,{i % 9}.5,{'ab'[i % 2]}\n" for i in range(1, 301))
    outcome = prepare(f"row,customer_id,constant,name,empty,x,y\n{rows}".encode())
    assert [c.name for c in outcome.contract.features] == ["name", "x"]
    notes = "\n".join(outcome.report["notes"])
    for said in (
        "'row' is ignored: it counts the rows",
        "'customer_id' is ignored: by its name",
        "'constant' is ignored: it has the same value",
        "'empty' is ignored: it has no values",
    ):
        assert said in notes


def test_words_among_few_numbers_are_categories():
    rows = "".join(f"{'high' if i % 50 == 0 else i % 5},{i}.5,{'ab'[i % 2]}\n" for i in range(200))
    assert prepare(f"v,x,y\n{rows}".encode()).contract.column("v").type == "category"


def test_the_reject_rate_is_inclusive():
    store = prepare(csv_table()).store
    bad = ("bad.csv", csv_table(100, "oops,a,yes\n" * 6))
    with pytest.raises(TooManyRejects, match=r"6 of 106 rows \(5\.66 %\)"):
        prepare(bad, store=store, run_id="second", maximum_reject_rate=0.056)
    assert prepare(bad, store=store, run_id="third", maximum_reject_rate=6 / 106).prepared.rejected == 6


@pytest.mark.parametrize("block_bytes", [100, 3000, 1 << 20])
def test_rejects_come_in_parts_in_the_order_of_the_rows(monkeypatch, block_bytes):
    monkeypatch.setattr("dropforge.adapters.tables.writing.parts._REJECTS_PER_PART", 50)
    store = prepare(csv_table()).store
    bad = csv_table(300, "oops,a,maybe\n1\n" * 60 + "w" * 300 + ",a,yes\n")
    outcome = prepare(
        ("bad.csv", bad), store=store, run_id="second", maximum_reject_rate=0.5, block_bytes=block_bytes
    )
    parts = [ref.size for ref in store.list(outcome.prepared.rejected_uri)]
    rejected = outcome.rejected()
    assert (len(parts), len(rejected)) == (4, 181)
    assert [r["row"] for r in rejected] == sorted(r["row"] for r in rejected)
    assert [(r["row"], r["column"], r["value"], r["rule"]) for r in rejected[:3]] == [
        (301, "x", "oops", "type"),
        (301, "y", "maybe", "class"),
        (302, None, "1", "number of fields"),
    ]
    assert rejected[-1]["value"] == "w" * 199 + "…"


def test_a_column_of_numbers_with_too_many_words_says_why_it_is_text():
    outcome = prepare(csv_table(100, "oops,a,yes\n" * 6))
    assert any("100 of its 106 values are numbers" in note for note in outcome.report["notes"])


# --- profile and report -----------------------------------------------------------------------------


def test_the_profile_describes_every_kept_row():
    outcome = prepare(MESSY)
    x = np.array(outcome.values("x"))
    profile = outcome.profile
    assert profile["x"]["count"] == 501
    assert profile["x"]["minimum"] == x.min()
    assert profile["x"]["maximum"] == x.max()
    assert profile["x"]["mean"] == pytest.approx(x.mean())
    assert profile["x"]["deviation"] == pytest.approx(x.std())
    assert profile["x"]["quantiles"] == sorted(set(x.tolist()))
    assert {c["value"]: c["count"] for c in profile["y"]["categories"]} == {"no": 300, "yes": 201}


def test_the_report_shows_reasons_with_examples():
    rejects = prepare(MESSY).report["rejects"]
    assert {(r["rule"], r["column"], r["count"]) for r in rejects} == {
        ("type", "x", 1),
        ("number of fields", None, 1),
    }
    assert rejects[0]["examples"][0]["source"] == "s3://data/incoming/x.csv"


def test_the_data_version_follows_content_and_contract_but_not_order():
    a, b = ("a.csv", csv_table(200)), ("b.csv", csv_table(200, start=500))
    assert prepare(a, b).prepared.data_version == prepare(b, a).prepared.data_version
    assert prepare(a).prepared.data_version != prepare(b).prepared.data_version


def test_runs_on_s3_by_ranges():
    with mocked_aws() as client_of:
        client = client_of("s3")
        client.create_bucket(Bucket="data")
        for name, content in {"x.csv": MESSY, "x.csv.zst": pa.compress(MESSY, "zstd", asbytes=True)}.items():
            client.put_object(Bucket="data", Key=f"incoming/{name}", Body=content)
            store = S3ObjectStore(client)
            request = request_for([ObjectRef("data", f"incoming/{name}")], target="y")
            prepared = prepare_data(request, store, StreamedTables(store, 4096))
            assert prepared.kept == 501
            assert len(list(store.list(prepared.prefix))) >= 7


def test_two_runs_at_once_don_t_meet():
    table = csv_table(1000)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda _: prepare(table, block_bytes=2000), range(2)))
    assert outputs(outcomes[0].store) == outputs(outcomes[1].store)
