"""Files that a stack scores by themselves: where they come from, and looking for new ones at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dropforge.domain.batch_source import BatchSource
from dropforge_ops.errors import NotFound, OperationFailed
from dropforge_ops.stack.target import Target


def source_of(target: Target) -> BatchSource:
    """Where the stack's files come from.

    Raises:
        NotFound: the stack has no ``BatchSource``.
    """
    text = target.outputs.get("BatchSource")
    if not text:
        raise NotFound(
            "This stack has no BatchSource. Deploy it with BatchSource=PREFIX/ (and BatchSourceBucket, where "
            "the prefix is of another bucket), and what is new there is scored by BatchSchedule. To score a "
            "file that lies here: dropforge batch FILE"
        )
    return BatchSource.from_uri(text)


def look_for_files(target: Target, retry: Sequence[str] = ()) -> Mapping[str, Any]:
    """Have the stack look for new files; its answer has message, started, in_progress, left, scored, failed.

    Raises:
        NotFound: see `source_of`.
        OperationFailed: the function broke.
    """
    source_of(target)
    answer = target.client("lambda").invoke(
        FunctionName=target.resource("StartBatchesFunction"),
        Payload=json.dumps({"retry": list(retry)}).encode(),
    )
    found: Mapping[str, Any] = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise OperationFailed(f"Looking broke with {found.get('errorType')}: {found.get('errorMessage')}")
    return found
