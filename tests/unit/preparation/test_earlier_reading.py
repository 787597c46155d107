"""What the release before one table of rules read otherwise is known: compared with that release itself."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.preparation.chunking import prepare_in_chunks
from tests.unit.preparation.dropping import csv_table, prepare
from tests.workflow.previous_release import unpack_previous_release

from dropforge.adapters.tables.checking import contract_check as checking
from dropforge.adapters.tables.checking.conversion import fits
from dropforge.adapters.tables.reading.formats import open_table
from dropforge.domain.contract import Column, Contract

ROOT = Path(__file__).resolve().parents[3]
TARGET = Column("y", "category", "target")

THEN = """
import io, json, sys
sys.path.insert(0, sys.argv[1])
sys.path.insert(1, sys.argv[2])
from tests.in_memory_store import InMemoryObjectStore
from dropforge.adapters.tables import checking
from dropforge.adapters.tables.conversion import fits
from dropforge.adapters.tables.reading import open_table
from dropforge.domain.contract import Contract

assert checking.__file__.startswith(sys.argv[1])
for line in sys.stdin:
    case = json.loads(line)
    uri = "s3://data/" + case["name"]
    store = InMemoryObjectStore({uri: bytes.fromhex(case["data"])})
    contract = Contract.from_json(case["contract"])
    (ref,) = store.list(uri)
    found = []
    with open_table(store, ref, 1 << 20) as table:
        native = table.native_types().get("x")
        if native is not None and not fits(native, contract.columns[0].type):
            print("[]", flush=True)
            continue
        wanted, hints = checking.wanted_columns(contract), checking.reading_hints(contract)
        for block in table.blocks(wanted, hints):
            checked = checking.check_columns(block, contract.prepared, contract)
            lanes = checking._hashes(block, contract, checked.typed)
            found += [None if bad else int(lane) for bad, lane in zip(checked.failed, lanes[0])]
    print(json.dumps(found), flush=True)
"""


def parquet(values: pa.Array, *, int96: bool = False) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"x": values, "y": pa.array(["no", "yes"] * len(values))[: len(values)]})
    pq.write_table(table, sink, use_deprecated_int96_timestamps=int96)
    return sink.getvalue()


def lines(*values: str) -> bytes:
    return "".join(f'{{"x": {value}, "y": "no"}}\n' for value in values).encode()


FLOATS = [0.1, 1.5, 3.0, -2.25, 1e9 + 0.5, 123456.789, None]
UTC = dt.UTC
MOMENTS = [dt.datetime(2024, 1, 5, 6, 7, 8, 123456, UTC), dt.datetime(2024, 1, 5, tzinfo=UTC), None]
FAR = [dt.datetime(3000, 1, 1, tzinfo=UTC), None]
NATIVE = {
    "float32": pa.array(FLOATS, pa.float32()),
    "float64": pa.array(FLOATS, pa.float64()),
    "whole": pa.array([1.0, 2.0, 3e15, None], pa.float64()),
    "whole32": pa.array([1.0, 2.0, 16777216.0, None], pa.float32()),
    "integers": pa.array([1, -5, 2**60, None], pa.int64()),
    "unsigned": pa.array([1, 5, 2**60, None], pa.uint64()),
    "decimals": pa.array([Decimal("1.50"), Decimal("0.07"), None], pa.decimal128(12, 2)),
    "prices": pa.array([Decimal("18.24"), Decimal("-1782.85"), None], pa.decimal128(12, 2)),
    "long decimals": pa.array([Decimal(2**60 + 1), Decimal(7), None], pa.decimal128(38, 0)),
    "short decimals": pa.array([Decimal(123456), Decimal(7), None], pa.decimal128(10, 0)),
    "booleans": pa.array([True, False, None]),
    "texts": pa.array([" a", "NA", "1.0", "", "null", None, "2024-01-05", "3"]),
    "encoded": pa.array(["a", "b", "a", None]).dictionary_encode(),
    "microseconds": pa.array(MOMENTS, pa.timestamp("us")),
    "seconds with a zone": pa.array(MOMENTS[1:], pa.timestamp("s", "UTC")),
    "INT96": pa.array(MOMENTS, pa.timestamp("ns")),
    "dates": pa.array([dt.date(2024, 1, 5), None], pa.date32()),
    "far INT96": pa.array(FAR, pa.timestamp("us")),
    "far dates": pa.array(FAR, pa.timestamp("us")),
}
WRITTEN = {
    "x.csv": b"x,y\n0.1,no\n1,no\n 1,no\n1.0,no\n007,no\n1e3,no\nNA,no\n,no\ntrue,no\n2024-01-05,no\n"
    b'2024-01-05T06:07:08.5Z,no\n2024-01-05 06:07:08+0530,no\n Private ,no\n"q,""",no\n-0,no\n',
    "numbers.jsonl": lines("0.1", "1.0", "1e3", "-0", "-0.0", "12345678901234567890", "null", "NaN"),
    "floats.jsonl": lines("0.1", "7.0", "1e20", "-0.0", "null"),
    "plain floats.jsonl": lines("0.1", "-3.25", "null"),
    "plain.jsonl": lines("0.1", "7", "-3.25", "null", "true"),
    "texts.jsonl": lines('"NA"', '" a"', '"1.0"', '""', '"2024-01-05"', "true"),
}
COLUMNS = (
    *(Column("x", kind, nullable=True) for kind in ("number", "integer", "boolean", "category", "timestamp")),
    Column("x", "text", "ignored"),
    Column("x", "category", nullable=True, categories=("NA", "a", "b", "1.0", "3")),
)
KEYS = tuple(Column("x", kind, "key") for kind in ("integer", "text"))


