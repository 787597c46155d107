"""Teardown: nothing new begins, what runs is stopped, the stack goes, then all else; what is left is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.exceptions import ClientError

from dropforge_ops.actions.teardown.kinds import (
    AFTER_THE_STACK,
    LOOKED_FOR,
    PACKAGES,
    RUNNING_JOBS,
    TAGGED,
    Kind,
    is_busy,
    is_gone,
)
from dropforge_ops.actions.teardown.names import Names
from dropforge_ops.actions.waiting import Deadline, until
from dropforge_ops.errors import OperationFailed
from dropforge_ops.stack.target import Target

_MACHINE: Final = "AWS::StepFunctions::StateMachine"
_RULE: Final = "AWS::Events::Rule"
_SCHEDULE: Final = "AWS::Scheduler::Schedule"
# Lists of AWS may show for a while what is gone already.
_ROUNDS: Final = 3
_SCHEDULE_FIELDS: Final = (
    "Name",
    "GroupName",
    "ScheduleExpression",
    "ScheduleExpressionTimezone",
    "FlexibleTimeWindow",
    "Target",
    "Description",
)


@dataclass
class Teardown:
    """What was done: names by kind. ``left`` is what was found afterwards and should not be there."""

    stopped: list[str] = field(default_factory=list)
    deleted: dict[str, list[str]] = field(default_factory=dict)
    kept: dict[str, list[str]] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)


def what_there_is(target: Target, names: Names) -> dict[str, list[str]]:
    """Everything of the stack that can be found, by kind."""
    return _found(LOOKED_FOR, target, names)


def tear_down(
    target: Target,
    names: Names,
    *,
    keep_data: bool,
    deadline: Deadline,
    say: Callable[[str], None] = lambda _: None,
) -> Teardown:
    """Take the stack away. Safe to run again after any interruption: what is gone is not missed.

    Args:
        keep_data: keep buckets, tables and the encryption key.

    Raises:
        OperationFailed: CloudFormation could not delete the stack.
        TimedOut: something takes longer to go than the deadline allows.
    """
    done = Teardown()
    if names.is_deployed:
        say("Schedules and rules are switched off, executions stopped.")
        resources = _resources(target)
        _begin_nothing_more(target, resources)
        done.stopped = _stop_executions(target, resources, deadline)
    # A group that holds packages can't be deleted, and it belongs to the stack.
    for kind in (*RUNNING_JOBS, PACKAGES):
        _delete_until_gone(kind, target, names, done, deadline)
    if names.is_deployed:
        say(f"The stack {names.stack} is being deleted.")
        _delete_stack(target, names, done, deadline)
    for kind in AFTER_THE_STACK:
        if kind.is_data and keep_data:
            if found := kind.find(target, names):
                done.kept[kind.name] = found
            continue
        say(f"Looking for each {kind.name}.")
        _delete_until_gone(kind, target, names, done, deadline)
    done.left = _left(target, names, done, deadline)
    return done


def _resources(target: Target) -> dict[str, list[str]]:
    """The physical ids of the stack's resources, by type."""
    found: dict[str, list[str]] = {}
    pages = (
        target.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=target.stack)
    )
    for page in pages:
        for each in page["StackResourceSummaries"]:
            if each.get("PhysicalResourceId") and not each["ResourceStatus"].startswith("DELETE_COMPLETE"):
                found.setdefault(each["ResourceType"], []).append(each["PhysicalResourceId"])
    return found


def _begin_nothing_more(target: Target, resources: Mapping[str, list[str]]) -> None:
    for rule in resources.get(_RULE, []):
        _unless_gone(lambda rule=rule: target.client("events").disable_rule(Name=rule.rpartition("|")[2]))  # type: ignore[misc]
    scheduler = target.client("scheduler")
    for name in resources.get(_SCHEDULE, []):

        def switch_off(name: str = name) -> None:
            schedule = scheduler.get_schedule(Name=name.rpartition("/")[2])
            kept = {key: schedule[key] for key in _SCHEDULE_FIELDS if key in schedule}
            scheduler.update_schedule(**kept, State="DISABLED")

        _unless_gone(switch_off)


