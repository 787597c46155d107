"""What each role needs: from the machines' requests, the functions' recorded calls, and what jobs do."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from dropforge_local.permissions import (
    Permission,
    Place,
    UnknownIntegration,
    history_permissions,
    log_delivery_permission,
    managed_rule_permissions,
    map_permissions,
    observation_permissions,
    task_permissions,
)
from proof.findings import Finding
from proof.iam.intrinsics import ACCOUNT, PARTITION, REGION, Values
from proof.iam.jobs import job_permissions
from proof.iam.keys import data_key_permissions, environment_permission, volume_permissions
from proof.iam.recorded import load_calls
from proof.iam.roles import roles_of, values_of
from proof.product import Machine, Product, states_of
from proof.workflow.data import exploration

PLACE = Place(PARTITION, REGION, ACCOUNT)
_DECLARED = Path(__file__).with_name("declared.yaml")


@dataclass(frozen=True)
class Need:
    """A role's need of an action on a resource; ``why`` says who found it."""

    role: str
    action: str
    resource: str
    why: str
    context: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)


def needs_of(product: Product, parameters: Mapping[str, str]) -> tuple[list[Need], list[Finding]]:
    """Every need of every role, and what could not be derived."""
    needs, findings = list[Need](), list[Finding]()
    values = values_of(product.template, parameters)
    arns = {
        values.arn(name): name
        for name, resource in values.document["Resources"].items()
        if resource["Type"] == "AWS::IAM::Role"
    }
    for machine in product.machines():
        try:
            needs += _machine_needs(product, machine, values, arns)
        except UnknownIntegration as error:
            findings.append(Finding("unknown-integration", machine.path, str(error)))
    needs += _recorded_needs()
    needs += _destination_needs(product, values)
    needs += _start_needs(product, values)
    needs += _rollout_needs(product, values)
    declared = [need for when, need in _declared_needs() if when is None or values.holds(when)]
    needs += declared
    needs += _key_needs(product, values, needs)
    known = {role.name for role in roles_of(product.template, parameters)}
    findings += [
        Finding("declared", str(_DECLARED.name), f"there is no role {need.role}")
        for need in declared
        if need.role not in known
    ]
    return needs, findings


def _machine_needs(
    product: Product, machine: Machine, values: Values, roles: Mapping[str, str]
) -> Iterator[Need]:
    role = machine.properties["RoleArn"]["Fn::GetAtt"][0]
    keys = {values.arn(each.logical_id): _key_of(each, values) for each in product.machines()}
    explored = exploration(product, machine, values)
    definition = machine.definition()
    for name, state in states_of(definition):
        why = f"{machine.path} {name}"
        for request in _distinct(explored.requests.get(name, [])):
            if state["Type"] == "Map":
                if state.get("ItemProcessor", {}).get("ProcessorConfig", {}).get("Mode") == "DISTRIBUTED":
                    arn = values.arn(machine.logical_id)
                    label = state.get("Label") or name
                    yield from _under(role, map_permissions(request, arn, label, PLACE), why)
                continue
            yield from _under(role, task_permissions(state["Resource"], request, PLACE, keys.get), why)
            yield from _under(role, volume_permissions(request), why)
            for worker, permission in job_permissions(state["Resource"], request, roles):
                yield from _under(worker, [permission], why)
    logs = bool(machine.properties.get("LoggingConfiguration", {}).get("Destinations"))
    traces = bool(machine.properties.get("TracingConfiguration", {}).get("Enabled"))
    yield from _under(role, managed_rule_permissions(definition, PLACE), f"{machine.path}: .sync")
    yield from _under(role, observation_permissions(logs=logs, traces=traces), machine.logical_id)
    arn = values.arn(machine.logical_id)
    if (key := keys[arn]) is not None:
        why = f"{machine.logical_id}'s histories are encrypted with this key"
        yield from _under(role, history_permissions(key, arn), why)
        if logs:
            why = f"{machine.logical_id}'s log is encrypted with this key on its way"
            yield from _under(role, [log_delivery_permission(key, PLACE)], why)


def _key_of(machine: Machine, values: Values) -> str | None:
    """The customer's key of a machine."""
    key: str | None = values.resolve(machine.properties["EncryptionConfiguration"]).get("KmsKeyId")
    return key


