"""Preparation in many functions gives what preparation in one gives, however the drops are cut."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.preparation.chunking import outcome, prepare_in_chunks
from tests.unit.preparation.dropping import csv_table, prepare
from tests.unit.preparation.test_against_reference import EXAMPLE, contract, written_files

from dropforge.adapters.tables import chunked_tables as chunks
from dropforge.adapters.tables.reading import csv_records, csv_scan
from dropforge.adapters.tables.reading.byte_ranges import line_start
from dropforge.adapters.tables.reading.csv_records import cut, first_record_end
from dropforge.adapters.tables.reading.csv_scan import scan
from dropforge.adapters.tables.staging.key_file import KeyFile, KeySorter
from dropforge.application.merge_chunks import merge_chunks
from dropforge.application.prepare_chunk import prepare_chunk
from dropforge.application.scale_out import MANY_OBJECTS, ScaleOut
from dropforge.domain.chunks import Cut, items_of, resolved
from dropforge.domain.errors import (
    ChunkFailed,
    DropforgeError,
    InvalidEvent,
    InvalidSettings,
    SchemaChanged,
    TooFewRows,
)
from dropforge.domain.ports import ObjectRef

DIRTY = csv_table(400, "1.5,a,yes\nfoo,b,no\n1,2\n2.5,c,perhaps\n")
PINNED = "s3://data/contract/schema.json"
SHOWN = 4


def in_one(*files: Any, store: InMemoryObjectStore | None = None, **options: Any) -> Any:
    """The answer, or class and message of the error, and what is left."""
    store = InMemoryObjectStore() if store is None else store
    try:
        answer: Any = prepare(*files, store=store, **options).prepared.to_dict()
    except DropforgeError as error:
        answer = (type(error).__name__, str(error))
    return answer, outcome(store, options.get("run_id", "run"))


def in_many(*files: Any, chunk_bytes: int, store: InMemoryObjectStore | None = None, **options: Any) -> Any:
    store = InMemoryObjectStore() if store is None else store
    try:
        answer: Any = prepare_in_chunks(*files, chunk_bytes=chunk_bytes, store=store, **options)[0]
    except DropforgeError as error:
        answer = (type(error).__name__, str(error))
    assert [uri for uri in store.objects if "/scratch/" in uri] == ["s3://data/scratch/run/answer.json"]
    return answer, outcome(store)


def assert_same(one: Any, many: Any) -> None:
    assert many[0] == one[0]
    assert many[1].keys() == one[1].keys()
    for name, expected in one[1].items():
        if isinstance(expected, pa.Table):
            assert many[1][name].equals(expected), name
        else:
            assert many[1][name] == expected


def json_lines() -> bytes:
    rows = [{"x": i * 0.5, "c": "é\u2028"[i % 2], "y": ["no", "yes"][i * 7 % 5 < 2]} for i in range(300)]
    lines = [json.dumps(row, ensure_ascii=bool(i % 3)) for i, row in enumerate(rows)]
    lines[50:50] = ["", '{"x": 1', '{"x": [1], "c": "a", "y": "no"}']
    return "\n".join(lines).encode()


def parquet(rows: int, group: int) -> bytes:
    table = pa.table(
        {
            "x": [i * 0.5 for i in range(rows)],
            "c": pa.array(["a", None, "b"] * rows).slice(0, rows).dictionary_encode(),
            "y": ["no" if i * 7 % 5 < 2 else "yes" for i in range(rows)],
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=group)
    return buffer.getvalue()


@settings(max_examples=5)
@given(
    files=written_files,
    key=st.booleans(),
    chunk_bytes=st.integers(700, 4000),
)
@example(files=[EXAMPLE], key=True, chunk_bytes=150)
@example(files=[EXAMPLE, EXAMPLE], key=False, chunk_bytes=700)
def test_hostile_tables_come_out_the_same_however_they_are_cut(files, key, chunk_bytes):
    drops = [(f"{number}.csv", text.encode()) for number, text in enumerate(files)]
    options = {"key": "k" if key else None, "maximum_reject_rate": 0.99, "minimum_rows": 1}
    pinned = {PINNED: contract(key).to_json().encode()}
    one = in_one(*drops, store=InMemoryObjectStore(dict(pinned)), **options)
    many = in_many(*drops, store=InMemoryObjectStore(dict(pinned)), chunk_bytes=chunk_bytes, **options)
    assert_same(one, many)


@pytest.mark.parametrize("chunk_bytes", [1500, 10_000])
def test_formats_and_compressions_mix_and_the_first_run_infers_the_same_contract(chunk_bytes):
    files = [
        DIRTY,
        ("b.csv.gz", gzip.compress(csv_table(200, start=300))),
        ("c.jsonl", json_lines()),
        ("d.parquet", parquet(300, 70)),
        ("e.csv", b"\xef\xbb\xbf" + csv_table(200, start=350, ending="\r\n")),
        ("f.csv", csv_table(100).decode().encode("utf-16")),
    ]
    one = in_one(*files)
    assert one[0]["contract_is_new"]
    assert_same(one, in_many(*files, chunk_bytes=chunk_bytes))


def test_many_different_numbers_are_profiled_the_same():
    numbers = np.random.default_rng(1).normal(size=30_000)
    text = "x,y\n" + "".join(f"{x!r},{y}\n" for x, y in zip(numbers.tolist(), range(30_000), strict=True))
    one = in_one(text.encode(), task="regression")
    many = in_many(text.encode(), chunk_bytes=100_000, block_bytes=30_000, task="regression")
    assert_same(one, many)


BROKEN = [
    ("an empty object", [("e.csv", b"x,c,y\n")], {}),
    (
        "bytes that are no text",
        [csv_table(300, "1.5,\xff,no\n").decode("utf-8", "replace").encode()[:-4] + b"\xff\n"],
        {},
    ),
    ("a quote that is never closed", [csv_table(300, '1.5,"a,no\n')], {}),
    ("records with other numbers of fields", [b"x,c,y\n" + b"1,2\n" * 100], {}),
    ("a damaged archive", [("b.csv.gz", gzip.compress(csv_table())[:-30])], {}),
    ("too few rows", [csv_table(30)], {}),
    ("too many rejects", [csv_table(300, "1.5,a\n" * 60)], {}),
    (
        "only the new object has other columns",
        [("o.csv", DIRTY.replace(b"x,c,y", b"x,d,y")), DIRTY],
        {"new": 1},
    ),
    ("a target that is not there", [DIRTY], {"target": "z"}),
    ("JSON that is none", [("x.jsonl", b"nothing\n" * 50)], {}),
]


@pytest.mark.parametrize(
    ("files", "options"), [each[1:] for each in BROKEN], ids=[each[0] for each in BROKEN]
)
def test_what_can_not_be_used_is_refused_in_the_same_words(files, options):
    one = in_one(*files, **options)
    assert isinstance(one[0], tuple)
    assert_same(one, in_many(*files, chunk_bytes=2500, **options))


@pytest.mark.parametrize(
    "changed",
    [
        DIRTY.replace(b"x,c,y", b"x,colour,y"),
        csv_table().replace(b".", b"o"),
        csv_table(300, "".join(f"{i}.5,a,maybe\n" for i in range(60))),
        ("x.jsonl", json_lines().replace(b'"c"', b'"d"')),
    ],
    ids=["another column", "another type", "another class", "other keys"],
)
def test_a_changed_schema_proposes_the_same_contract(changed):
    pinned = {PINNED: prepare(DIRTY).store.read(PINNED)}
    one = in_one(changed, store=InMemoryObjectStore(dict(pinned)))
    assert "contract accept run" in one[0][1]
    assert_same(one, in_many(changed, store=InMemoryObjectStore(dict(pinned)), chunk_bytes=500))


def test_a_contract_that_somebody_pins_meanwhile_is_the_one_to_be_held_to():
    strict = json.loads(prepare(DIRTY).store.read(PINNED))
    strict["columns"][0]["maximum"] = 145.0
    store = InMemoryObjectStore()

    def around(event, call):
        if event.get("merge") == "write" and not store.exists(PINNED):
            store.write(PINNED, json.dumps(strict).encode())
        return call()

    answer, _ = prepare_in_chunks(DIRTY, chunk_bytes=800, store=store, around=around)
    expected = in_one(DIRTY, store=InMemoryObjectStore({PINNED: json.dumps(strict).encode()}))
    assert answer == expected[0]
    assert_same(expected, (answer, outcome(store)))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("kind", ["every call is killed after its work", "every call is killed in its work"])
def test_whoever_is_killed_and_repeated_leaves_the_same_and_nothing_doubled(kind, monkeypatch):
    expected = in_one(DIRTY, csv_table(200, start=300))
    store = InMemoryObjectStore()
    write = store.write
    budget = {"left": 10**9}

    def limited(uri: str, data: bytes, content_type: str = "") -> None:
        if budget["left"] == 0:
            raise Killed
        budget["left"] -= 1
        write(uri, data, content_type)

    monkeypatch.setattr(store, "write", limited)

    def around(event: Any, call: Any) -> Any:
        if kind.endswith("after its work"):
            call()
            return call()
        for writes in range(3):
            budget["left"] = writes
            try:
                call()
            except Killed:
                continue
            finally:
                budget["left"] = 10**9
        return call()

    answer, _ = prepare_in_chunks(
        DIRTY, csv_table(200, start=300), chunk_bytes=2000, store=store, around=around
    )
    assert_same(expected, (answer, outcome(store)))


def test_a_second_attempt_of_the_whole_run_leaves_the_same():
    store = InMemoryObjectStore()
    first = prepare_in_chunks(DIRTY, chunk_bytes=700, store=store)[0]
    left = outcome(store)
    again = prepare_in_chunks(DIRTY, chunk_bytes=1100, store=store)[0]
    assert again == first
    assert again["contract_uri"]
    assert_same((first, left), (again, outcome(store)))


def test_an_item_without_an_answer_fails_the_run_by_class():
    store = InMemoryObjectStore()

    def around(event, call):
        return None if event.get("phase") == "check" and event.get("index") == 1 else call()

    with pytest.raises(ChunkFailed, match="Item 1 of the phase 'check'"):
        prepare_in_chunks(DIRTY, chunk_bytes=700, store=store, around=around)


def test_an_unknown_phase_is_refused():
    with pytest.raises(InvalidEvent, match="'guess' is no phase"):
        prepare_chunk({"run_id": "r", "phase": "guess", "index": 0}, "s3://data", InMemoryObjectStore(), None)  # type: ignore[arg-type]


def test_the_answer_stays_for_a_repeated_last_merge_and_so_does_a_refusal():
    answer, store = prepare_in_chunks(DIRTY, chunk_bytes=700)
    assert merge_chunks("run", "write", "s3://data", store, None) == answer  # type: ignore[arg-type]
    store = InMemoryObjectStore()
    with pytest.raises(TooFewRows) as caught:
        prepare_in_chunks(csv_table(30), chunk_bytes=700, store=store)
    with pytest.raises(TooFewRows, match=str(caught.value)[:20]):
        merge_chunks("run", "reduce", "s3://data", store, None)  # type: ignore[arg-type]


def parts(data: bytes, rough: Sequence[int], **options: Any) -> list[int]:
    """Where the parts begin into which a CSV is cut at rough offsets, the first at 0, and the data's end."""
    stream, size = io.BytesIO(data), len(data)
    lines = [0, *(line_start(stream, start, b"\n\r") for start in rough), size]
    scans = [scan(stream, a, b, b",", **options) for a, b in pairwise(lines)]
    items = resolved(items_of([Cut(ObjectRef("b", "k"), size, rough, size)], 1), {0: scans})
    return [0, *(span.end for (span,) in items if span.end is not None)]


