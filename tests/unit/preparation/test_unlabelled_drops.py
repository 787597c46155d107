"""Rows without a target are left out with a count, whole objects of them too; alone they are an error."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unit.preparation.chunking import outcome as outcome_of
from tests.unit.preparation.chunking import prepare_in_chunks
from tests.unit.preparation.dropping import csv_table, prepare

from dropforge.domain.errors import MissingTarget, SchemaChanged

REMARKS = "s3://data/runs/{}/remarks.json"


def without_target(rows: int = 60, start: int = 5000) -> list[tuple[float, str]]:
    return [(i * 0.37 + 0.5, "abc"[i % 3]) for i in range(start, start + rows)]


def parquet(with_target: pa.DataType | None) -> bytes:
    rows = without_target()
    columns = {"x": pa.array([x for x, _ in rows]), "c": pa.array([c for _, c in rows])}
    if with_target is not None:
        columns["y"] = pa.nulls(len(rows), with_target)
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def jsonl(**target: None) -> bytes:
    return "".join(json.dumps({"x": x, "c": c, **target}) + "\n" for x, c in without_target()).encode()


UNLABELLED = {
    "empty.csv": "x,c,y\n" + "".join(f"{x:.3f},{c},\n" for x, c in without_target()),
    "spelled.csv": "x,c,y\n" + "".join(f"{x:.3f},{c},NA\n" for x, c in without_target()),
    "no column.csv": "x,c\n" + "".join(f"{x:.3f},{c}\n" for x, c in without_target()),
    "nulls.jsonl": jsonl(y=None),
    "no member.jsonl": jsonl(),
    "texts.parquet": parquet(pa.string()),
    "floats.parquet": parquet(pa.float64()),
    "nothing.parquet": parquet(pa.null()),
    "no column.parquet": parquet(None),
}
FILES = [(name, data.encode() if isinstance(data, str) else data) for name, data in UNLABELLED.items()]
LABELLED = ("labelled.csv", csv_table(400))


def targets(kind: str) -> bytes:
    """The labelled table with a target of another type."""
    yes, no = {"boolean": (b"true", b"false"), "integer": (b"1", b"0")}[kind]
    return csv_table(400).replace(b"yes", yes).replace(b",no", b"," + no)


@pytest.mark.parametrize("file", FILES, ids=[name for name, _ in FILES])
@pytest.mark.parametrize("is_newer", [True, False])
def test_beside_labelled_objects_they_are_counted(file, is_newer):
    files = (file, LABELLED) if is_newer else (LABELLED, file)
    outcome = prepare(*files)
    assert outcome.report["rows"] == {
        "read": 460,
        "rejected": 0,
        "unlabelled": 60,
        "duplicates": 0,
        "kept": 400,
    }
    by_source = {each["source"].rpartition("/")[2]: each for each in outcome.report["objects"]}
    assert by_source[file[0]]["unlabelled"] == 60
    assert any("60 of 460 rows have no 'y'" in each for each in outcome.report["remarks"])
    assert not outcome.store.exists(REMARKS.format("run"))
    # And again, under the contract that is pinned now.
    again = prepare(*files, store=outcome.store, run_id="second")
    assert again.report["rows"] == outcome.report["rows"]
    chunks, store = prepare_in_chunks(*files, chunk_bytes=2000)
    assert chunks == outcome.prepared.to_dict()
    documents = outcome_of(store)["documents"]
    assert json.loads(documents["s3://data/runs/run/report.json"]) == outcome.report


@pytest.mark.parametrize("file", FILES, ids=[name for name, _ in FILES])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_alone_they_are_refused_and_set_aside_by_name(file, in_chunks):
    def run(*files, **options):
        return (
            prepare_in_chunks(*files, chunk_bytes=2000, **options)
            if in_chunks
            else prepare(*files, **options)
        )

    with pytest.raises(MissingTarget, match=r"'y'") as refused:
        run(file)
    assert file[0] in str(refused.value)

    # As the only new drop beside earlier ones, which would give the same model again.
    store = prepare(LABELLED).store
    with pytest.raises(MissingTarget, match="None of the 60 rows") as refused:
        run(file, LABELLED, store=store, run_id="second", new=1)
    assert file[0] in str(refused.value)
    remarks = json.loads(store.read(REMARKS.format("second")))
    assert {name: each["class"] for name, each in remarks["set_aside"].items()} == {file[0]: "MissingTarget"}
    report = json.loads(store.read("s3://data/runs/second/report.json"))
    assert report["failure"]["type"] == "MissingTarget"
    assert report["rows"]["unlabelled"] == 60


@pytest.mark.parametrize("kind", ["boolean", "integer"])
@pytest.mark.parametrize("file", FILES, ids=[name for name, _ in FILES])
def test_whatever_type_the_target_has_and_a_file_without_values_gives_it(kind, file):
    store = prepare(("labelled.csv", targets(kind))).store
    outcome = prepare(file, ("labelled.csv", targets(kind)), store=store, run_id="second")
    assert outcome.prepared.unlabelled == 60
    assert outcome.prepared.kept == 400


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("pinned", [False, True])
def test_a_target_under_another_name_is_no_missing_label(in_chunks, pinned):
    renamed = ("renamed.csv", csv_table(100, start=2000).replace(b"x,c,y", b"x,c,Y"))
    store = prepare(LABELLED).store if pinned else None
    run = {"store": store, "run_id": "second"}
    files = (LABELLED, renamed)
    prepared = prepare_in_chunks(*files, chunk_bytes=2000, **run) if in_chunks else prepare(*files, **run)
    store = prepared[1] if in_chunks else prepared.store
    aside = json.loads(store.read(REMARKS.format("second")))["set_aside"]
    assert list(aside) == ["renamed.csv"]
    assert aside["renamed.csv"]["class"] in ("MissingTarget", "SchemaChanged")
    with pytest.raises((MissingTarget, SchemaChanged), match="'Y'"):
        prepare(renamed, store=prepare(LABELLED).store, run_id="third")


def test_a_column_of_parquet_without_values_fits_any_type():
    """pandas gives a column that is missing in every row the type of floats."""
    dates = [f"2024-01-{1 + i % 28:02d}" for i in range(200)]
    lines = [f"{i * 0.37:.2f},{dates[i]},{'true' if i % 3 else 'false'},{i * 7 % 5}.5" for i in range(200)]
    store = prepare(("x,when,flag,y\n" + "\n".join([*lines, "1.5,,,0.5", ""])).encode()).store
    nothing = pa.nulls(120, pa.float64())
    sink = io.BytesIO()
    x, y = pa.array([i * 0.73 for i in range(120)]), pa.array([i * 3 % 7 + 0.25 for i in range(120)])
    pq.write_table(pa.table({"x": x, "when": nothing, "flag": nothing, "y": y}), sink)
    outcome = prepare(("x.parquet", sink.getvalue()), store=store, run_id="second")
    assert outcome.prepared.kept == 120
