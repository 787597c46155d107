"""A function that does what its event asks for."""

import importlib.util
import json
import os
import sys
import tempfile
import time
from decimal import Decimal

import boto3
import probe_layer


class BadDrop(Exception):
    """An error of its own class."""


def handler(event, context):
    return ACTIONS[event.get("do", "echo")](event, context)


def record(event, context):
    key = {"id": {"S": f"event:{event['id']}"}, "body": {"S": json.dumps(event)}}
    boto3.client("dynamodb").put_item(TableName=os.environ["TABLE"], Item=key)


def _environment(event, context):
    return {
        "variables": dict(os.environ),
        "layer": probe_layer.VALUE,
        "found": {name: importlib.util.find_spec(name) is not None for name in event["modules"]},
        "home": os.path.expanduser("~"),
        "temporary": tempfile.gettempdir(),
        "remaining_ms": context.get_remaining_time_in_millis(),
        "memory": context.memory_limit_in_mb,
        "arn": context.invoked_function_arn,
        "request_id": context.aws_request_id,
    }


def _raise(event, context):
    raise BadDrop(event.get("message", "row 3, column age: not a number"))


def _count(event, context):
    """Count the calls for a key in DynamoDB; optionally fail the first ones, or take a while."""
    answer = boto3.client("dynamodb").update_item(
        TableName=os.environ["TABLE"],
        Key={"id": {"S": event["key"]}},
        UpdateExpression="ADD calls :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
        ReturnValues="UPDATED_NEW",
    )
    calls = int(answer["Attributes"]["calls"]["N"])
    time.sleep(event.get("seconds", 0))
    if calls <= event.get("failures", 0):
        raise BadDrop(f"call {calls}")
    return {"calls": calls, **event}


def _send(event, context):
    boto3.client("stepfunctions").send_task_success(
        taskToken=event["token"], output=json.dumps({"by": "handler"})
    )
    return {"ignored": True}


def _spawn(event, context):
    import subprocess

    return {"pid": os.getpid(), "child": subprocess.Popen(["sleep", "600"]).pid}


def _hog(event, context):
    block = bytearray(event["megabytes"] * 1024 * 1024)
    time.sleep(2)
    return len(block)


def _log(event, context):
    import logging

    print("printed")
    os.write(1, b"written\n")
    logging.getLogger("probe").warning("logged")
    return {}


def _emit(event, context):
    """Log a metric in the embedded metric format, in the way that the event names."""
    import logging

    directive = {"Namespace": "Probe", "Dimensions": [["Model"]], "Metrics": [{"Name": event["metric"]}]}
    document = {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]},
        "level": "INFO",
        "message": "watched",
        "Model": event.get("model", "probe"),
        event["metric"]: event["value"],
    }
    if event.get("through") == "logging":
        logging.getLogger("probe").warning(json.dumps(document))
    else:
        print(json.dumps(document))


def api(event, context):
    asked_for = event["queryStringParameters"] or {}
    identity = event["requestContext"]["identity"]
    return {"statusCode": int(asked_for.get("status", 200)), "body": json.dumps(identity)}


def _leave(event, context):
    """Change everything that an environment has to itself."""
    os.environ["LEFT"] = "behind"
    os.chdir("/")
    probe_layer.VALUE = "changed"
    boto3.LEFT = "behind"
    return {"pid": os.getpid(), "parent": os.getppid()}


def _find(event, context):
    return {
        "variable": os.environ.get("LEFT"),
        "folder": os.getcwd(),
        "layer": probe_layer.VALUE,
        "boto3": getattr(boto3, "LEFT", None),
        "pid": os.getpid(),
        "parent": os.getppid(),
    }


ACTIONS = {
    "leave": _leave,
    "find": _find,
    "emit": _emit,
    "echo": lambda event, context: event,
    "environment": _environment,
    "raise": _raise,
    "count": _count,
    "send": _send,
    "spawn": _spawn,
    "hog": _hog,
    "log": _log,
    "sleep": lambda event, context: time.sleep(event["seconds"]),
    "exit": lambda event, context: sys.exit(3),
    "decimal": lambda event, context: {"value": Decimal("1.5")},
    "nan": lambda event, context: {"value": float("nan")},
    "object": lambda event, context: {"value": object()},
    "large": lambda event, context: "x" * event["bytes"],
}