def row_starts(data: bytes) -> list[int]:
    rows = [0]
    while rows[-1] < len(data):
        rows.append(rows[-1] + (first_record_end(data[rows[-1] :], b",") or len(data)))
    return [*rows[:-1], len(data)]


@settings(max_examples=200)
@given(
    text=st.text(alphabet='a,"\n\r', max_size=60),
    starts=st.sets(st.integers(1, 59), max_size=6),
    block_bytes=st.sampled_from([1, 3, 100]),
    refused_bytes=st.sampled_from([6, 1000]),
)
@example(text='"\n\n\n\n\n\n\n\n\n\na', starts={3}, block_bytes=3, refused_bytes=6)
@example(text='",\n",\n",\n",\n",\n",\n', starts={4, 8, 13}, block_bytes=3, refused_bytes=6)
def test_parts_of_csv_begin_where_rows_begin(text, starts, block_bytes, refused_bytes):
    data = text.encode()
    with patch.object(csv_scan, "SHOWN_BYTES", SHOWN):
        rough = sorted(start for start in starts if start < len(data))
        bounds = parts(data, rough, block_bytes=block_bytes, refused_bytes=refused_bytes)
    rows = row_starts(data)
    assert bounds == sorted(bounds)
    too_long = next((pair for pair in pairwise(rows) if pair[1] - pair[0] > refused_bytes), None)
    if too_long is None:
        assert set(bounds) <= set(rows)
        return
    # The part in which that row begins is read no further, and it has as much of it as the refusal shows.
    row, end = too_long
    assert {bound for bound in bounds if bound <= row} <= set(rows)
    following = min(bound for bound in bounds if bound > row)
    assert following >= end or (following - row >= SHOWN and cut(data[row:following], b",") == (0, True))


