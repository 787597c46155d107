"""What identifies a row, which rows come again, and what decides on a row's split."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.preparation.chunking import outcome as outcome_of
from tests.unit.preparation.chunking import prepare_in_chunks, run_chunks
from tests.unit.preparation.dropping import DATA, SPLITS, csv_table, prepare

from dropforge.adapters.tables.streamed_tables import StreamedTables
from dropforge.application.preparation_request import PrepareRequest, PrepareSettings
from dropforge.application.prepare_data import prepare_data
from dropforge.domain.contract import Contract
from dropforge.domain.ports import ObjectRef
from dropforge.domain.recurrence import ObjectSketch, Twins, find_recurrences

PINNED = "s3://data/contract/schema.json"


def few_answers(rows: int, seed: int) -> bytes:
    """A survey's answers: hardly any two rows differ, and nine in ten say yes."""
    rng = random.Random(seed)  # noqa: S311 - a sample
    lines = ["age,region,y"]
    for _ in range(rows):
        age, region = rng.choice(["18-29", "30-44", "45-64", "65+"]), rng.choice("NESW")
        lines.append(f"{age},{region},{'yes' if rng.random() < 0.9 + 0.05 * (region == 'N') else 'no'}")
    return ("\n".join(lines) + "\n").encode()


def share_of_yes(outcome) -> float:
    return outcome.values("y").count("yes") / outcome.prepared.kept


# --- which rows count ---------------------------------------------------------------------------------


def test_equal_rows_of_an_object_all_count():
    outcome = prepare(few_answers(20_000, 1))
    assert (outcome.prepared.kept, outcome.prepared.duplicates) == (20_000, 0)
    assert share_of_yes(outcome) == pytest.approx(0.9125, abs=0.01)
    keys = [key for name in SPLITS for key in outcome.split(name)["dropforge_row_key"].to_pylist()]
    assert len(set(keys)) == 20_000


def test_equal_rows_of_two_objects_all_count_where_rows_are_alike_anyway():
    outcome = prepare(("b.csv", few_answers(3000, 1)), ("a.csv", few_answers(1000, 2)))
    assert outcome.prepared.kept == 4000
    assert outcome.report["recurrences"] == []


@pytest.mark.parametrize("content", [few_answers(3000, 1), csv_table(500)])
def test_an_object_that_is_dropped_again_counts_once(content):
    outcome = prepare(("again.csv", content), ("x.csv", content))
    rows = content.count(b"\n") - 1
    assert (outcome.prepared.kept, outcome.prepared.duplicates) == (rows, rows)
    assert outcome.report["recurrences"] == [
        {"source": f"{DATA}/incoming/x.csv", "later": f"{DATA}/incoming/again.csv", "rows": rows}
    ]


def test_an_export_that_grows_counts_once_and_is_told():
    days = [(f"day{day}.csv", csv_table(500 + 100 * day)) for day in (3, 2, 1)]
    other = ("other.csv", csv_table(400, start=5000))
    outcome = prepare(*days, other)
    assert (outcome.prepared.kept, outcome.prepared.duplicates) == (1200, 1300)
    assert [
        (each["source"][-8:], each["later"][-8:], each["rows"]) for each in outcome.report["recurrences"]
    ] == [
        ("day1.csv", "day2.csv", 600),
        ("day2.csv", "day3.csv", 700),
    ]
    assert any("IdColumn" in note for note in outcome.report["remarks"])


def test_objects_that_share_half_of_their_rows_are_no_export_of_the_same():
    outcome = prepare(("b.csv", csv_table(600, start=300)), ("a.csv", csv_table(600)))
    assert (outcome.prepared.kept, outcome.prepared.duplicates) == (1200, 0)


class VersionedStore(InMemoryObjectStore):
    """Keeps every version of the objects that it is given."""

    def __init__(self, versions: dict[tuple[str, str], bytes]) -> None:
        super().__init__()
        self._versions = versions

    def read(self, location):
        version = None if isinstance(location, str) else location.version_id
        return super().read(location) if version is None else self._versions[location.key, version]


@pytest.mark.parametrize("key", [None, "id"])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_newer_version_of_an_object_replaces_its_rows(key, in_chunks):
    def table(ids, start):
        lines = [f"{i},{i * 0.37 + start:.2f},{'yes' if i * 7 % 5 < 2 else 'no'}" for i in ids]
        return ("id,x,y\n" + "\n".join(lines) + "\n").encode()

    store = VersionedStore(
        {
            ("incoming/x.csv", "1"): table(range(600), 0.5),
            ("incoming/x.csv", "2"): table(range(300), 900.5),
            ("incoming/other.csv", "1"): table(range(1000, 1200), 0.5),
        }
    )
    refs = (
        ObjectRef("data", "incoming/x.csv", "2"),
        ObjectRef("data", "incoming/other.csv", "1"),
        ObjectRef("data", "incoming/x.csv", "1"),
    )
    request = PrepareRequest("run", refs, DATA, PrepareSettings("y", key))
    if in_chunks:
        run_chunks(request, store, 2000)
    else:
        prepare_data(request, store, StreamedTables(store))
    found = outcome_of(store)
    report = json.loads(found["documents"][f"{DATA}/runs/run/report.json"])
    assert report["rows"]["kept"] == 500
    values = sorted(value for name in SPLITS for value in found[name]["x"].to_pylist())
    assert values[-300:] == [round(i * 0.37 + 900.5, 2) for i in range(300)]
    assert report["replaced"] == ["s3://data/incoming/x.csv?versionId=1"]
    assert any("a newer version of the object replaces its rows" in each for each in report["remarks"])


