"""POST /estimate with ``{"km": 4.2, "parcels": 3}`` answers with the minutes that the model expects."""

from __future__ import annotations

import json
from typing import Any

import boto3

_runtime = boto3.client("sagemaker-runtime")


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Ask the endpoint."""
    delivery = json.loads(event["body"])
    answer = _runtime.invoke_endpoint(
        EndpointName="delivery-times",
        ContentType="application/json",
        Body=json.dumps([delivery["km"], delivery["parcels"]]),
    )
    minutes = json.loads(answer["Body"].read())
    return {"statusCode": 200, "body": json.dumps({"minutes": round(minutes, 1)})}
