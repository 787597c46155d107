"""What becomes of drops: a month that failed, a folder of Spark's, and as many as nobody drops by hand."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dropforge.domain.drop_life import NEVER, DropState, RecordedDrop
from dropforge.domain.moments import iso
from dropforge.domain.records import RunStatus
from dropforge.domain.triggers import Drop
from dropforge.ledger_table import keys
from dropforge.ledger_table.items import item_of
from tests.workflow.stack import Stack, wait_for

_MANY = 20_000
# BatchWriteItem takes 25 items.
_ITEMS_A_CALL = 25
# DynamoDB's limit of an item: 400 KB. The largest has to stay far below.
_LARGEST_ITEM_BYTES = 10_000
_DENIED = {
    "error": "AccessDenied",
    "cause": '{"errorType": "AccessDenied", "errorMessage": "not authorized"}',
}


def _states(stack: Stack) -> dict[str, DropState]:
    return {each.drop.key.removeprefix("incoming/"): each.state for each in stack.ledger.list_drops()}


def _thirds(content: Path) -> tuple[bytes, ...]:
    """Three files with every class in each, of different rows."""
    header, *rows = content.read_bytes().splitlines(keepends=True)
    return tuple(header + b"".join(rows[start::3]) for start in range(3))


def _fail(stack: Stack, state: str) -> None:
    machine = stack.outputs["TrainingStateMachine"].rpartition(":")[2]
    stack.host.inject(machine, state, "before", **_DENIED, times=9)


def test_a_february_that_failed_comes_in_with_march(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path]
) -> None:
    stack = deploy_sample("breast-cancer")
    january, february, march = _thirds(samples["breast-cancer"])
    stack.train_and_deploy(january, "january.csv")

    _fail(stack, "JudgeModel")
    stack.drop(february, "february.csv")
    failed = stack.wait_for_failed_run(2)
    told = stack.wait_for_notification("run-failed")["Message"]
    assert "incoming/february.csv waits again and is tried with the next run" in told
    assert "dropforge runs start" in told
    assert _states(stack) == {"january.csv": DropState.TRAINED, "february.csv": DropState.WAITING}
    stack.host.clear_faults()

    stack.drop(march, "march.csv")
    model = stack.wait_for_version(2, ignoring=failed.run_id)

    run = stack.ledger.get_run(model.run_id)
    assert run is not None
    assert stack.taken(run) == ["incoming/february.csv", "incoming/march.csv"]
    trained_on = {each["key"] for each in stack.read_json(run.manifest_uri)["objects"]}
    assert trained_on == {f"incoming/{month}.csv" for month in ("january", "february", "march")}
    assert set(_states(stack).values()) == {DropState.TRAINED}
    versions = {each.drop.key: each.version for each in stack.ledger.list_drops()}
    assert versions["incoming/february.csv"] == versions["incoming/march.csv"] == 2
    rows = len(samples["breast-cancer"].read_bytes().splitlines()) - 1
    assert model.rows == rows, "each row of the three months once"


def test_a_folder_that_spark_writes_is_one_drop(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path]
) -> None:
    """200 parts of which some are empty, their checksums, and then the marker."""
    stack = deploy_sample("breast-cancer")
    header, *rows = samples["breast-cancer"].read_bytes().splitlines(keepends=True)
    parts: dict[str, bytes] = {}
    for number in range(200):
        name = f"part-{number:05d}-0c1f6c1e-6f5e-4b0c-9c66-2f5b6f0f7c11-c000.csv"
        own = rows[number::190] if number < 190 else []
        # Spark writes a header into a part without rows, or nothing where it wrote none.
        parts[name] = header + b"".join(own) if own or number % 2 else b""
        parts[f".{name}.crc"] = b"crc\x00\x00\x00\x02\x00"
    for name, body in parts.items():
        stack.drop(body, f"february/{name}")
    data = [name for name in parts if not name.startswith(".")]
    wait_for("every part", lambda: len(stack.ledger.waiting_drops()) == len(data), 300)
    assert stack.runs() == [], "no run begins before the folder is complete"

    stack.drop(b"", "february/_SUCCESS")
    wait_for("a model of 200 parts", lambda: stack.ledger.get_model(1), 300)
    model = stack.wait_for_version(1)

    (run,) = stack.runs()
    assert run.run_id.startswith("february-")
    assert stack.taken(run) == sorted(f"incoming/february/{name}" for name in data)
    assert model.rows == len(rows)
    assert Counter(_states(stack).values()) == {DropState.TRAINED: len(data)}, "no checksum is a drop"
    assert any("Passed over files without rows" in note for note in run.notes), run.notes
    assert stack.ledger.waiting_drops() == []


def test_twenty_thousand_drops_that_wait_are_admitted_and_given_back_within_the_functions_time(
    deploy_sample: Callable[..., Stack], capsys: pytest.CaptureFixture[str]
) -> None:
    stack = deploy_sample("wine")
    _let_wait(stack, _MANY)
    _fail(stack, "PrepareData")

    began = time.monotonic()
    stack.start(trigger="manual")
    run = wait_for("an admitted run", lambda: next(iter(stack.runs()), None), 300)
    wait_for("the end of AdmitRun", lambda: "PrepareData" in stack.states(run.execution_arn), 300)
    admitted_s = time.monotonic() - began
    manifest = stack.read(run.manifest_uri)
    assert len(json.loads(manifest)["objects"]) == _MANY
    assert run.drop_count == _MANY
    ended = wait_for("the end of the run", lambda: _ended(stack, run.run_id), 600)
    given_back_s = time.monotonic() - began - admitted_s

    assert ended.error is not None
    assert ended.error["class"] == "AccessDenied"
    drops = list(stack.ledger.list_drops())
    assert Counter(each.state for each in drops) == {DropState.WAITING: _MANY}
    assert {each.due_at for each in drops} == {NEVER}
    assert len(stack.ledger.waiting_drops()) == _MANY
    assert stack.ledger.unsettled_runs() == []
    largest = max(_item_sizes(stack))
    with capsys.disabled():
        print(
            f"\n{_MANY:,} drops: admitted in {admitted_s:.0f} s, given back in {given_back_s:.0f} s; each "
            f"function has 300 s. Manifest {len(manifest) / 1e6:.1f} MB, largest item {largest:,} bytes."
        )
    assert largest < _LARGEST_ITEM_BYTES


def _ended(stack: Stack, run_id: str) -> Any:
    run = stack.ledger.get_run(run_id)
    assert run is not None
    over = stack.execution(run.execution_arn)["status"] != "RUNNING"
    return run if over and run.status is RunStatus.FAILED else None


def _let_wait(stack: Stack, number: int) -> None:
    """Have so many drops wait, as their own executions would have recorded them one by one."""
    now = datetime.now(UTC)
    requests = []
    for each in range(number):
        at = iso(now - timedelta(seconds=number - each))
        key = f"incoming/sensors/site-{each % 100:02d}/measurements-of-one-minute-{each:05d}.csv"
        drop = Drop(stack.bucket, key, f"{each:032d}", f"{each:032x}", f"{each:016X}", 4_000, at)
        recorded = RecordedDrop(drop, at, f"{stack.outputs['TrainingStateMachine']}:{each}")
        waits = {"drop_id": drop.drop_id, "due_at": ""}
        for item in (
            {**keys.drop(drop.drop_id), **recorded.to_dict()},
            {**keys.pending(at, drop.drop_id), **waits},
            {**keys.newest(key), "drop_id": drop.drop_id},
        ):
            requests.append({"PutRequest": {"Item": item_of(item)}})
    client, table = stack.host.client("dynamodb"), stack.outputs["LedgerTable"]
    for start in range(0, len(requests), _ITEMS_A_CALL):
        client.batch_write_item(RequestItems={table: requests[start : start + _ITEMS_A_CALL]})


def _item_sizes(stack: Stack) -> Iterator[int]:
    """The size of each item of the ledger, as its attributes' names and values in JSON."""
    pages = stack.host.client("dynamodb").get_paginator("scan")
    for page in pages.paginate(TableName=stack.outputs["LedgerTable"]):
        yield from (len(json.dumps(item)) for item in page["Items"])
