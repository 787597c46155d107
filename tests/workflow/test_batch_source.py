"""New files under a prefix of another bucket are scored by the schedule, each once."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.workflow.stack import Stack, wait_for
from tests.workflow.test_batch_scoring import Batches


def test_what_is_new_in_another_bucket_is_scored_once_by_the_schedule(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path]
) -> None:
    # Its key is the stack's own, and what it may read is that prefix alone.
    stack = deploy_sample(
        "breast-cancer",
        BatchSource="daily/",
        BatchSourceBucket="lake-of-files",
        BatchSchedule="rate(1 minute)",
        BatchFilesAtOnce="2",
        EncryptionKey="create",
    )
    content = samples["breast-cancer"].read_bytes()
    stack.s3.create_bucket(Bucket="lake-of-files")

    def put(name: str, body: bytes) -> None:
        stack.s3.put_object(Bucket="lake-of-files", Key=name, Body=body)

    put("daily/monday.csv", content)
    put("daily/broken.csv", b"")
    put("daily/_SUCCESS", b"")
    put("private/salaries.csv", content)
    stack.train_and_deploy(content)
    batches = Batches(stack)

    put("daily/tuesday.csv", content[: content.rindex(b"\n", 0, len(content) // 2) + 1])
    states = wait_for("three files that are done", lambda: files_once_done(stack, 3), patience_s=240)
    assert {name: each["state"] for name, each in states.items()} == {
        "daily/broken.csv": "failed",
        "daily/monday.csv": "scored",
        "daily/tuesday.csv": "scored",
    }
    assert states["daily/broken.csv"]["error"]["class"] == "EmptyData"
    told = stack.wait_for_notification("batch-failed")["Message"]
    assert "s3://lake-of-files/daily/broken.csv could not be scored" in told
    assert "dropforge batches retry" in told

    given = list(csv.DictReader(io.StringIO(content.decode())))
    result = list(csv.DictReader(io.StringIO(batches.read("lake-of-files/daily/monday.csv").decode())))
    assert [row["id"] for row in result] == [row["id"] for row in given]
    assert len(batches.executions()) == 3

    # Looked at again, nothing is new but what was written since.
    put("daily/monday.csv", content[: content.rindex(b"\n", 0, len(content) // 3) + 1])
    wait_for("the newer content's result", lambda: shorter(batches, len(given)), patience_s=240)
    assert len(batches.executions()) == 4


def files_once_done(stack: Stack, number: int) -> Mapping[str, Any] | None:
    """What became of each file, once so many are neither scored now nor wait."""
    found = {each.key: each.to_dict() for each in stack.ledger.source_files("lake-of-files")}
    done = [each for each in found.values() if each["state"] in ("scored", "failed")]
    return found if len(done) == number else None


def shorter(batches: Batches, rows: int) -> bool | None:
    manifest = batches.manifest("lake-of-files/daily/monday.csv")
    return True if manifest["rows"]["scored"] < rows else None
