"""Checks of a deployed stack: its state and parameters, what serves, alarms and who hears of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from dropforge.domain.contract import Contract
from dropforge.domain.errors import InvalidContract
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.errors import code_of, message_of
from dropforge_ops.health import api
from dropforge_ops.health.findings import Check, Finding, Status
from dropforge_ops.stack.documents import Documents
from dropforge_ops.stack.target import Target

NAMES = ("parameters", "contract", "data and ledger", "state machines", "endpoint", "API", "alarms")
_WHOLE = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"})
_UNITS_H = {"minute": 1 / 60, "hour": 1.0, "day": 24.0}
RUNBOOK = "docs/runbook.md"


def stack_state(target: Target, described: Mapping[str, Any]) -> Finding:
    """Whether CloudFormation is done with the stack, and well."""
    state = described["StackStatus"]
    if state in _WHOLE:
        return Finding("stack", Status.OK, f"{target.stack} on {target.host}: {state}")
    if state.endswith("_IN_PROGRESS"):
        return Finding("stack", Status.WARN, f"{target.stack}: {state}", "Wait until it is deployed.")
    if state == "UPDATE_ROLLBACK_COMPLETE":
        return Finding(
            "stack",
            Status.WARN,
            f"{target.stack}: the last deployment failed and was rolled back",
            "See the stack's events, mend the cause, deploy again.",
        )
    why = described.get("StackStatusReason")
    return Finding(
        "stack",
        Status.FAIL,
        f"{target.stack}: {state}{f' ({why})' if why else ''}",
        "See the stack's events; delete a stack that was never whole, and deploy again.",
    )


def checks(
    target: Target, parameters: Mapping[str, str], ledger: LedgerReader, documents: Documents
) -> list[Check]:
    """The checks of a stack that is there."""
    return [
        Check("parameters", lambda: _parameters(parameters)),
        Check("contract", lambda: _contract(target, parameters, documents)),
        Check("data and ledger", lambda: _storage(target)),
        Check("state machines", lambda: _machines(target)),
        Check("endpoint", lambda: _endpoint(target, ledger)),
        Check("API", lambda: api.check(target)),
        Check("alarms", lambda: _alarms(target), unreadable=Status.WARN),
    ]


def notifications(target: Target) -> Check:
    """Whether anybody hears of alarms and approvals. On AWS only: the local host sends no mail."""
    return Check("notifications", lambda: _notifications(target), unreadable=Status.WARN)


def _parameters(parameters: Mapping[str, str]) -> Iterable[Finding]:
    problems = [*_contradictions(parameters)]
    if not problems:
        named = ", ".join(
            f"{name}={parameters[name]}"
            for name in ("TargetColumn", "IdColumn", "GroupColumn", "SplitColumn", "TaskType", "EndpointMode")
            if parameters.get(name)
        )
        yield Finding("parameters", Status.OK, named)
    for said, remedy in problems:
        yield Finding("parameters", Status.WARN, said, remedy)


def _contradictions(parameters: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """What a template can't forbid, though it makes no sense together."""
    if parameters.get("ApiAuth") == "cognito" and not parameters.get("UserPoolArn"):
        yield "ApiAuth is cognito, but UserPoolArn is empty: nobody can call the API", "Set UserPoolArn."
    needed, considered = parameters.get("WindowsToAlarm"), parameters.get("WindowsConsidered")
    if needed and considered and float(needed) > float(considered):
        yield (
            f"WindowsToAlarm ({needed}) is more than WindowsConsidered ({considered}): no alarm can go off",
            "Lower WindowsToAlarm, or raise WindowsConsidered.",
        )
    schedule, window = (
        _schedule_hours(parameters.get("WatchSchedule", "")),
        parameters.get("WatchWindowHours"),
    )
    if schedule and window and abs(schedule - float(window)) > 0.01 * schedule:
        more = "twice" if schedule < float(window) else "not at all"
        yield (
            f"WatchSchedule is due every {schedule:g} h and looks at {float(window):g} h: some predictions "
            f"are watched {more}",
            "Make WatchWindowHours as long as WatchSchedule's rate.",
        )
    if parameters.get("WatchScheduleState") == "DISABLED":
        yield "WatchScheduleState is DISABLED: nothing is watched", "Set it to ENABLED."


def _schedule_hours(schedule: str) -> float | None:
    found = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", schedule.strip())
    return int(found[1]) * _UNITS_H[found[2]] if found else None


def _contract(target: Target, parameters: Mapping[str, str], documents: Documents) -> Finding:
    uri = f"s3://{target.bucket}/contract/schema.json"
    data = documents.bytes_of(uri)
    if data is None:
        return Finding("contract", Status.OK, "none is pinned yet; the first drop's is inferred")
    try:
        contract = Contract.from_json(data)
    except InvalidContract as error:
        return Finding("contract", Status.FAIL, f"{uri}: {error}", "Mend the file, or delete it.")
    task = parameters.get("TaskType", "auto")
    pairs = [
        ("TargetColumn", parameters.get("TargetColumn"), contract.target),
        ("IdColumn", parameters.get("IdColumn") or None, contract.key),
        ("TaskType", task if task != "auto" else contract.task, contract.task),
    ]
    different = [f"{name} is {said!r}, the contract says {is_!r}" for name, said, is_ in pairs if said != is_]
    different += [
        f"{name} is {parameters[name]!r}, which is no column of the contract"
        for name in ("GroupColumn", "SplitColumn")
        if parameters.get(name) and not contract.has_column(parameters[name])
    ]
    if different:
        return Finding(
            "contract",
            Status.FAIL,
            "; ".join(different),
            "Deploy with the contract's parameters, or run 'dropforge contract reset': the next drop's "
            "contract is inferred.",
        )
    return Finding("contract", Status.OK, f"{contract.task}, {len(contract.features)} features, as deployed")


