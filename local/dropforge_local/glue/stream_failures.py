"""What a function says of a stream's records that it failed on: Lambda delivers from the first of them again.

MiniStack's poller honours ``ReportBatchItemFailures`` for queues, and takes a batch of a Kinesis stream for
done once the function has answered: records that it had named as failed were lost.

https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

from dropforge_local.glue.seams import kinesis, lambda_svc

_REPORTS = "ReportBatchItemFailures"
# Lambda waits longer with each attempt; here nobody pays for one.
_PAUSE_S = 1.0


def install() -> None:
    """Take a stream's position back to the first record that the function has named."""
    execute, poll = lambda_svc._execute_function, lambda_svc._poll_kinesis
    delivered = threading.local()

    def execute_noting(func: dict[str, Any], event: dict[str, Any], *args: Any, **options: Any) -> Any:
        result = execute(func, event, *args, **options)
        noted = getattr(delivered, "batches", None)
        if noted is not None and not result.get("error"):
            noted.append((func["config"]["FunctionName"], event["Records"], result.get("body")))
        return result

    def poll_kinesis() -> bool:
        delivered.batches = []
        try:
            processed: bool = poll()
            for function, records, answer in delivered.batches:
                for _, mapping in list(lambda_svc._esms._data.items()):
                    is_its = mapping["EventSourceArn"] == records[0]["eventSourceARN"]
                    if is_its and mapping["FunctionName"] == function:
                        _take_back(mapping, records, answer)
        finally:
            delivered.batches = None
        return processed

    lambda_svc._execute_function = execute_noting
    lambda_svc._poll_kinesis = poll_kinesis


def first_failed(records: list[Mapping[str, Any]], answer: Any) -> str | None:
    """The sequence number of the first record that is to be delivered again; None where all are done.

    An answer that can't be understood, or that names a record which isn't in the batch, fails all of it.

    >>> records = [{"kinesis": {"sequenceNumber": each}} for each in "123"]
    >>> first_failed(records, {"batchItemFailures": [{"itemIdentifier": "3"}, {"itemIdentifier": "2"}]})
    '2'
    >>> first_failed(records, {"batchItemFailures": [{"itemIdentifier": ""}]})
    '1'
    """
    numbers = [str(each["kinesis"]["sequenceNumber"]) for each in records]
    if isinstance(answer, str):
        try:
            answer = json.loads(answer)
        except ValueError:
            return numbers[0]
    if answer is None:
        return None
    if not isinstance(answer, dict):
        return numbers[0]
    named = [each.get("itemIdentifier") for each in answer.get("batchItemFailures") or []]
    if not named:
        return None
    if not set(named) <= set(numbers):
        return numbers[0]
    return next(number for number in numbers if number in named)


def _take_back(mapping: dict[str, Any], records: list[Mapping[str, Any]], answer: Any) -> None:
    if _REPORTS not in mapping.get("FunctionResponseTypes", []):
        return
    number = first_failed(records, answer)
    if number is None:
        return
    arn, (shard_id, _, _) = mapping["EventSourceArn"], str(records[0]["eventID"]).partition(":")
    [stream] = [each for _, each in kinesis._streams._data.items() if each.get("StreamARN") == arn]
    kept = [str(each["SequenceNumber"]) for each in stream["shards"][shard_id]["records"]]
    if number not in kept:  # it has expired meanwhile
        return
    for (*_, identifier), positions in list(lambda_svc._kinesis_positions._data.items()):
        if identifier == mapping["UUID"]:
            positions[shard_id] = kept.index(number)
    lambda_svc._esm_backoff_until[mapping["UUID"]] = time.time() + _PAUSE_S
