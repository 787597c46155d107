"""Rows of one group lie in one split, in every drop, order and chunking."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.preparation.chunking import prepare_in_chunks
from tests.unit.preparation.dropping import DATA, SPLITS, Outcome, prepare
from tests.unit.preparation.test_chunks import assert_same, in_many, in_one

from dropforge.domain.contract import Contract
from dropforge.domain.errors import (
    ConstantSplitColumn,
    EmptySplit,
    InvalidSettings,
    MissingSplitColumn,
    TooManyGroups,
)
from dropforge.domain.recurrence import GroupTally

PINNED = f"{DATA}/contract/schema.json"


def visits(patients: int, each: int = 5, seed: int = 1, first: int = 0, spelling: str = "{}") -> bytes:
    """Several rows of every patient, in no order."""
    rng = random.Random(seed)  # noqa: S311 - a sample
    rows = [
        f"{spelling.format(first + patient)},{rng.gauss(patient % 7, 1):.3f},{rng.choice('abc')},"
        f"{'yes' if rng.random() < 0.4 else 'no'}"
        for patient in range(patients)
        for _ in range(each)
    ]
    rng.shuffle(rows)
    return ("\n".join(["patient,x,c,y", *rows]) + "\n").encode()


def as_json(table: bytes) -> bytes:
    header, *lines = table.decode().splitlines()
    names = header.split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines]
    return "".join(
        json.dumps({**row, "patient": int(row["patient"]), "x": float(row["x"])}) + "\n" for row in rows
    ).encode()


def groups_by_split(outcome: Outcome, column: str = "patient") -> dict[str, set]:
    return {split: set(outcome.split(split)[column].to_pylist()) for split in SPLITS}


def assert_apart(found: dict[str, set]) -> None:
    assert not found["train"] & found["test"]
    assert not found["train"] & found["validation"]
    assert not found["validation"] & found["test"]


# --- where rows go ------------------------------------------------------------------------------------


def test_all_rows_of_a_group_lie_in_one_split():
    outcome = prepare(visits(200), group="patient")
    found = groups_by_split(outcome)
    assert_apart(found)
    assert sum(map(len, found.values())) == 200
    assert all(found.values())
    contract = outcome.contract
    assert contract.group == "patient"
    assert contract.column("patient").role == "split"
    assert [column.name for column in contract.features] == ["x", "c"]
    assert outcome.report["split"] == {
        "by": ["patient"],
        "twin_share": None,
        "group": "patient",
        "groups": 200,
    }


def test_without_the_parameter_groups_are_in_several_splits_and_a_note_says_what_to_set():
    outcome = prepare(visits(200))
    found = groups_by_split(outcome)
    assert found["train"] & found["test"]
    (note,) = [note for note in outcome.report["notes"] if "GroupColumn" in note]
    assert "set GroupColumn=patient" in note
    assert outcome.contract.group is None


def test_a_group_lies_in_one_split_with_an_id_as_well():
    lines = visits(200).decode().splitlines()
    keyed = "\n".join([f"id,{lines[0]}", *(f"{n},{line}" for n, line in enumerate(lines[1:]))]) + "\n"
    outcome = prepare(keyed.encode(), key="id", group="patient")
    assert_apart(groups_by_split(outcome))
    keys = [key for split in SPLITS for key in outcome.split(split)["dropforge_row_key"].to_pylist()]
    assert len(set(keys)) == outcome.prepared.kept == 1000


@settings(max_examples=25)
@given(data=st.data())
def test_no_group_is_in_two_splits_however_the_rows_are_dropped_and_cut(data):
    """Over runs, too: a later run that reads more drops moves no group."""
    seed = data.draw(st.integers(0, 10_000))
    has_key = data.draw(st.booleans())
    lines = visits(data.draw(st.integers(40, 90)), 6, seed).decode().splitlines()
    header, rows = lines[0], lines[1:]
    if has_key:
        header, rows = f"id,{header}", [f"{number},{row}" for number, row in enumerate(rows)]
    rows = data.draw(st.permutations(rows[:40])) + rows[40:]
    cuts = sorted(data.draw(st.lists(st.integers(60, len(rows) - 60), max_size=3, unique=True)))
    drops = [rows[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    files = [
        (f"{n}.csv", ("\n".join([header, *drop]) + "\n").encode()) for n, drop in enumerate(drops) if drop
    ]
    options = {"group": "patient", "minimum_rows": 1, "maximum_reject_rate": 0.5}
    if has_key:
        options["key"] = "id"
    store = InMemoryObjectStore()
    one = in_one(*files, store=store, **options)
    many = in_many(*files, chunk_bytes=data.draw(st.integers(400, 5000)), **options)
    assert_same(one, many)
    if not isinstance(one[0], dict):
        return
    found = {split: set(one[1][split]["patient"].to_pylist()) for split in SPLITS}
    assert_apart(found)
    more = visits(80, 4, seed + 1, first=20).decode().splitlines()[1:]
    more = [f"{10_000 + n},{row}" for n, row in enumerate(more)] if has_key else more
    later = in_one(
        ("z.csv", ("\n".join([header, *more]) + "\n").encode()),
        *files,
        store=store,
        run_id="later",
        **options,
    )
    assert isinstance(later[0], dict)
    after = {split: set(later[1][split]["patient"].to_pylist()) for split in SPLITS}
    assert_apart(after)
    assert all(found[split] <= after[split] for split in SPLITS)


def test_a_group_lies_in_one_split_whatever_the_file_format():
    store = InMemoryObjectStore()
    files = [("b.jsonl", as_json(visits(60, seed=2))), ("a.csv", visits(60, seed=1))]
    assert_apart(groups_by_split(prepare(*files, store=store, group="patient")))


def test_prepared_rows_hold_their_groups_key():
    test = prepare(visits(200), group="patient").split("test")
    pairs = set(zip(test["patient"].to_pylist(), test["dropforge_group_key"].to_pylist(), strict=True))
    assert len(pairs) == len({patient for patient, _ in pairs}) == len({key for _, key in pairs})
    assert "dropforge_group_key" not in prepare(visits(200)).split("test").column_names


# --- a contract that was there before -----------------------------------------------------------------


def test_a_pinned_contract_follows_the_parameter_and_keeps_what_is_learned_from():
    store = InMemoryObjectStore()
    before = prepare(("a.csv", visits(100)), store=store).contract
    after = prepare(
        ("b.csv", visits(100, seed=2, first=100)),
        ("a.csv", visits(100)),
        store=store,
        run_id="b",
        group="patient",
    )
    assert_apart(groups_by_split(after))
    assert after.contract.group == "patient"
    assert after.contract.features == before.features
    assert not after.contract.splits_like(before)
    assert Contract.from_json(store.read(PINNED)) == before
    again = prepare(("a.csv", visits(100)), store=store, run_id="c")
    assert again.contract == before


def test_an_ignored_column_is_read_from_when_it_is_the_group():
    store = InMemoryObjectStore()
    first = visits(80, 1, spelling="P{}") + visits(40, 1, spelling="P{}").partition(b"\n")[2]
    before = prepare(("a.csv", first), store=store, key=None).contract
    assert before.column("patient").role in ("ignored", "feature")
    edited = before.to_dict()
    for column in edited["columns"]:
        if column["name"] == "patient":
            column.update(role="ignored", type="text", nullable=True)
    edited["split_by"] = ["x", "c"]
    store.write(PINNED, json.dumps(edited).encode())
    outcome = prepare(("b.csv", visits(100, spelling="P{}")), store=store, run_id="b", group="patient")
    assert outcome.contract.column("patient").role == "split"
    assert_apart(groups_by_split(outcome))


def test_a_pinned_contract_without_the_column_is_refused():
    store = InMemoryObjectStore()
    prepare(visits(100), store=store)
    with pytest.raises(InvalidSettings, match="GroupColumn is 'clinic', which is not among the columns"):
        prepare(visits(100), store=store, run_id="b", group="clinic")


def test_contracts_without_groups_are_written_as_before():
    contract = prepare(visits(100)).contract
    assert "group" not in contract.to_dict()
    assert Contract.from_json(contract.to_json()).group is None


# --- bad input ----------------------------------------------------------------------------------------


def refused(error: type[Exception], *files, **options) -> str:
    """Both ways of preparing refuse the rows alike; nothing is pinned. Returns the message."""
    for way in (in_one, in_many):
        store = InMemoryObjectStore()
        given_ = {**options, "chunk_bytes": 700} if way is in_many else options
        (kind, message), _ = way(*files, store=store, **given_)
        assert kind == error.__name__, message
        assert PINNED not in store.objects
    return message


def test_a_drop_without_the_group_column_is_refused():
    assert "'clinic'" in refused(MissingSplitColumn, visits(100), group="clinic")


def test_a_drop_without_the_group_column_is_set_aside_beside_others():
    without = b"x,c,y\n" + b"".join(b"1.5,a,yes\n" for _ in range(50))
    store = InMemoryObjectStore()
    outcome = prepare(("b.csv", without), ("a.csv", visits(100)), store=store, group="patient")
    assert outcome.prepared.kept == 500
    assert "MissingSplitColumn" in store.read(f"{outcome.prepared.prefix}remarks.json").decode()


def test_a_group_column_of_one_value_is_refused():
    assert "only one group" in refused(ConstantSplitColumn, visits(1, 200), group="patient")


def test_a_group_column_that_tells_rows_apart_is_refused():
    assert "200 values in 200 rows" in refused(TooManyGroups, visits(200, 1), group="patient")


def test_too_few_groups_leave_a_split_empty():
    assert "leave no row for" in refused(EmptySplit, visits(3, 60), group="patient")


def test_a_row_without_its_group_is_rejected():
    outcome = prepare(visits(100) + b",1.5,a,yes\n", group="patient")
    assert [(row["column"], row["rule"]) for row in outcome.rejected()] == [("patient", "missing")]


@pytest.mark.parametrize("options", [{"group": "y"}, {"group": "patient", "key": "patient"}, {"group": ""}])
def test_a_group_that_is_the_target_or_the_id_is_refused(options):
    with pytest.raises(InvalidSettings, match=r"group|GroupColumn"):
        prepare(visits(100), **options)


# --- counting groups ----------------------------------------------------------------------------------


def test_groups_are_counted_alike_however_they_are_cut():
    rng = random.Random(3)  # noqa: S311 - a sample
    import numpy as np

    hashes = np.array([rng.getrandbits(64) for _ in range(20_000)], dtype=np.uint64).repeat(3)
    whole, merged = GroupTally(), GroupTally()
    whole.add(hashes)
    for part in np.array_split(np.random.default_rng(1).permutation(hashes), 7):
        tally = GroupTally()
        tally.add(part)
        merged.merge(GroupTally.from_list(tally.to_list()))
    assert whole.to_list() == merged.to_list()
    assert whole.groups_among(len(hashes)) == pytest.approx(20_000, rel=0.05)


def test_chunks_may_be_answered_by_the_release_before():
    store = InMemoryObjectStore()

    def forget(event, call):
        result = call()
        if event.get("phase") == "reduce":
            uri = f"{DATA}/scratch/run/reduce/{event['index']:06d}/result.json"
            answer = json.loads(store.read(uri))
            answer.pop("groups", None)
            store.write(uri, json.dumps(answer).encode())
        return result

    answer, _ = prepare_in_chunks(visits(100), chunk_bytes=900, store=store, around=forget)
    assert answer["rows"]["kept"] == 500