# --- splits -------------------------------------------------------------------------------------------


def test_rows_that_are_equal_but_for_the_target_lie_in_one_split():
    lines = [f"{i % 700}.5,{'abc'[i % 3]},{i * 7 % 5}.25" for i in range(4200)]
    outcome = prepare(("x,c,y\n" + "\n".join(lines) + "\n").encode())
    assert outcome.contract.split_by == ("x", "c")
    seen: dict[tuple, set[str]] = {}
    for name in SPLITS:
        for row in outcome.split(name).to_pylist():
            seen.setdefault((row["x"], row["c"]), set()).add(name)
    assert all(len(names) == 1 for names in seen.values())
    assert outcome.report["split"] == {"by": ["x", "c"], "twin_share": None}


def test_few_different_rows_are_split_one_by_one_and_the_share_of_twins_is_told():
    store = InMemoryObjectStore()
    outcome = prepare(few_answers(4000, 1), store=store)
    assert Contract.from_json(store.read(PINNED)).split_by == () == outcome.contract.split_by
    assert outcome.report["split"] == {"by": "row", "twin_share": 1.0}
    assert outcome.prepared.split_rows["test"] == pytest.approx(400, abs=80)
    again = prepare(few_answers(4000, 1), store=store, run_id="second")
    for name in SPLITS:
        assert again.split(name).equals(outcome.split(name))


def test_a_pinned_contract_that_says_nothing_splits_by_the_whole_row_as_before():
    table = csv_table(2000)
    store = prepare(table).store
    before = json.loads(store.read(PINNED))
    del before["split_by"]
    store.write(PINNED, json.dumps(before).encode())
    outcome = prepare(table, store=store, run_id="second")
    assert outcome.report["split"]["by"] == "all columns"
    # Written down from the release that split by the whole row alone.
    assert outcome.prepared.split_rows == {"train": 1595, "validation": 202, "test": 203}
    assert sorted(outcome.split("test")["x"].to_pylist())[:5] == [1.98, 12.34, 14.56, 15.3, 26.4]


def test_a_key_decides_on_the_split_as_before():
    table = b"id,x,y\n" + b"".join(b"%d,%d.5,%d.25\n" % (i, i % 9, i % 7) for i in range(500))
    outcome = prepare(table, key="id")
    assert outcome.contract.split_by is None
    assert outcome.report["split"]["by"] == "key id"
    assert sorted(outcome.split("test")["id"].to_pylist())[:5] == [23, 32, 36, 38, 44]


def test_contracts_that_split_otherwise_are_told_apart():
    contract = prepare(csv_table()).contract
    edited = json.loads(contract.to_json())
    edited["columns"].append({**edited["columns"][0], "name": "z"})
    assert contract.splits_like(Contract.from_json(json.dumps(edited)))
    edited["split_by"].append("z")
    assert not contract.splits_like(Contract.from_json(json.dumps(edited)))
    del edited["split_by"]
    assert not contract.splits_like(Contract.from_json(json.dumps(edited)))


# --- in chunks ----------------------------------------------------------------------------------------

TABLES = {
    "growing": [("c.csv", csv_table(700)), ("b.csv", csv_table(600)), ("a.csv", csv_table(500))],
    "alike": [("b.csv", few_answers(900, 1)), ("a.csv", few_answers(700, 2))],
    "again": [("b.csv", few_answers(900, 1)), ("a.csv", few_answers(900, 1))],
    "unlabelled": [
        ("a.csv", csv_table(500) + b"1.5,a,\n" * 90 + csv_table(200, start=800).partition(b"\n")[2])
    ],
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("chunk_bytes", [1500, 1 << 20])
def test_chunks_come_to_the_same(name, chunk_bytes):
    whole = prepare(*TABLES[name])
    answer, store = prepare_in_chunks(*TABLES[name], chunk_bytes=chunk_bytes)
    assert answer == whole.prepared.to_dict()
    assert outcome_of(store) == outcome_of(whole.store)


# --- sketches -----------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 40), max_size=60), max_size=4), st.integers(1, 30))
def test_sketches_of_parts_are_that_of_the_whole(parts, size):
    def sketch(values):
        hashes = np.array(values, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        found = ObjectSketch(size)
        found.add(hashes, hashes + np.uint64(1))
        return found

    whole, merged = sketch([value for part in parts for value in part]), ObjectSketch(size)
    for part in map(sketch, parts):
        merged.merge(ObjectSketch.from_bytes(part.to_bytes()))
    assert merged.to_bytes() == whole.to_bytes()


def test_a_sample_finds_the_export_that_contains_a_large_object():
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 2**64, (2, 300_000), dtype=np.uint64)
    sketches = []
    for rows_of in (rows[:, :100_000], rows[:, 50_000:150_000], rows[:, :300_000]):
        sketches.append(ObjectSketch(1024))
        sketches[-1].add(*rows_of)
    assert find_recurrences(sketches) == {0: 2, 1: 2}


def test_twins_are_counted_exactly_while_combinations_are_few():
    twins = Twins()
    hashes = np.array([1, 1, 2, 3, 3], dtype=np.uint64)
    is_test = np.array([False, True, True, True, False])
    twins.add(hashes, ~is_test, is_test)
    assert Twins.from_list(twins.to_list()).share == pytest.approx(2 / 3)
    assert Twins().share is None
