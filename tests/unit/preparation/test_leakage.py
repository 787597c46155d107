"""Columns that tell more than will be known are found before training: reported, or by parameter refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.preparation.chunking import prepare_in_chunks
from tests.unit.preparation.dropping import DATA, Outcome, prepare
from tests.unit.preparation.test_chunks import assert_same, in_many, in_one

from dropforge.domain.contract import ROW_KEY
from dropforge.domain.errors import InvalidSettings, LeakageFound

Draw = Callable[[random.Random, int, Any], Any]


def table(leak: Draw, target: Callable[[random.Random, int], Any], rows: int = 1500, seed: int = 1) -> bytes:
    """Two honest columns, each row's time, and one that may tell too much, drawn given row and target."""
    rng = random.Random(seed)  # noqa: S311 - a sample
    lines = ["x,c,at,leak,y"]
    for row in range(rows):
        y = target(rng, row)
        at = (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=rng.randrange(5000))).isoformat()
        lines.append(f"{rng.gauss(0, 1):.4f},{rng.choice('abcd')},{at},{leak(rng, row, y)},{y}")
    return ("\n".join(lines) + "\n").encode()


def classes(rng: random.Random, row: int) -> str:
    return rng.choice(["yes", "no"])


def three(rng: random.Random, row: int) -> str:
    return rng.choice(["low", "mid", "high"])


def amounts(rng: random.Random, row: int) -> float:
    return round(rng.gauss(100, 30), 3)


def kinds(outcome: Outcome) -> list[tuple[str, str]]:
    return [(leak["column"], leak["kind"]) for leak in outcome.report["leaks"]]


@pytest.mark.parametrize(
    ("leak", "target"),
    [
        (lambda rng, row, y: {"yes": 1, "no": 0}[y], classes),
        (lambda rng, row, y: rng.choice({"yes": ["paid", "closed"], "no": ["open", "due"]}[y]), classes),
        (lambda rng, row, y: f"{(y == 'yes') + rng.gauss(0, 0.15):.5f}", classes),
        # A value that is there only once the outcome is known; and one that is neither low nor high.
        (lambda rng, row, y: f"{rng.random():.5f}" if y == "yes" else "", classes),
        (
            lambda rng, row, y: (
                f"{rng.uniform(-1, 1) if y == 'yes' else rng.choice([-3, 3]) + rng.random():.5f}"
            ),
            classes,
        ),
        (lambda rng, row, y: f"{['low', 'mid', 'high'].index(y) + rng.gauss(0, 0.1):.5f}", three),
        (lambda rng, row, y: f"{y * 1.19 + rng.gauss(0, 0.5):.4f}", amounts),
        (lambda rng, row, y: f"{-(y**2):.4f}", amounts),
    ],
)
def test_a_column_that_alone_nearly_determines_the_target_is_told(leak, target):
    outcome = prepare(table(leak, target))
    assert kinds(outcome) == [("leak", "target")]
    assert any("'leak' alone nearly determines 'y'" in said for said in outcome.report["remarks"])


@pytest.mark.parametrize(
    ("leak", "target"),
    [
        (lambda rng, row, y: f"{(y == 'yes') + rng.gauss(0, 0.5):.5f}", classes),
        (lambda rng, row, y: y if rng.random() < 0.8 else "maybe", classes),
        (lambda rng, row, y: f"C{rng.randrange(700)}", classes),
        (lambda rng, row, y: f"{y + rng.gauss(0, 10):.4f}", amounts),
        (lambda rng, row, y: f"{rng.random():.6f}", amounts),
    ],
)
def test_a_good_column_is_no_leak(leak, target):
    assert kinds(prepare(table(leak, target))) == []


def test_a_column_that_counts_the_rows_is_told():
    """With gaps, as of a table of which some rows were deleted; without any it isn't even learned from."""
    gaps = random.Random(7)  # noqa: S311 - a sample
    number = 1000

    def counted(rng: random.Random, row: int, y: Any) -> int:
        nonlocal number
        number += gaps.choice([1, 1, 1, 2, 3])
        return number

    assert kinds(prepare(table(counted, classes))) == [("leak", "order")]
    assert kinds(prepare(table(lambda rng, row, y: rng.randrange(10**6), classes))) == []


