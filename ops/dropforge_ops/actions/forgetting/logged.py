"""The subject's logged predictions, with their outcomes, which stand in the same items."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dropforge_ops.actions.forgetting.subject import Subject
from dropforge_ops.errors import OperationFailed

# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
_BATCH = 25
_ATTEMPTS = 20

Key = Mapping[str, Any]


def logged_predictions(dynamodb: Any, table: str, subject: Subject, salt: bytes | None) -> list[Key]:
    """The table's keys of every prediction that was asked for with the subject's key.

    The log has no index by key, so all of it is read: it costs as many read units as it has units of 4 KB.
    """
    if subject.column.privacy == "drop":
        return []
    texts = sorted(set(subject.texts()))
    if subject.column.privacy == "hash":
        texts = sorted(subject.pseudonyms(salt)) if salt else []
    if not texts:
        return []
    # JSON of the inputs is text in the table; what contains the key by chance is sorted out below.
    values = {f":text{index}": {"S": json.dumps(text)[1:-1]} for index, text in enumerate(texts)}
    pages = dynamodb.get_paginator("scan").paginate(
        TableName=table,
        ProjectionExpression="pk, sk, inputs",
        FilterExpression=" OR ".join(f"contains(inputs, {name})" for name in values),
        ExpressionAttributeValues=values,
        ConsistentRead=True,
    )
    return [
        {"pk": item["pk"], "sk": item["sk"]}
        for page in pages
        for item in page["Items"]
        if _is_of(subject, json.loads(item["inputs"]["S"]).get(subject.column.name), texts)
    ]


def _is_of(subject: Subject, value: Any, texts: Sequence[str]) -> bool:
    return value in texts if subject.column.privacy == "hash" else subject.matches(value)


def delete_predictions(dynamodb: Any, table: str, keys: Sequence[Key]) -> None:
    """Delete them; safe to run again.

    Raises:
        OperationFailed: DynamoDB left some unprocessed again and again.
    """
    for batch in _batches(keys):
        waiting: list[Any] = [{"DeleteRequest": {"Key": key}} for key in batch]
        for _ in range(_ATTEMPTS):
            answer = dynamodb.batch_write_item(RequestItems={table: waiting})
            waiting = answer.get("UnprocessedItems", {}).get(table, [])
            if not waiting:
                break
        else:
            raise OperationFailed(
                f"{table} is too busy: {len(waiting)} predictions are still there. Run the command again."
            )


def _batches(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    for start in range(0, len(keys), _BATCH):
        yield keys[start : start + _BATCH]