def _storage(target: Target) -> Finding:
    target.client("s3").head_bucket(Bucket=target.bucket)
    table = target.outputs["LedgerTable"]
    target.client("dynamodb").describe_table(TableName=table)
    return Finding("data and ledger", Status.OK, f"{target.bucket} and {table} answer")


def _machines(target: Target) -> Finding:
    sfn = target.client("stepfunctions")
    names = [name for name in target.outputs if name.endswith("StateMachine")]
    # Nobody needs the key of an encrypted definition to know whether the machine is there.
    states = {
        name: sfn.describe_state_machine(stateMachineArn=target.outputs[name], includedData="METADATA_ONLY")
        for name in names
    }
    inactive = [name for name, described in states.items() if described.get("status") != "ACTIVE"]
    if inactive:
        return Finding("state machines", Status.FAIL, f"not active: {', '.join(inactive)}", "Deploy again.")
    return Finding("state machines", Status.OK, f"{len(names)} are active")


def _endpoint(target: Target, ledger: LedgerReader) -> Finding:
    live = ledger.live()
    if live is None:
        return Finding("endpoint", Status.OK, "no model is live yet; the first approval makes one")
    try:
        found = target.client("sagemaker").describe_endpoint(EndpointName=live.endpoint_name)
    except ClientError as error:
        if "not find" not in message_of(error).lower() and code_of(error) != "ResourceNotFound":
            raise
        since = ledger.asleep_since()
        if since is not None:
            return Finding(
                "endpoint",
                Status.WARN,
                f"version {live.version} is live, its endpoint sleeps since {since}: nobody asked it",
                "'dropforge wake' brings it back; EndpointIdleHours says when it sleeps.",
            )
        return Finding(
            "endpoint",
            Status.FAIL,
            f"version {live.version} is live, but the endpoint {live.endpoint_name} is gone",
            f"Deploy it again: dropforge rollback {live.version}; repairs run every quarter of an hour, too.",
        )
    state, configuration = found["EndpointStatus"], found["EndpointConfigName"]
    if state != "InService":
        return Finding(
            "endpoint",
            Status.WARN if state in ("Creating", "Updating") else Status.FAIL,
            f"{live.endpoint_name} is {state}",
            f"See the log group /aws/sagemaker/Endpoints/{live.endpoint_name}.",
        )
    if configuration != live.endpoint_config:
        return Finding(
            "endpoint",
            Status.FAIL,
            f"{live.endpoint_name} serves {configuration}, and {live.endpoint_config} is live",
            "A repair runs every quarter of an hour; 'dropforge rollback VERSION --wait' does it now.",
        )
    if live.was_rejected(ledger.get_model(live.version)):
        return Finding(
            "endpoint",
            Status.WARN,
            f"version {live.version} is rejected, still serving",
            "Unless a rollback is under way, approve another version: 'dropforge models' lists them.",
        )
    return Finding("endpoint", Status.OK, f"{live.endpoint_name} serves version {live.version}")


def _alarms(target: Target) -> Iterable[Finding]:
    # DescribeStackResources ends at 100 resources, and a stack has more.
    pages = target.client("cloudformation").get_paginator("list_stack_resources")
    names = {
        each["PhysicalResourceId"]: each["LogicalResourceId"]
        for page in pages.paginate(StackName=target.stack)
        for each in page["StackResourceSummaries"]
        if each["ResourceType"] == "AWS::CloudWatch::Alarm"
    }
    found = target.client("cloudwatch").describe_alarms(AlarmNames=sorted(names), MaxRecords=100)[
        "MetricAlarms"
    ]
    topic = target.outputs["NotificationTopic"]
    raised = [names[each["AlarmName"]] for each in found if each["StateValue"] == "ALARM"]
    silent = [
        names[each["AlarmName"]]
        for each in found
        if topic not in each.get("AlarmActions", []) or not each.get("ActionsEnabled", True)
    ]
    missing = sorted(set(names.values()) - {names[each["AlarmName"]] for each in found})
    for name in sorted(raised):
        yield Finding("alarms", Status.WARN, f"{name} is raised", f"See {RUNBOOK}#{name.lower()}.")
    for name in sorted(silent):
        yield Finding(
            "alarms", Status.WARN, f"{name} notifies nobody", "Deploy again; it was changed by hand."
        )
    for name in missing:
        yield Finding("alarms", Status.FAIL, f"{name} is gone", "Deploy again; it was deleted by hand.")
    if not (raised or silent or missing):
        yield Finding("alarms", Status.OK, f"{len(found)} alarms, none is raised, all notify the topic")


def _notifications(target: Target) -> Finding:
    pages = target.client("sns").get_paginator("list_subscriptions_by_topic")
    found = [
        each
        for page in pages.paginate(TopicArn=target.outputs["NotificationTopic"])
        for each in page["Subscriptions"]
    ]
    waiting = [each["Endpoint"] for each in found if not each["SubscriptionArn"].startswith("arn:")]
    if waiting:
        return Finding(
            "notifications",
            Status.WARN,
            f"not confirmed by {', '.join(waiting)}",
            "Open the mail 'AWS Notification - Subscription Confirmation' and confirm.",
        )
    if not found:
        return Finding(
            "notifications",
            Status.WARN,
            "nobody hears of alarms, failures and approvals",
            "Deploy with NotificationEmail, or subscribe something to the topic.",
        )
    return Finding("notifications", Status.OK, f"{len(found)} subscriptions are confirmed")
