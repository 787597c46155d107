"""A dropped batch: every row has its prediction under its id, or its reasons; nothing twice, nothing lost."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.records import BUCKET, a_drop
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.batch.batch_world import (
    HEADER,
    REGRESSION,
    UNKEYED,
    World,
    predicted,
    unpacked,
)

from dropforge.domain.batch import REQUEST_ROWS
from dropforge.domain.contract import Column, Contract
from dropforge.domain.errors import (
    ArtifactChanged,
    DropforgeError,
    EmptyData,
    InvalidBatchOutput,
    InvalidEvent,
    NoLiveModel,
    UnreadableData,
    UnscorableBatch,
    UnsupportedFormat,
)
from dropforge.domain.ports import Location

ROWS = f"""{HEADER}
p-1,41,0.5,A,true,2026-01-02
007,,1.25,B,,
"ä,x", 7 ,1e-3,A,0,2026-01-02T03:04:05.5+01:00
"""
INSTANCES = [
    {"age": 41, "dose": 0.5, "ward": "A", "smokes": True, "since": "2026-01-02T00:00:00+00:00"},
    {"age": None, "dose": 1.25, "ward": "B", "smokes": None, "since": None},
    {"age": 7, "dose": 0.001, "ward": "A", "smokes": False, "since": "2026-01-02T02:04:05.500000+00:00"},
]


def read_csv(data: bytes, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode()), delimiter=delimiter))


def test_every_row_has_the_models_prediction_under_its_id():
    world = World()
    collected = world.score(ROWS)

    rows = read_csv(world.result())
    assert [row["id"] for row in rows] == ["p-1", "007", "ä,x"]
    for row, instance in zip(rows, INSTANCES, strict=True):
        expected = predicted(instance)
        assert row["label"] == expected["label"]
        assert float(row["probability_yes"]) == expected["probabilities"]["yes"]
        assert float(row["probability_no"]) == expected["probabilities"]["no"]
    assert (collected.outcome, collected.scored, collected.rejected) == ("scored", 3, 0)


def test_the_manifest_says_what_scored_which_file_and_what_came_of_it():
    world = World()
    world.score(ROWS)
    manifest = world.manifest()
    assert manifest["drop"]["key"] == "batch/in/new.csv"
    assert manifest["drop"]["version_id"] == "v1"
    assert manifest["model"]["version"] == 1
    assert manifest["model"]["model_name"] == "model-v1-1"
    assert manifest["rows"] == {"read": 3, "scored": 3, "rejected": 0}
    assert manifest["rejected"] == {"uri": None, "reasons": []}
    assert manifest["result"]["sha256"] == hashlib.sha256(world.result()).hexdigest()
    assert manifest["result"]["bytes"] == len(world.result())
    assert manifest["result"]["columns"] == ["id", "label", "probability_no", "probability_yes"]
    assert f"s3://{BUCKET}/batch/out/new.csv.rejected.jsonl" not in world.store.objects


def test_without_an_id_column_the_row_number_is_the_id():
    world = World(UNKEYED)
    world.score("age,dose,ward,smokes,since\n1,1,A,,\n-5,1,A,,\n3,1,A,,\n")
    assert [row["id"] for row in read_csv(world.result())] == ["1", "3"]
    assert [row["row"] for row in world.rejected()] == [2]


def test_a_regression_has_a_value_per_row():
    world = World(REGRESSION)
    plan = world.plan("age\n1\n2\n")
    world.collect(plan, world.transform(plan, lambda instance: {"value": instance["age"] / 2}))
    assert world.result() == b"id,value\n1,0.5\n2,1.0\n"


def test_json_lines_are_answered_as_json_lines():
    world = World()
    lines = [
        {"patient": "p-1", **INSTANCES[0], "remark": "x"},
        {"patient": "7", "dose": 1.25, "ward": "B"},
        {"patient": "p-3", "dose": "much", "ward": "B"},
    ]
    world.score("\n".join(map(json.dumps, lines)), "new.jsonl")
    results = [json.loads(line) for line in world.result("new.jsonl").splitlines()]
    assert results == [{"id": "p-1", **predicted(INSTANCES[0])}, {"id": "7", **predicted(INSTANCES[1])}]
    (rejected,) = world.rejected("new.jsonl")
    assert rejected == {
        "row": 3,
        "id": "p-3",
        "problems": [{"rule": "type", "column": "dose", "value": "much"}],
    }


def test_rows_that_break_the_contract_are_kept_with_every_reason():
    world = World()
    world.score(f"{HEADER}\nok,1,1,A,,\nbad,-1,x,C,maybe,yesterday\n,1,1,A,,\nshort,1\nok2,2,2,B,,\n")
    assert [row["id"] for row in read_csv(world.result())] == ["ok", "ok2"]
    bad, nameless, short = world.rejected()
    assert (bad["row"], bad["id"]) == (2, "bad")
    assert {(each["rule"], each["column"]) for each in bad["problems"]} == {
        ("range", "age"),
        ("type", "dose"),
        ("categories", "ward"),
        ("type", "smokes"),
        ("type", "since"),
    }
    assert nameless == {
        "row": 3,
        "id": None,
        "problems": [{"rule": "missing", "column": "patient", "value": None}],
    }
    assert (short["row"], short["problems"][0]["rule"]) == (4, "number of fields")
    manifest = world.manifest()
    assert manifest["rows"] == {"read": 5, "scored": 2, "rejected": 3}
    assert {"rule": "range", "column": "age", "rows": 1, "examples": [{"row": 2, "value": "-1"}]} in manifest[
        "rejected"
    ]["reasons"]


def test_a_row_that_is_too_large_for_a_request_is_rejected():
    columns = Column("word", "category"), Column("y", "number", "target")
    world = World(Contract("y", None, "regression", None, columns))
    plan = world.plan(f"word\nshort\n{'x' * (5 << 20)}\n")
    world.collect(plan, world.transform(plan, lambda _: {"value": 1.0}))
    assert [(row["row"], row["problems"][0]["rule"]) for row in world.rejected()] == [(2, "size")]


def test_the_target_may_be_in_the_file_and_never_reaches_the_model():
    world = World()
    plan = world.plan(f"{HEADER},ill,remark\np,1,1,A,,,yes,x\n")
    assert world.requests(plan) == [[{"age": 1, "dose": 1.0, "ward": "A", "smokes": None, "since": None}]]


@pytest.mark.parametrize(
    ("name", "kind", "pack"),
    [
        ("new.csv.gz", "gzip", gzip.compress),
        ("new.csv.zst", "zstd", lambda data: bytes(pa.compress(data, "zstd", asbytes=True))),
    ],
)
def test_a_compressed_file_is_answered_compressed_and_always_by_the_same_bytes(name, kind, pack):
    plain, packed = World(), World()
    plain.score(ROWS)
    packed.score(pack(ROWS.encode()), name)
    assert unpacked(packed.result(name), kind) == plain.result()
    again = World()
    again.score(pack(ROWS.encode()), name)
    assert again.result(name) == packed.result(name)
    assert packed.manifest(name)["result"]["sha256"] == hashlib.sha256(packed.result(name)).hexdigest()


def test_the_files_delimiter_and_folders_are_kept():
    world = World()
    world.score(ROWS.replace(",", ";").replace("ä;x", "ä"), "2026/may/new.tsv")
    assert world.result("2026/may/new.tsv").startswith(b"id;label;")
    assert world.manifest("2026/may/new.tsv")["rows"]["scored"] == 3


def test_a_large_file_goes_in_several_requests_and_comes_back_in_order():
    world = World()
    count = 2 * REQUEST_ROWS + 7
    world.score(HEADER + "\n" + "".join(f"p{n},{n},1,A,,\n" for n in range(count)))
    assert [row["id"] for row in read_csv(world.result())] == [f"p{n}" for n in range(count)]


def test_how_much_is_read_at_once_leaves_no_trace():
    results = set()
    for block_bytes in (1, 64, 1 << 20):
        world = World()
        rows = "".join(f"p{n},{n % 9 - 1},1,A,,\n" for n in range(50))
        world.score(f"{HEADER}\n{rows}", block_bytes=block_bytes)
        results.add((world.result(), tuple(map(json.dumps, world.rejected()))))
    assert len(results) == 1


# --- exactly once -------------------------------------------------------------------------------


def test_an_event_that_is_delivered_twice_is_scored_once():
    world = World()
    world.plan(ROWS)
    before = dict(world.store.objects)
    again = world.plan_again(a_drop(1, key="batch/in/new.csv"), execution="another")
    assert (again.outcome, set(again.to_dict())) == ("duplicate", {"outcome", "message"})
    assert world.store.objects == before


def test_a_retry_of_the_same_execution_finds_its_plan_also_when_another_model_went_live():
    world = World()
    first = world.plan(ROWS)
    world.promote(UNKEYED, version=2)
    assert world.plan_again(a_drop(1, key="batch/in/new.csv")) == first


def test_collecting_twice_writes_the_same():
    world = World()
    plan = world.plan(ROWS)
    output = world.transform(plan)
    first = world.collect(plan, output)
    before = dict(world.store.objects)
    assert world.collect(plan, output) == first
    assert world.store.objects == before


def test_a_file_dropped_again_under_its_name_is_a_batch_of_its_own_and_the_newest_one_counts():
    world = World()
    old = world.plan(ROWS, number=1)
    output = world.transform(old)
    newest = world.score(f"{HEADER}\nnewest,1,1,A,,\n", number=2)
    late = world.collect(old, output)
    assert newest.outcome == "scored"
    assert late.outcome == "superseded"
    assert [row["id"] for row in read_csv(world.result())] == ["newest"]


def test_the_dropped_file_is_never_changed():
    world = World()
    world.score(ROWS)
    assert world.store.read(f"s3://{BUCKET}/batch/in/new.csv") == ROWS.encode()


# --- refusals -----------------------------------------------------------------------------------


def test_a_contract_that_is_not_the_models_own_scores_nothing():
    world = World()
    live = world.ledger.pointer
    assert live is not None
    world.store.write(live.contract_uri, UNKEYED.to_json().encode())
    with pytest.raises(ArtifactChanged, match="Restore the object"):
        world.plan(f"{HEADER}\n")


def test_nothing_can_be_scored_before_a_model_is_live():
    with pytest.raises(NoLiveModel, match=r"no model is live yet.*drop the batch again"):
        World(None).plan(ROWS)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (ROWS.replace("dose", "dosage"), "column 'dose' is missing; column 'dosage' is no column"),
        (ROWS.replace("patient", "remark"), "column 'patient' is missing"),
        (ROWS.replace("since", "since,more"), "column 'more' is no column of the contract"),
    ],
)
def test_other_columns_than_the_live_models_are_refused_by_name(content, problem):
    with pytest.raises(UnscorableBatch, match=problem):
        World().plan(content)


@pytest.mark.parametrize(
    "line", ['{"patient": "p", "ward": "A"}', '{"patient": "p", "ward": "A", "dose": 1, "more": 1}']
)
def test_json_lines_with_other_members_are_refused_and_leave_no_plan(line):
    world = World()
    with pytest.raises(UnscorableBatch):
        world.plan(line, "new.jsonl")
    assert not [uri for uri in world.store.objects if uri.endswith(("plan.json", "requests.jsonl"))]


def test_a_file_without_a_scorable_row_is_refused_with_reasons():
    with pytest.raises(UnscorableBatch, match=r"none of its 2 rows.*'range' in column 'age': 2 times.*'-1'"):
        World().plan(f"{HEADER}\np,-1,1,A,,\nq,-2,1,A,,\n")


@pytest.mark.parametrize(
    ("content", "name", "error"),
    [
        (b"", "new.csv", EmptyData),
        (HEADER.encode() + b"\n", "new.csv", EmptyData),
        (b"\x1f\x8b broken", "new.csv.gz", UnreadableData),
        (gzip.compress(ROWS.encode() * 50)[:-20], "new.csv.gz", UnreadableData),
        (b"PAR1....PAR1", "new.parquet", UnsupportedFormat),
        (b"%PDF-1.7", "new.csv", UnsupportedFormat),
        (ROWS.encode("latin-1"), "new.csv", UnreadableData),
        (ROWS.encode(), "new.csv.manifest.json", UnscorableBatch),
        (ROWS.encode(), "new.csv.rejected.jsonl", UnscorableBatch),
    ],
)
def test_a_broken_file_fails_with_a_class_of_its_own_and_has_no_result(content, name, error):
    world = World()
    with pytest.raises(error, match="batch/in/new"):
        world.plan(content, name)
    assert not [uri for uri in world.store.objects if "batch/out/" in uri]


def test_only_drops_below_its_folder_are_batches():
    world = World()
    with pytest.raises(InvalidEvent, match="not below batch/in/"):
        world.plan_again(a_drop(1, key="incoming/new.csv"))
    assert world.plan_again(a_drop(1, key="batch/in/may/")).outcome == "nothing"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answers: answers[:-1],
        lambda answers: [*answers, answers[0]],
        lambda answers: [answers[0][:40], *answers[1:]],
        lambda answers: ['{"predictions": []}', *answers[1:]],
        lambda answers: ['{"predictions": 3}', *answers[1:]],
        lambda answers: ['{"error": {}}', *answers[1:]],
        lambda answers: [answers[0].replace("probabilities", "p"), *answers[1:]],
    ],
)
def test_an_output_that_is_not_one_prediction_per_row_is_refused(spoil):
    world = World()
    plan = world.plan(HEADER + "\n" + "".join(f"p{n},{n},1,A,,\n" for n in range(REQUEST_ROWS + 2)))
    output = world.transform(plan)
    answers = world.store.read(f"{output}requests.jsonl.out").decode().splitlines()
    world.put_output(plan, spoil(answers))
    with pytest.raises(InvalidBatchOutput):
        world.collect(plan, output)
    assert not [uri for uri in world.store.objects if "batch/out/" in uri]


def test_a_missing_output_is_refused():
    world = World()
    plan = world.plan(ROWS)
    with pytest.raises(InvalidBatchOutput, match="There are 0 objects"):
        world.collect(plan, f"{plan.output_uri}a1/")


# --- whatever is dropped ------------------------------------------------------------------------

FIELD = st.sampled_from(
    ["", "1", "-1", "0.5", "A", "B", "true", "x\ny", 'q"', "2026-01-01", "NaN", "1e999", "ü"]
)
TABLE = st.lists(st.lists(FIELD, min_size=5, max_size=7), min_size=1, max_size=12)


@settings(max_examples=150)
@given(TABLE, st.sampled_from([1, 32, 1 << 20]))
def test_every_row_is_scored_or_rejected_and_what_is_sent_keeps_the_serving_contract(rows, block_bytes):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEADER.split(","), *rows])
    world = World()
    try:
        plan = world.plan(text.getvalue(), block_bytes=block_bytes)
    except DropforgeError as error:
        assert type(error) is UnscorableBatch  # noqa: PT017 - only refusing the whole file is right here
        return
    world.collect(plan, world.transform(plan))  # which holds every request to the serving contract
    rejected = {row["row"] for row in world.rejected()} if plan.rows_rejected else set()
    scored = [row["id"] for row in read_csv(world.result())]
    kept = [row[0].strip() for number, row in enumerate(rows, 1) if number not in rejected]
    assert len(scored) + len(rejected) == len(rows)
    assert scored == kept


class _OnDisk(InMemoryObjectStore):
    """Large objects lie in files, so that only what the use cases hold is in memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def _file(self, location: Location) -> Path:
        uri = location if isinstance(location, str) else location.uri
        return self._folder / hashlib.sha256(uri.encode()).hexdigest()

    def upload(self, uri: str, fileobj: BinaryIO, content_type: str = "") -> None:
        self.objects[uri] = b""
        with self._file(uri).open("wb") as file:
            while piece := fileobj.read(1 << 16):
                file.write(piece)

    def open(self, location: Location) -> BinaryIO:
        path = self._file(location)
        return path.open("rb") if path.exists() else super().open(location)