def contract_of(column: Column) -> Contract:
    other = (Column("z", "number", nullable=True),)
    key = "x" if column.role == "key" else None
    return Contract("y", key, "binary", ("no", "yes"), (column, *other, TARGET))


def today(name: str, data: bytes, contract: Contract) -> tuple[list[int | None], bool]:
    """The hashes that rows are split by, None of a row that is none of the contract's; and what is said."""
    store = InMemoryObjectStore({f"s3://data/{name}": data})
    (ref,) = store.list(f"s3://data/{name}")
    found: list[int | None] = []
    said = False
    with open_table(store, ref, 1 << 20) as table:
        native = table.native_types().get("x")
        if native is not None and not fits(native, contract.reader("x")):
            return [], False
        hints = checking.reading_hints(contract)
        for block in table.blocks(checking.wanted_columns(contract), hints):
            checked = checking.check_columns(block, contract.prepared, contract)
            _, splitting = checking._hashes(block, contract, checked.typed)
            found += [None if bad else int(each) for bad, each in zip(checked.failed, splitting, strict=True)]
            said = said or bool(checking.check_block(block, contract).read_otherwise)
    return found, said


def test_whatever_the_release_before_split_by_other_hashes_is_said(tmp_path):
    files = {
        f"{name}.parquet": parquet(values, int96="INT96" in name) for name, values in NATIVE.items()
    } | WRITTEN
    cases = [
        (name, data, contract_of(column)) for name, data in files.items() for column in (*COLUMNS, *KEYS)
    ]
    asked = [
        json.dumps({"name": name, "data": data.hex(), "contract": contract.to_json()})
        for name, data, contract in cases
    ]
    core = unpack_previous_release(tmp_path).parent / "core"
    then = subprocess.run(
        [sys.executable, "-c", THEN, str(core), str(ROOT)],
        input="\n".join(asked),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert then.returncode == 0, then.stderr
    differing, silent = 0, []
    for (name, data, contract), line in zip(cases, then.stdout.splitlines(), strict=True):
        before = json.loads(line)
        now, said = today(name, data, contract)
        # Rows rejected then were not trained on, and rows rejected now are in no hold-out.
        pairs = [(a, b) for a, b in zip(before, now, strict=True) if a is not None and b is not None]
        differs = any(a != b for a, b in pairs)
        differing += differs
        if differs and not said:
            silent.append((name, contract.columns[0].type, contract.columns[0].role))
    assert silent == []
    assert differing > 10


@pytest.mark.parametrize("name", ["x.csv", "plain.jsonl", "plain floats.jsonl", "texts.jsonl"])
def test_nothing_is_said_of_files_that_were_read_alike(name):
    for column in COLUMNS[:-1]:
        assert not today(name, WRITTEN[name], contract_of(column))[1], column


def floats_table(rows: int = 400) -> bytes:
    sink = io.BytesIO()
    x = pa.array((np.arange(rows) * 0.37 + 0.1).astype(np.float32))
    pq.write_table(pa.table({"x": x, "y": ["yes" if i * 7 % 5 < 2 else "no" for i in range(rows)]}), sink)
    return sink.getvalue()


def without_split_by(contract: Contract) -> bytes:
    raw = json.loads(contract.to_json())
    del raw["split_by"]
    return json.dumps(raw).encode()


def test_preparation_says_it_under_a_contract_of_then_only():
    first = prepare(("x.parquet", floats_table()))
    assert first.prepared.to_dict()["read_otherwise"] == ""
    pinned = {"s3://data/contract/schema.json": without_split_by(first.contract)}
    whole = prepare(("x.parquet", floats_table()), store=InMemoryObjectStore(pinned))
    assert json.loads(whole.prepared.to_dict()["read_otherwise"]) == {"1": "'x'"}
    chunks, _ = prepare_in_chunks(
        ("x.parquet", floats_table()), chunk_bytes=1 << 20, store=InMemoryObjectStore(pinned)
    )
    assert chunks == whole.prepared.to_dict()


def test_decimals_are_told_of_a_contract_that_says_what_it_splits_by():
    sink = io.BytesIO()
    x = pa.array([Decimal(i * 37 % 1000) / 100 for i in range(400)], pa.decimal128(10, 2))
    pq.write_table(pa.table({"x": x, "y": ["yes" if i * 7 % 5 < 2 else "no" for i in range(400)]}), sink)
    outcome = prepare(("x.parquet", sink.getvalue()))
    assert outcome.contract.split_by == ("x",)
    assert json.loads(outcome.prepared.to_dict()["read_otherwise"]) == {"1": "'x'", "2": "'x'"}


def test_what_is_told_fits_a_variable_of_a_training_job():
    prepared = prepare(("x.csv", csv_table())).prepared
    columns = {f"{number} {'ä' * 300}": 2 for number in range(50)}
    told = replace(prepared, read_otherwise=columns).to_dict()["read_otherwise"]
    assert len(told) <= 512
    assert json.loads(told)["2"].endswith(" and 47 more")
