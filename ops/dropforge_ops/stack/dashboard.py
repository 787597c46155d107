"""What a deployed stack's dashboard and alarms look at, with the names that the stack has."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dropforge_ops.errors import NotFound
from dropforge_ops.stack.target import Target, stack_description

_DASHBOARD: Final = "ModelDashboard"
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z0-9:.]+)\}")


@dataclass(frozen=True)
class StackDashboard:
    """What is worth a look on a stack.

    Attributes:
        stack: the stack's name.
        region: its region.
        account: the account that it is in.
        widgets: those of the template's dashboard, as CloudWatch takes them
            (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html).
        alarms: the stack's alarms as ``DescribeAlarms`` gives them, by logical id.
    """

    stack: str
    region: str
    account: str
    widgets: tuple[Mapping[str, Any], ...]
    alarms: Mapping[str, Mapping[str, Any]]


def read_dashboard(target: Target) -> StackDashboard:
    """The dashboard in the template that a stack was deployed from, also where ``Dashboard`` is off.

    Raises:
        NotFound: there is no such stack, or its template has no dashboard.
    """
    target.outputs  # noqa: B018 - says in its own words that a stack isn't there, or is none of ours
    cloudformation = target.client("cloudformation")
    description = stack_description(target) or {}
    template = cloudformation.get_template(StackName=target.stack, TemplateStage="Processed")["TemplateBody"]
    body = template["Resources"].get(_DASHBOARD, {}).get("Properties", {}).get("DashboardBody", {})
    if "Fn::Sub" not in body:
        raise NotFound(
            f"The template of the stack {target.stack!r} has no {_DASHBOARD}. Deploy the project's again."
        )
    region, account = str(description["StackId"]).split(":")[3:5]
    names = {"AWS::Region": region, "AWS::AccountId": account, "AWS::StackName": target.stack}
    names |= {each["ParameterKey"]: each["ParameterValue"] for each in description.get("Parameters", [])}
    logical_ids: dict[str, str] = {}
    for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=target.stack):
        for each in page["StackResourceSummaries"]:
            logical_id, kind = each["LogicalResourceId"], each["ResourceType"]
            names |= _names_of(logical_id, each["PhysicalResourceId"], kind)
            if kind == "AWS::CloudWatch::Alarm":
                logical_ids[each["PhysicalResourceId"]] = logical_id
    alarms = {
        logical_ids[alarm["AlarmName"]]: alarm
        for page in target.client("cloudwatch")
        .get_paginator("describe_alarms")
        .paginate(AlarmNames=list(logical_ids))
        for alarm in page["MetricAlarms"]
    }
    body = json.loads(_VARIABLE.sub(lambda found: names[found[1]], body["Fn::Sub"]))
    ordered = {logical_id: alarms[logical_id] for logical_id in template["Resources"] if logical_id in alarms}
    return StackDashboard(target.stack, region, account, tuple(body["widgets"]), ordered)


def _names_of(logical: str, physical: str, kind: str) -> dict[str, str]:
    """What ``Fn::Sub`` may say of a resource. A queue's id is its URL; a stage is called after its API."""
    names = {
        logical: physical,
        f"{logical}.Arn": physical,
        f"{logical}.QueueName": physical.rpartition("/")[2],
    }
    if kind == "AWS::ApiGateway::Stage":
        names[f"{logical.removesuffix('Stage').removesuffix('v1')}.Stage"] = physical
    return names