def _start_needs(product: Product, values: Values) -> Iterator[Need]:
    """What rules and schedules need to start their targets, and to tell what they could not start."""
    for name, rule in product.of_type("AWS::Events::Rule").items():
        for target in rule["Targets"]:
            if "RoleArn" in target:
                role, machine = target["RoleArn"]["Fn::GetAtt"][0], values.resolve(target["Arn"])
                yield Need(role, "states:StartExecution", machine, f"{name} starts it")
    for name, schedule in product.of_type("AWS::Scheduler::Schedule").items():
        machine = values.resolve(schedule["Target"]["Arn"])
        yield from _schedule_needs(name, schedule["Target"], "states:StartExecution", machine, values)
    for name, function in product.functions().items():
        for event, each in function.get("Events", {}).items():
            if each["Type"] == "ScheduleV2" and "RoleArn" in each["Properties"]:
                target, arn = each["Properties"], values.arn(name)
                yield from _schedule_needs(f"{name}{event}", target, "lambda:InvokeFunction", arn, values)


def _schedule_needs(
    name: str, target: Mapping[str, Any], action: str, arn: str, values: Values
) -> Iterator[Need]:
    role = target["RoleArn"]["Fn::GetAtt"][0]
    yield Need(role, action, arn, f"{name} starts it")
    queue = values.resolve(target["DeadLetterConfig"]["Arn"])
    yield Need(role, "sqs:SendMessage", queue, f"{name}'s dead letters")


def _key_needs(product: Product, values: Values, needs: Iterable[Need]) -> Iterator[Need]:
    """What roles need of the customer's key, in a deployment that has one."""
    if not values.holds("HasKey"):
        return
    key = values.resolve(product.of_type("AWS::S3::Bucket")["DataBucket"]["BucketEncryption"])[
        "ServerSideEncryptionConfiguration"
    ][0]["ServerSideEncryptionByDefault"]["KMSMasterKeyID"]
    actions: dict[str, set[str]] = defaultdict(set)
    for need in needs:
        actions[need.role].add(need.action)
    for role, used in actions.items():
        yield from _under(role, data_key_permissions(used, key), "the data are encrypted with this key")
    for name in product.functions():
        permission = environment_permission(values.arn(name), key)
        yield from _under(f"{name}Role", [permission], "its environment is encrypted with this key")


def _under(role: str, permissions: Iterable[Permission], why: str) -> Iterator[Need]:
    for each in permissions:
        yield Need(role, each.action, each.resource, why, each.context)


def _distinct(requests: list[Any]) -> list[Any]:
    return list({repr(request): request for request in requests}.values())


def _recorded_needs() -> Iterator[Need]:
    for call in load_calls():
        yield Need(call.role, call.action, call.resource, "called in the workflow tests", call.context)


def _destination_needs(product: Product, values: Values) -> Iterator[Need]:
    """Where Lambda sends, under the function's role, what an asynchronous invocation failed on."""
    for name, properties in product.functions().items():
        destination = properties.get("EventInvokeConfig", {}).get("DestinationConfig", {}).get("OnFailure")
        if destination:
            arn = values.resolve(destination["Destination"])
            yield Need(f"{name}Role", "sqs:SendMessage", arn, f"{name}'s destination on failure")


def _rollout_needs(product: Product, values: Values) -> Iterator[Need]:
    """What CodeDeploy does with an alias that it moves step by step.

    https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSCodeDeployRoleForLambdaLimited.html
    """
    for name, properties in product.functions().items():
        preference = properties.get("DeploymentPreference", {})
        if not preference.get("Role"):
            continue
        role, arn = preference["Role"]["Fn::GetAtt"][0], values.arn(name)
        permissions = [
            Permission("lambda:GetAlias", arn),
            Permission("lambda:UpdateAlias", arn),
            Permission("lambda:GetProvisionedConcurrencyConfig", f"{arn}:{properties['AutoPublishAlias']}"),
        ]
        if preference.get("Alarms"):
            permissions.append(Permission("cloudwatch:DescribeAlarms", "*"))
        yield from _under(role, permissions, f"{name}'s new versions are rolled out step by step")


@lru_cache(maxsize=1)
def _declared_needs() -> list[tuple[str | None, Need]]:
    """What no test shows and no definition tells, each with its reason, and the condition it hangs on."""
    document = yaml.safe_load(_DECLARED.read_text()) or {}
    return [
        (
            each.get("when"),
            Need(role, action, re.sub(r"\s", "", each["resource"]), each["why"], each.get("context", {})),
        )
        for role, entries in document.items()
        for each in entries
        for action in each["actions"]
    ]