@contextmanager
def traced() -> Iterator[list[int]]:
    """Gives a list that afterwards holds the most bytes that Python had more than before, at once."""
    most: list[int] = []
    tracemalloc.start()
    try:
        yield most
        most.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_file(tmp_path):
    def peaks(rows: int) -> tuple[int, int]:
        """Bytes of Python's that planning and collecting held at most."""
        world = World(store=_OnDisk(tmp_path))
        drop = a_drop(rows, key="batch/in/new.csv")
        lines = b"".join(f"p{n},{n},1,A,,\n".encode() for n in range(rows))
        world.store.upload(f"s3://{BUCKET}/{drop.key}", io.BytesIO(HEADER.encode() + b"\n" + lines))
        with traced() as planning:
            plan = world.plan_again(drop, block_bytes=1 << 14)
        answers = io.BytesIO()
        with world.store.open(plan.requests_uri or "") as requests:
            for line in requests:
                given = json.loads(line)["instances"]
                answers.write(json.dumps({"predictions": list(map(predicted, given))}).encode() + b"\n")
        answers.seek(0)
        output = f"{plan.output_uri}a0/"
        world.store.upload(f"{output}requests.jsonl.out", answers)
        answers.close()
        with traced() as collecting:
            world.collect(plan, output)
        return planning[0], collecting[0]

    peaks(10)  # what is imported and cached once
    (planning, collecting), (planning_more, collecting_more) = peaks(5000), peaks(15_000)
    assert planning_more < 1.5 * planning
    assert collecting_more < 1.5 * collecting
