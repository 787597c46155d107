"""The newest rows test, older ones validate and train; boundaries are exact, and only move forward."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.preparation.dropping import DATA, SPLITS, Outcome, a_request, dropped, prepare
from tests.unit.preparation.test_chunks import assert_same, in_many, in_one

from dropforge.adapters.tables.streamed_tables import StreamedTables
from dropforge.application.preparation_request import PrepareSettings
from dropforge.application.prepare_data import prepare_data
from dropforge.domain.errors import (
    ConstantSplitColumn,
    EmptySplit,
    InvalidSettings,
    MissingSplitColumn,
    SplitColumnInFuture,
    UnsuitableSplitColumn,
)
from dropforge.domain.time_split import Boundaries, Placing, Times, key_of, ordered_keys, value_of

PINNED = f"{DATA}/contract/schema.json"
BOUNDARIES = f"{DATA}/contract/boundaries.json"
START = datetime(2024, 1, 1, tzinfo=UTC)


def orders(
    rows: int,
    first: int = 0,
    seed: int = 1,
    spelled: Any = lambda hour: (START + timedelta(hours=hour)).strftime("%Y-%m-%d %H:%M"),
    customers: int = 20,
) -> bytes:
    """A row an hour, in no order."""
    rng = random.Random(seed)  # noqa: S311 - a sample
    lines = [
        f"{spelled(first + hour)},C{rng.randrange(customers)},{rng.gauss(0, 1):.3f},{rng.choice('abc')},"
        f"{'yes' if rng.random() < 0.4 else 'no'}"
        for hour in range(rows)
    ]
    rng.shuffle(lines)
    return ("\n".join(["at,customer,x,c,y", *lines]) + "\n").encode()


def ends(outcome: Outcome, column: str = "at") -> list[Any]:
    """Per split the least and the greatest time."""
    found = [outcome.split(split)[column].to_pylist() for split in SPLITS]
    return [(min(each), max(each)) for each in found]


def assert_in_order(outcome: Outcome, column: str = "at") -> None:
    (_, train), (validation_from, validation), (test, _) = ends(outcome, column)
    assert train < validation_from <= validation < test


# --- where rows go ------------------------------------------------------------------------------------


def test_the_newest_tenth_tests_and_the_tenth_before_it_validates():
    outcome = prepare(orders(1000), time="at")
    assert outcome.prepared.split_rows == {"train": 800, "validation": 100, "test": 100}
    assert_in_order(outcome)
    contract = outcome.contract
    assert (contract.time, contract.column("at").role, contract.column("at").type) == (
        "at",
        "split",
        "timestamp",
    )
    assert "at" not in [column.name for column in contract.features]
    split = outcome.report["split"]
    assert split["by"] == "time at"
    assert split["boundaries"] == {
        "column": "at",
        "type": "timestamp",
        "validation_from": "2024-02-03T08:00:00+00:00",
        "test_from": "2024-02-07T12:00:00+00:00",
    }


@pytest.mark.parametrize(
    "spelled", [lambda hour: hour * 3, lambda hour: f"{hour / 7 - 20:.4f}", lambda hour: f"{hour}e-9"]
)
def test_numbers_have_an_order_as_well(spelled):
    outcome = prepare(orders(500, spelled=spelled), time="at")
    assert outcome.prepared.split_rows == {"train": 400, "validation": 50, "test": 50}
    assert_in_order(outcome)


def test_rows_of_one_time_lie_in_one_split():
    outcome = prepare(orders(1000, spelled=lambda hour: 2000 + hour // 250), time="at")
    assert outcome.prepared.split_rows == {"train": 500, "validation": 250, "test": 250}
    assert_in_order(outcome)


def test_rows_of_groups_that_are_tested_train_nothing_and_are_counted():
    lines = orders(1000, spelled=lambda hour: hour, customers=3).decode().splitlines()
    lines = [
        line.replace(",C", f",C{int(line.split(',')[0]) // 20}-") if n else line
        for n, line in enumerate(lines)
    ]
    outcome = prepare(("\n".join(lines) + "\n").encode(), time="at", group="customer", minimum_rows=10)
    assert_in_order(outcome)
    groups = [set(outcome.split(split)["customer"].to_pylist()) for split in SPLITS]
    assert not groups[2] & (groups[0] | groups[1])
    left_out = outcome.report["split"]["left_out"]
    assert sum(outcome.prepared.split_rows.values()) + left_out == 1000

    both = prepare(orders(1000, spelled=lambda hour: hour, customers=400), time="at", group="customer")
    tested = set(both.split("test")["customer"].to_pylist())
    assert both.report["split"]["left_out"] > 0
    assert not tested & {
        *both.split("train")["customer"].to_pylist(),
        *both.split("validation")["customer"].to_pylist(),
    }
    assert any(
        "because their groups ('customer') occur in the test" in said for said in both.report["remarks"]
    )


@settings(max_examples=20)
@given(data=st.data())
def test_splits_are_the_same_however_the_rows_are_dropped_and_cut(data):
    """Streamed and chunked, in any order of the rows and any number of drops."""
    rows = data.draw(st.integers(120, 260))
    step = data.draw(st.sampled_from([1, 7, 40]))
    lines = (
        orders(rows, seed=data.draw(st.integers(0, 999)), spelled=lambda h: h // step, customers=60)
        .decode()
        .splitlines()
    )
    header, body = lines[0], lines[1:]
    body = data.draw(st.permutations(body[:30])) + body[30:]
    has_key, has_group = data.draw(st.booleans()), data.draw(st.booleans())
    if has_key:
        # Some rows come again, which only the newest counts of.
        header, body = f"id,{header}", [f"{n % (rows - 20)},{line}" for n, line in enumerate(body)]
    cuts = sorted(data.draw(st.lists(st.integers(50, rows - 50), max_size=3, unique=True)))
    drops = [body[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    files = [
        (f"{n}.csv", ("\n".join([header, *drop]) + "\n").encode()) for n, drop in enumerate(drops) if drop
    ]
    options: dict[str, Any] = {"time": "at", "minimum_rows": 1, "maximum_reject_rate": 0.5}
    options |= {"key": "id"} if has_key else {}
    options |= {"group": "customer"} if has_group else {}
    one = in_one(*files, **options)
    assert_same(one, in_many(*files, chunk_bytes=data.draw(st.integers(300, 6000)), **options))
    if not isinstance(one[0], dict):
        return
    times = [one[1][split]["at"].to_pylist() for split in SPLITS]
    assert max(times[0]) < min(times[1])
    assert max(times[1]) < min(times[2])
    assert len(times[2]) * 10 >= sum(map(len, times))
    if has_group:
        groups = [set(one[1][split]["customer"].to_pylist()) for split in SPLITS]
        assert not groups[2] & (groups[0] | groups[1])


# --- boundaries over runs -----------------------------------------------------------------------------


def test_rows_go_from_test_to_validation_to_training_and_never_back():
    store = InMemoryObjectStore()
    files: list[tuple[str, bytes]] = []
    place: dict[Any, int] = {}
    for run in range(4):
        files.insert(0, (f"{run}.csv", orders(300, first=300 * run, seed=run)))
        outcome = prepare(*files, store=store, run_id=f"r{run}", time="at")
        assert_in_order(outcome)
        for code, split in enumerate(SPLITS):
            for at in outcome.split(split)["at"].to_pylist():
                assert code <= place.get(at, 2)
                place[at] = code
    assert json.loads(store.read(BOUNDARIES))["run_id"] == "r3"


def test_late_rows_train_and_a_run_on_fewer_rows_moves_nothing_back():
    store = InMemoryObjectStore()
    first = prepare(("a.csv", orders(500)), store=store, time="at")
    late = orders(1000, first=-2000, seed=3)
    second = prepare(("late.csv", late), ("a.csv", orders(500)), store=store, run_id="b", time="at")
    assert second.report["split"]["boundaries"] == first.report["split"]["boundaries"]
    assert second.prepared.split_rows["test"] == first.prepared.split_rows["test"]
    with pytest.raises(EmptySplit, match="neither moves back"):
        prepare(("late.csv", late), store=store, run_id="c", time="at")


def test_the_same_run_again_leaves_the_same():
    store = InMemoryObjectStore()
    prepare(orders(300), store=store, time="at")
    before = dict(store.objects)
    prepare(orders(300), store=store, time="at")
    assert store.objects == before


def test_boundaries_of_another_column_count_for_nothing():
    store = InMemoryObjectStore()
    prepare(orders(300, first=5000, spelled=lambda hour: hour), store=store, time="at")
    raw = json.loads(store.read(BOUNDARIES))
    store.write(BOUNDARIES, json.dumps({**raw, "column": "delivered"}).encode())
    outcome = prepare(orders(300, spelled=lambda hour: hour), store=store, run_id="b", time="at")
    assert outcome.prepared.split_rows["test"] == 30


# --- a contract that was there before -----------------------------------------------------------------


def test_a_pinned_contract_follows_the_parameter_and_keeps_what_is_learned_from():
    store = InMemoryObjectStore()
    before = prepare(("a.csv", orders(300)), store=store).contract
    after = prepare(("a.csv", orders(300)), store=store, run_id="b", time="at").contract
    assert after.time == "at"
    assert after.features == before.features
    assert not after.splits_like(before)
    grouped = prepare(
        ("a.csv", orders(300)), store=store, run_id="c", time="at", group="customer", minimum_rows=1
    )
    assert not grouped.contract.splits_like(after)
    assert prepare(("a.csv", orders(300)), store=store, run_id="d").contract == before


def test_a_note_says_which_columns_hold_points_in_time():
    (note,) = [note for note in prepare(orders(300)).report["notes"] if "SplitColumn" in note]
    assert note.startswith("'at': holds points in time")


# --- bad input ----------------------------------------------------------------------------------------


def refused(error: type[Exception], *files: Any, **options: Any) -> str:
    for way in (in_one, in_many):
        store = InMemoryObjectStore()
        given_ = {**options, "chunk_bytes": 900} if way is in_many else options
        (kind, message), _ = way(*files, store=store, **given_)
        assert kind == error.__name__, message
        assert PINNED not in store.objects
        assert BOUNDARIES not in store.objects
    return message


def test_a_drop_without_the_column_is_refused():
    assert "'delivered'" in refused(MissingSplitColumn, orders(200), time="delivered")


def test_a_column_of_words_is_refused():
    assert "is a category" in refused(UnsuitableSplitColumn, orders(200), time="c")


def test_one_time_for_all_rows_is_refused():
    assert "in all 200 rows" in refused(
        ConstantSplitColumn, orders(200, spelled=lambda _: "2024-01-01"), time="at"
    )


def test_a_time_that_no_row_has_is_refused_as_such():
    told = refused(UnsuitableSplitColumn, orders(200, spelled=lambda _: ""), time="at")
    assert told.startswith("The split column 'at' has no values, so nothing says which rows are newer.")


def test_two_times_leave_training_empty():
    told = refused(EmptySplit, orders(200, spelled=lambda hour: 2020 + hour // 100), time="at")
    assert told.startswith("No row is left for train where 'at' splits the rows: validation begins at 2020")
    assert "too few different ones for three" in told
    assert "earlier run" not in told


def test_groups_that_are_all_tested_leave_the_other_splits_empty():
    told = refused(EmptySplit, orders(200, customers=2), time="at", group="customer")
    assert "180 older rows are left out, because their 'customer' occurs in the test" in told
    assert "Drop rows of more groups" in told
    assert "newer rows" not in told


def test_groups_that_all_occur_in_every_year_are_not_taken_for_single_rows():
    """A panel: the test has one row of each, and all others are left out."""
    lines = ["x,who,year,y"]
    for who in range(60):
        lines += [
            f"{who * 7 % 13 + year},{who},{1980 + year},{'no' if who % 3 else 'yes'}" for year in range(8)
        ]
    told = refused(EmptySplit, "\n".join([*lines, ""]).encode(), time="year", group="who")
    assert "420 older rows are left out, because their 'who' occurs in the test" in told


def test_rows_later_than_now_are_refused_where_they_are_many_and_told_where_they_are_few():
    def run(asked_at: str) -> dict[str, Any]:
        store = InMemoryObjectStore()
        request = a_request("run", dropped(store, [orders(1000)]), PrepareSettings("y", time="at"))
        object.__setattr__(request, "asked_at", asked_at)
        prepared = prepare_data(request, store, StreamedTables(store))
        return json.loads(store.read(prepared.report_uri))

    with pytest.raises(SplitColumnInFuture, match="of 1,000 rows are later than now"):
        run("2024-01-20T00:00:00+00:00")
    with pytest.raises(SplitColumnInFuture, match="up to 2024-02-11"):
        run((START + timedelta(hours=1000 - 24 - 60)).isoformat())
    told = run((START + timedelta(hours=1000 - 24 - 41)).isoformat())
    assert any(said.startswith("40 rows are later than now by 'at'") for said in told["remarks"])
    assert not [said for said in run("2024-02-12T00:00:00+00:00")["remarks"] if "later than now" in said]


@pytest.mark.parametrize("options", [{"time": "y"}, {"time": "customer", "group": "customer"}, {"time": ""}])
def test_a_time_that_is_the_target_or_the_group_is_refused(options):
    with pytest.raises(InvalidSettings, match=r"time|SplitColumn"):
        prepare(orders(100), **options)


# --- keys in order ------------------------------------------------------------------------------------


@given(st.lists(st.floats(allow_nan=False), min_size=2))
def test_keys_of_numbers_are_in_their_order_and_stand_for_them(values):
    array = np.array(values)
    keys = ordered_keys(array)
    for one, other in zip(range(len(array) - 1), range(1, len(array)), strict=True):
        assert (array[one] < array[other]) == (keys[one] < keys[other])
    assert [value_of(int(key), "number") for key in keys] == values
    assert [key_of(value, "number") for value in values] == keys.tolist()


@given(st.integers(-(2**63), 2**63 - 1))
def test_keys_of_integers_stand_for_them(value):
    (key,) = ordered_keys(np.array([value], dtype=np.int64)).tolist()
    assert value_of(key, "integer") == value
    assert key_of(value, "integer") == key


@given(st.datetimes())
def test_keys_of_moments_stand_for_them(moment):
    text = moment.replace(tzinfo=UTC).isoformat()
    assert value_of(key_of(text, "timestamp"), "timestamp") == text


@settings(max_examples=200)
@given(
    st.lists(st.integers(0, 2**64 - 1) | st.integers(2**63, 2**63 + 50), min_size=10, max_size=300),
    st.integers(1, 7),
)
def test_boundaries_are_exact_whatever_the_pieces(values, pieces):
    """Compared with sorting everything; few values are sorted at once, as of many rows."""
    keys = np.array(values, dtype=np.uint64)
    ordered = sorted(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dropforge.domain.time_split._SORTED_AT_ONCE", 4)
        times = Times(lambda: np.array_split(keys, pieces))
        test_from = ordered[len(values) * 9 // 10]
        validation_from = ordered[len(values) * 8 // 10]
        if validation_from == test_from:
            validation_from = max([value for value in values if value < test_from], default=test_from)
        assert times.boundaries() == Boundaries(validation_from, test_from)
        assert all(times.at(rank) == ordered[rank] for rank in range(0, len(values), 17))


def test_a_placing_is_read_as_it_was_written():
    for held in (None, np.array([], dtype=np.uint64), np.array([3, 2**63 + 1], dtype=np.uint64)):
        placing = Placing(Boundaries(5, 2**64 - 1), held)
        again = Placing.from_bytes(placing.to_bytes())
        assert again.boundaries == placing.boundaries
        assert (again.held is None) == (held is None)
        assert held is None or np.array_equal(again.held, held)