def _stop_executions(target: Target, resources: Mapping[str, list[str]], deadline: Deadline) -> list[str]:
    client, stopped = target.client("stepfunctions"), []

    def running() -> list[str]:
        found = []
        for machine in resources.get(_MACHINE, []):
            pages = client.get_paginator("list_executions").paginate(
                stateMachineArn=machine, statusFilter="RUNNING"
            )
            try:
                found += [each["executionArn"] for page in pages for each in page["executions"]]
            except ClientError as error:
                if not is_gone(error):
                    raise
        return found

    def none_runs() -> bool:
        for arn in running():
            _unless_gone(
                lambda arn=arn: client.stop_execution(  # type: ignore[misc]
                    executionArn=arn, error="Teardown", cause="The stack is being taken away."
                )
            )
            if arn not in stopped:
                stopped.append(arn)
        return not running()

    until(none_runs, deadline, target.poll_s, "An execution goes on")
    return stopped


def _delete_stack(target: Target, names: Names, done: Teardown, deadline: Deadline) -> None:
    client = target.client("cloudformation")
    stack_id = client.describe_stacks(StackName=names.stack)["Stacks"][0]["StackId"]
    client.delete_stack(StackName=names.stack)
    said: dict[str, Any] = {}

    def settled() -> bool:
        try:
            said.update(client.describe_stacks(StackName=stack_id)["Stacks"][0])
        except ClientError as error:
            if not is_gone(error):
                raise
            said["StackStatus"] = "DELETE_COMPLETE"
        return said["StackStatus"] in ("DELETE_COMPLETE", "DELETE_FAILED")

    until(settled, deadline, target.poll_s, f"The stack {names.stack} is not deleted")
    if said["StackStatus"] == "DELETE_FAILED":
        raise OperationFailed(
            f"CloudFormation could not delete {names.stack}: "
            f"{said.get('StackStatusReason', 'no reason given')}. Mend that and run the teardown "
            "again; it goes on where it is.",
            deleted=done.deleted,
        )
    done.deleted["stack"] = [names.stack]


def _delete_until_gone(kind: Kind, target: Target, names: Names, done: Teardown, deadline: Deadline) -> None:
    """Delete until none is found: some things take their time, and some have to end what they do first."""
    until(
        lambda: not _delete_all(kind, target, names, done), deadline, target.poll_s, f"A {kind.name} is there"
    )


def _delete_all(kind: Kind, target: Target, names: Names, done: Teardown) -> list[str]:
    """Delete all of a kind and return what was found."""
    if kind.delete is None:
        return []
    found = kind.find(target, names)
    for name in found:
        _unless_gone(lambda name=name: kind.delete(target, name))  # type: ignore[misc]
        known = done.deleted.setdefault(kind.name, [])
        if name not in known:
            known.append(name)
    return found


def _left(target: Target, names: Names, done: Teardown, deadline: Deadline) -> dict[str, list[str]]:
    """What is still there once deletions have had time to settle; kept data is not meant."""
    kept = {name for each in done.kept.values() for name in each}
    found: dict[str, list[str]] = {}

    def none() -> bool:
        found.clear()
        for kind, left in _found((*LOOKED_FOR, TAGGED), target, names).items():
            meant = [each for each in left if not _is_kept(each, kept)]
            if meant:
                found[kind] = meant
        return not found

    for _ in range(_ROUNDS):
        if none():
            break
        deadline.sleep(target.poll_s * 5)
    return dict(found)


def _is_kept(name: str, kept: Iterable[str]) -> bool:
    return any(name == each or name.endswith((f"/{each}", f":{each}")) for each in kept)


def _found(kinds: Iterable[Kind], target: Target, names: Names) -> dict[str, list[str]]:
    return {kind.name: found for kind in kinds if (found := kind.find(target, names))}


def _unless_gone(call: Callable[[], Any]) -> None:
    try:
        call()
    except ClientError as error:
        if not is_gone(error) and not is_busy(error):
            raise
