"""Keeps what the deployed stacks did, for ``python -m proof record``: calls of roles, and executions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from proof.record import VARIABLE, keep

from dropforge_local.host import LocalHost

_left_out: set[str] = set()


def leave_out(stack: str) -> None:
    """Record nothing of a stack that ran another release: what that did, today's doesn't."""
    _left_out.add(stack)


def record(host: LocalHost) -> None:
    """Keep what happened on the host, where a recording is being made."""
    if VARIABLE not in os.environ:
        return
    cloudformation = host.client("cloudformation")
    stacks = {
        stack["StackName"]: {
            "resources": {
                each["LogicalResourceId"]: each["PhysicalResourceId"]
                for each in cloudformation.describe_stack_resources(StackName=stack["StackName"])[
                    "StackResources"
                ]
                if each.get("PhysicalResourceId")
            },
            "parameters": {
                each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", [])
            },
        }
        for stack in cloudformation.describe_stacks()["Stacks"]
        if stack["StackName"] not in _left_out
    }
    keep({"stacks": stacks, "calls": host.calls(), "executions": list(_executions(host))})


def _executions(host: LocalHost) -> Iterator[dict[str, Any]]:
    client = host.client("stepfunctions")
    for machine in client.list_state_machines()["stateMachines"]:
        if machine["name"].rpartition("-")[0] in _left_out:
            continue
        for arn in _arns(client, stateMachineArn=machine["stateMachineArn"]):
            pages = client.get_paginator("get_execution_history").paginate(executionArn=arn)
            yield {
                "arn": arn,
                "input": client.describe_execution(executionArn=arn)["input"],
                "events": [_event(event) for page in pages for event in page["events"]],
            }


def _arns(client: Any, **listed: str) -> Iterator[str]:
    """The executions of a machine, or of a map run, and those of their own map runs."""
    for page in client.get_paginator("list_executions").paginate(**listed):
        for execution in page["executions"]:
            yield execution["executionArn"]
            if "stateMachineArn" in listed:
                for run in client.list_map_runs(executionArn=execution["executionArn"])["mapRuns"]:
                    yield from _arns(client, mapRunArn=run["mapRunArn"])


def _event(event: dict[str, Any]) -> dict[str, Any]:
    """An event's type and details, without its times."""
    details = next((value for name, value in event.items() if name.endswith("EventDetails")), {})
    return {"type": event["type"], **{name: value for name, value in details.items() if name != "roleArn"}}