def test_a_column_that_tells_the_split_is_told():
    told = prepare(table(lambda rng, row, y: 1, classes), time="at").report["split"]
    test_from = told["boundaries"]["test_from"]
    marked = table(lambda rng, row, y: rng.random(), classes).decode().splitlines()
    lines = [marked[0]]
    for line in marked[1:]:
        x, c, at, _, y = line.split(",")
        quarter = "q4" if at >= test_from else f"q{1 + len(lines) % 3}"
        lines.append(f"{x},{c},{at},{quarter},{y}")
    assert kinds(prepare(("\n".join(lines) + "\n").encode(), time="at")) == [("leak", "split")]


def test_a_timestamp_that_is_mostly_later_than_the_split_column_is_told():
    def at_of(line: str) -> datetime:
        return datetime.fromisoformat(line.split(",")[2])

    base = table(lambda rng, row, y: 1, classes).decode().splitlines()
    for days, expected in ((3, [("leak", "later")]), (-3, [])):
        lines = [base[0]]
        for number, line in enumerate(base[1:]):
            x, c, at, _, y = line.split(",")
            moment = at_of(line) + timedelta(days=days if number % 4 else -days, hours=number % 50)
            lines.append(f"{x},{c},{at},{moment.isoformat()},{y}")
        found = kinds(prepare(("\n".join(lines) + "\n").encode(), time="at"))
        assert [each for each in found if each[1] == "later"] == expected


def test_by_parameter_a_leak_ends_the_run_before_anything_is_trained():
    content = table(lambda rng, row, y: {"yes": 1, "no": 0}[y], classes)
    store = InMemoryObjectStore()
    with pytest.raises(LeakageFound, match=r"'leak' alone nearly determines 'y' \(AUC 1.0000"):
        prepare(content, store=store, leakage="fail")
    assert f"{DATA}/contract/schema.json" not in store.objects
    assert (
        prepare(table(lambda rng, row, y: f"{rng.random():.6f}", classes), leakage="fail").report["leaks"]
        == []
    )
    with pytest.raises(InvalidSettings, match="leakage is 'ignore'"):
        prepare(content, leakage="ignore")


@pytest.mark.parametrize("leakage", ["report", "fail"])
def test_chunks_find_the_same(leakage):
    content = table(lambda rng, row, y: {"yes": 1, "no": 0}[y], classes, rows=6000)
    one = in_one(content, leakage=leakage, time="at")
    assert_same(one, in_many(content, leakage=leakage, time="at", chunk_bytes=30_000))
    assert (one[0][0] == "LeakageFound") if leakage == "fail" else isinstance(one[0], dict)


def test_chunks_that_the_release_before_has_written_are_merged_without_evidence():
    content = table(lambda rng, row, y: {"yes": 1, "no": 0}[y], classes, rows=3000)

    def forget(event: dict[str, Any], call: Callable[[], Any]) -> Any:
        answer = call()
        if event.get("phase") == "write" and event["index"] % 2:
            uri = f"{DATA}/scratch/run/write/{event['index']:06d}/sample.arrow"
            rows = pa.ipc.open_stream(store.read(uri)).read_all()
            kept = rows.select([name for name in rows.column_names if name in ("x", "c", "leak", ROW_KEY)])
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, kept.schema) as writer:
                writer.write_table(kept)
            store.write(uri, sink.getvalue().to_pybytes())
        return answer

    store = InMemoryObjectStore()
    answer, _ = prepare_in_chunks(content, chunk_bytes=20_000, store=store, around=forget)
    report = json.loads(store.read(answer["report_uri"]))
    assert report["leaks"] == []
    whole = prepare(content)
    assert store.read(answer["profile_uri"]) == whole.store.read(whole.prepared.profile_uri)
