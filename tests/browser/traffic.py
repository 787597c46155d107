"""Predictions of hours that have passed, and the watch that looks at them."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dropforge.domain.moments import iso
from dropforge.domain.predictions import epoch_ms, partition_of, prediction_id
from tests.workflow.stack import Stack

_BATCH = 25


def rows_of(data: Path, stack: Stack, count: int, first: int = 0) -> list[dict[str, Any]]:
    """Rows of the sample as a caller would send them."""
    live = stack.ledger.live()
    assert live is not None
    features = [
        each["name"] for each in stack.read_json(live.contract_uri)["columns"] if each["role"] == "feature"
    ]
    with data.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[first : first + count]
    return [{name: float(row[name]) for name in features} for row in rows]


def watched_hour(stack: Stack, instances: list[dict[str, Any]], hours_ago: int) -> dict[str, Any]:
    """Log the live model's answers as if they had been asked for in that hour, and watch the hour."""
    live = stack.ledger.live()
    assert live is not None
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours_ago)
    requests = []
    for index, (instance, output) in enumerate(zip(instances, stack.predict(instances), strict=True)):
        at = start + timedelta(seconds=index + 1)
        identifier = prediction_id(epoch_ms(at), f"hour {hours_ago}", index)
        item = {
            "pk": {"S": partition_of(identifier)},
            "sk": {"S": identifier},
            "model_version": {"N": str(live.version)},
            "inputs": {"S": json.dumps(instance)},
            "output": {"S": json.dumps(output)},
            "latency_ms": {"N": "5"},
            "expires_at": {"N": str(int(at.timestamp()) + 86_400)},
        }
        requests.append({"PutRequest": {"Item": item}})
    table = stack.outputs["PredictionsTable"]
    for first in range(0, len(requests), _BATCH):
        stack.host.client("dynamodb").batch_write_item(RequestItems={table: requests[first : first + _BATCH]})
    answer = stack.host.client("lambda").invoke(
        FunctionName=stack.resource("WatchModelFunction"),
        Payload=json.dumps({"time": iso(start + timedelta(hours=1))}).encode(),
    )
    found: dict[str, Any] = json.loads(answer["Payload"].read())
    return found