@pytest.mark.parametrize(
    "row",
    [b"1,a,no\n", b'1,"b,c",no\n', b'1,",b,c,",no\n', b'1,"",no\n'],
    ids=lambda row: row.decode().strip(),
)
def test_parts_of_usual_csv_are_of_even_size(row):
    size = len(data := row * 5000)
    rough = [size * part // 5 for part in range(1, 5)]
    assert all(
        0 <= found - start <= 1 << 14
        for start, found in zip([0, *rough, size], parts(data, rough), strict=True)
    )


def test_little_is_read_to_tell_where_the_parts_of_sound_csv_begin():
    class Counted(io.BytesIO):
        read_bytes = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.read_bytes += len(data)
            return data

    stream = Counted(b'1,"b,c",no\n' * 100_000)
    found = scan(stream, 0, 600_005, b",")
    assert found.if_outside == found.if_inside
    assert stream.read_bytes < 20_000


def test_rows_too_long_to_be_read_are_refused_in_the_same_words(monkeypatch):
    """So that nobody follows a table without quotes to its end, on the chance that all of it is one field."""
    monkeypatch.setattr(csv_records, "MAXIMUM_RECORD_BYTES", 1000)
    monkeypatch.setattr(chunks, "scan", partial(scan, refused_bytes=2000))
    text = csv_table(600)
    for before_the_cut in (20, 200):
        place = text.rindex(b"\n", 0, len(text) // 2 - before_the_cut) + 1
        broken = text[:place] + b'1.5,"a,no\n' + text[place:]
        one = in_one(broken, block_bytes=1000)
        assert one[0][0] == "UnreadableData"
        assert_same(one, in_many(broken, chunk_bytes=len(broken) // 2 + 1, block_bytes=1000))


@pytest.mark.parametrize("labelled", [True, False])
def test_keys_are_read_by_range_in_the_order_of_the_rows(labelled):
    rng = np.random.default_rng(1)
    blocks = [rng.integers(0, 2**64, (2, rows), dtype=np.uint64) for rows in (3, 1500, 4000, 700)]
    classes = [rng.integers(0, 3, block.shape[1]).astype(np.uint16) for block in blocks]
    sorter = KeySorter(4)
    for block, labels in zip(blocks, classes, strict=True):
        sorter.add(*block, labels if labelled else None)
    file = KeyFile(InMemoryObjectStore({"s3://b/keys": sorter.to_bytes()}), "s3://b/keys")
    first, second = np.concatenate(blocks, axis=1)
    for number in range(4):
        keys, rows = file.read(number, 4), np.flatnonzero(first >> np.uint64(62) == number)
        np.testing.assert_array_equal(keys.rows, rows)
        np.testing.assert_array_equal(keys.first, first[rows])
        np.testing.assert_array_equal(keys.second, second[rows])
        np.testing.assert_array_equal(keys.labels, np.concatenate(classes)[rows] if labelled else [])


def test_small_objects_share_an_item_and_large_ones_are_cut():
    refs = [ObjectRef("b", str(number)) for number in range(5)]
    cuts = [
        Cut(refs[0], 4),
        Cut(refs[1], 5),
        Cut(refs[2], 30, [10, 20], 30),
        Cut(refs[3], 9),
        Cut(refs[4], 9),
    ]
    items = items_of(cuts, 10)
    assert [[(span.number, span.start, span.end) for span in item] for item in items] == [
        [(0, None, None), (1, None, None)],
        [(2, None, 10)],
        [(2, 10, 20)],
        [(2, 20, 30)],
        [(3, None, None)],
        [(4, None, None)],
    ]


def test_drops_are_prepared_in_chunks_when_they_are_large_or_many():
    policy = ScaleOut(above_bytes=100, chunk_bytes=10)
    assert not policy.wants([ObjectRef("b", "x.csv", size=60), ObjectRef("b", "y.csv", size=40)])
    assert policy.wants([ObjectRef("b", "x.csv", size=60), ObjectRef("b", "y.csv", size=41)])
    assert policy.wants([ObjectRef("b", "x.csv.gz", size=26)])
    assert policy.wants([ObjectRef("b", str(number), size=0) for number in range(MANY_OBJECTS + 1)])
    with pytest.raises(InvalidSettings, match="chunks of 0 bytes"):
        ScaleOut(above_bytes=1, chunk_bytes=0)


def test_no_part_is_left_of_a_schema_that_changed():
    store = InMemoryObjectStore({PINNED: prepare(DIRTY).store.read(PINNED)})
    with pytest.raises(SchemaChanged):
        prepare_in_chunks(DIRTY.replace(b"x,c,y", b"x,d,y"), chunk_bytes=500, store=store)
    assert not list(store.list("s3://data/runs/run/train/"))
