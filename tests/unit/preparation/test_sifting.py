"""A file that is bad by itself is set aside by name, and the good ones of the same run go on."""

from __future__ import annotations

import json

import pytest
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.preparation.chunking import prepare_in_chunks
from tests.unit.preparation.dropping import csv_table, prepare

from dropforge.domain.errors import DropforgeError, EmptyData, MissingTarget, SchemaChanged, TooFewRows

GOOD, MORE = csv_table(200), csv_table(200, start=300)
EMPTY = b"x,c,y\n"
WITHOUT_TARGET = GOOD.replace(b"x,c,y", b"x,c,z")
PINNED = "s3://data/contract/schema.json"
REMARKS = "s3://data/runs/run/remarks.json"


def in_one(*files, store, **options):
    return prepare(*files, store=store, **options).prepared.to_dict()


def in_many(*files, store, **options):
    return prepare_in_chunks(*files, store=store, chunk_bytes=1500, **options)[0]


@pytest.fixture(params=[in_one, in_many])
def prepared(request):
    """Prepares files in one function or in many, under a contract that is pinned or not."""
    return request.param


@pytest.fixture(params=["inferred", "pinned"])
def store(request):
    store = InMemoryObjectStore()
    if request.param == "pinned":
        store.write(PINNED, prepare(csv_table(200, start=900)).store.read(PINNED))
    return store


def remarks(store):
    return json.loads(store.read(REMARKS))


def why(store):
    return {drop_id: reason["class"] for drop_id, reason in remarks(store)["set_aside"].items()}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (WITHOUT_TARGET, "MissingTarget"),
        (GOOD.replace(b"x,c,y", b"x,d,y"), "SchemaChanged"),
        (b"x,c,y\n1,2\n" * 40, "TooManyRejects"),
        (b"x,x,y\n1,2,no\n", "DuplicateColumn"),
        (b"PK\x03\x04" + bytes(200), "UnsupportedFormat"),
    ],
)
def test_the_good_ones_go_on(prepared, store, bad, reason):
    answer = prepared(("new.csv", MORE), ("bad.csv", bad), ("old.csv", GOOD), store=store)
    assert answer["rows"]["kept"] == 400
    assert why(store) == {"bad.csv": reason}
    [note] = answer["remarks"]
    assert note.startswith("Trained without incoming/bad.csv")
    assert remarks(store)["notes"] == [note]


def test_several_are_found_at_once(prepared, store):
    bad = [(f"bad-{number}.csv", WITHOUT_TARGET) for number in range(4)]
    answer = prepared(*bad[:2], ("good.csv", GOOD), *bad[2:], store=store)
    assert answer["rows"]["kept"] == 200
    assert why(store) == {f"bad-{number}.csv": "MissingTarget" for number in range(4)}


def test_files_without_rows_beside_others_are_passed_over_with_a_note(prepared, store):
    answer = prepared(("good.csv", GOOD), ("e1.csv", EMPTY), ("e2.csv", b""), store=store)
    assert answer["rows"]["kept"] == 200
    assert why(store) == {}
    assert answer["remarks"] == ["Passed over files without rows: incoming/e1.csv, incoming/e2.csv."]


def test_files_without_rows_alone_are_an_error_that_says_so(prepared, store):
    with pytest.raises(EmptyData, match=r"e2\.csv"):
        prepared(("e1.csv", EMPTY), ("e2.csv", EMPTY), store=store)
    assert why(store) == {"e1.csv": "EmptyData", "e2.csv": "EmptyData"}


def test_without_a_good_new_file_the_run_fails_whatever_is_good_of_before(prepared, store):
    with pytest.raises((MissingTarget, SchemaChanged), match=r"new\.csv"):
        prepared(("new.csv", WITHOUT_TARGET), ("old.csv", GOOD), store=store, new=1)
    assert why(store) == {"new.csv": "MissingTarget"}


def test_a_small_new_file_of_rejects_does_not_hide_among_much_that_is_good(prepared, store):
    garbage = b"x,c,y\n" + b"1,2\n" * 12
    with pytest.raises(DropforgeError):
        prepared(("new.csv", garbage), ("old.csv", csv_table(2000)), store=store, new=1)
    assert why(store) == {"new.csv": "TooManyRejects"}


def test_what_is_about_all_rows_sets_nothing_aside(prepared, store):
    with pytest.raises(TooFewRows):
        prepared(("a.csv", csv_table(20)), ("b.csv", csv_table(10, start=50)), store=store)
    assert not store.exists(REMARKS)


def test_objects_that_no_longer_fit_a_changed_contract_are_left_out(prepared):
    wide = GOOD.replace(b"x,c,y\n", b"x,c,y,z\n").replace(b"no\n", b"no,1\n").replace(b"yes\n", b"yes,2\n")
    store = InMemoryObjectStore({PINNED: prepare(wide, run_id="first").store.read(PINNED)})
    answer = prepared(("new.csv", wide), ("old.csv", MORE), store=store, new=1)
    assert answer["rows"]["kept"] == 200
    assert why(store) == {"old.csv": "SchemaChanged"}


def test_says_where_a_run_has_far_fewer_rows_than_the_live_model_had(prepared, store):
    answer = prepared(("new.csv", GOOD), store=store, live_rows=19_200)
    assert answer["remarks"] == ["Trained on 200 rows; the live model was trained on 19,200."]
    assert remarks(store) == {"format": 1, "set_aside": {}, "notes": answer["remarks"]}


def test_says_nothing_where_there_is_nothing_to_say(prepared, store):
    assert prepared(("new.csv", GOOD), store=store, live_rows=210)["remarks"] == []
    assert not store.exists(REMARKS)


def test_a_changed_schema_alone_is_still_to_be_accepted(prepared):
    store = InMemoryObjectStore({PINNED: prepare(GOOD).store.read(PINNED)})
    with pytest.raises(SchemaChanged, match="contract accept run"):
        prepared(("new.csv", GOOD.replace(b"x,c,y", b"x,d,y")), ("old.csv", MORE), store=store, new=1)
