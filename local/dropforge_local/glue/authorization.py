"""IAM where MiniStack has none: SageMaker's operations, state machines' roles, task tokens, partition keys.

All of it is inert unless the host runs with ``auth``. Every decision about a role is remembered once, so that
what a role really needs can be read after a day of work (``DropforgeHost.ListCalls``).
"""

from __future__ import annotations

import contextvars
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from dropforge_local.glue.seams import app, dynamodb, iam, iam_actions, iam_evaluator, router, s3
from dropforge_local.permissions import (
    SCALING,
    Permission,
    Place,
    history_permissions,
    managed_rule_permissions,
    map_permissions,
    reading_permission,
    request_permissions,
    task_permissions,
)

if TYPE_CHECKING:
    from dropforge_local.settings import HostSettings

# What conditions of policies ask about; other keys would make every call of a role another one.
_REMEMBERED_KEYS = ("s3:prefix", "dynamodb:LeadingKeys", "iam:PassedToService")
_READS = ("s3:GetObject", "s3:GetObjectVersion")
# How Step Functions names a refusal, by the task's service; "" is what the SDK integrations do.
_REFUSALS = {
    "lambda": "Lambda.AWSLambdaException",
    "sagemaker": "SageMaker.AmazonSageMakerException",
    "sns": "SNS.AuthorizationErrorException",
    "states": "StepFunctions.AWSStepFunctionsException",
    "dynamodb": "DynamoDB.AmazonDynamoDBException",
    "aws-sdk:sagemaker": "SageMaker.SageMakerException",
}


class Denied(Exception):
    """A role may not do something; the text is AWS's."""


class Calls:
    """What roles asked for, each thing once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, dict[str, Any]] = {}

    def add(self, role: str, permission: Permission, allowed: bool) -> None:
        """Remember a decision."""
        context = {key: permission.context[key] for key in _REMEMBERED_KEYS if key in permission.context}
        call = {
            "role": role,
            "action": permission.action,
            "resource": permission.resource,
            "context": context,
            "allowed": allowed,
        }
        with self._lock:
            self._seen.setdefault(json.dumps(call, sort_keys=True), call)

    def all(self) -> list[dict[str, Any]]:
        """Every call, in the order in which each was first made."""
        with self._lock:
            return list(self._seen.values())


class Authorization:
    """Decides for roles by MiniStack's evaluator, on the policies that were deployed."""

    def __init__(self, settings: HostSettings, evaluator: Any, roles: Any, calls: Calls) -> None:
        self.enabled = settings.auth
        self._evaluator = evaluator
        self._roles = roles
        self.calls = calls
        self._account = settings.account_id
        self.place = Place("aws", settings.region, settings.account_id)

    def require(self, role_arn: str, permissions: Iterable[Permission]) -> None:
        """Raise Denied at the first of the permissions that the role's policies do not give."""
        for permission in permissions:
            # A background thread carries no account; the host has one.
            denied = contextvars.Context().run(self._decision, role_arn, permission)
            if denied:
                raise Denied(denied)

    def _decision(self, role_arn: str, permission: Permission) -> str | None:
        name = role_arn.rpartition("/")[2]
        evaluator, account = self._evaluator, self._account
        principal = f"arn:aws:sts::{account}:assumed-role/{name}/states"
        context = evaluator.EvalContext(
            principal_arn=principal,
            principal_type="AssumedRole",
            principal_account=account,
            action=permission.action,
            resource_arn=permission.resource,
            region=self.place.region,
            secure_transport=True,
            service_context={key.lower(): value for key, value in permission.context.items()},
        )
        result = evaluator.evaluate(
            context,
            evaluator._gather_role_policies(name, account),
            *evaluator._permissions_boundary(self._roles, name, account),
        )
        allowed = result.decision == "Allow"
        self.calls.add(name, permission, allowed)
        if allowed:
            return None
        reason = (
            "with an explicit deny in an identity-based policy"
            if result.decision == "Deny"
            else f"because no identity-based policy allows the {permission.action} action"
        )
        return (
            f"User: {principal} is not authorized to perform: {permission.action} on resource: "
            f"{permission.resource} {reason}"
        )

    # --- state machines ------------------------------------------------------------------------------

    def task(self, role_arn: str, resource: str, arguments: Any, key_of: Callable[[str], str | None]) -> None:
        """Raise Denied unless the machine's role may make the task's call; ``key_of`` a machine, its key."""
        if self.enabled and resource.startswith("arn:aws:states:::"):
            self.require(role_arn, task_permissions(resource, arguments, self.place, key_of))

    def execution(self, role_arn: str, key: str | None, machine_arn: str) -> None:
        """Raise Denied unless the machine's role may use the customer's key of its histories."""
        if self.enabled and key is not None:
            self.require(role_arn, history_permissions(key, machine_arn))

    def reading(self, key: str | None, machine_arn: str) -> None:
        """Raise Denied unless the role that makes this request may read what the customer's key encrypts."""
        caller = self._evaluator.caller_arn()
        if self.enabled and key is not None and ":assumed-role/" in caller:
            role = self._evaluator._role_name_from_assumed_arn(caller)
            needed = reading_permission(key, machine_arn)
            through = {"kms:ViaService": f"states.{self.place.region}.amazonaws.com"}
            self.require(role, [Permission(needed.action, key, {**needed.context, **through})])

    def map(self, role_arn: str, state: Mapping[str, Any], machine_arn: str, label: str) -> None:
        """Raise Denied unless the machine's role may run the distributed Map."""
        if self.enabled:
            self.require(role_arn, map_permissions(state, machine_arn, label, self.place))

    def creation(self, role_arn: str, definition: str) -> None:
        """Raise Denied where the role can't make the rules that tell its ``.sync`` tasks of their ends."""
        if not self.enabled:
            return
        try:
            self.require(role_arn, managed_rule_permissions(definition, self.place))
        except Denied as denied:
            raise Denied(f"'{role_arn}' is not authorized to create managed-rule. {denied}") from denied


def refusal_name(resource: str) -> str:
    """The error by which a task fails when its role may not make its call."""
    service = resource.removeprefix("arn:aws:states:::").removesuffix(":2").rpartition(":")[0]
    return _REFUSALS.get(service, "States.TaskFailed")


def install(settings: HostSettings, execution_of: Callable[[str], str | None]) -> Authorization:
    """Complete MiniStack's authorisation; returns what the other seams ask.

    Args:
        execution_of: the execution that a task token belongs to, None where it is none.
    """

    calls = Calls()
    authorization = Authorization(settings, iam_evaluator, iam._roles, calls)
    if settings.auth:
        # The loopback stands for AWS's endpoints, which speak TLS: policies that insist on it must hold here.
        pin = app.pin_request_origin
        app.pin_request_origin = lambda source_ip, secure_transport: pin(source_ip, True)
        iam_evaluator.enforce = _remembering(iam_evaluator, s3, calls)
        iam_actions.dynamodb_service_context = _with_leading_keys(
            iam_actions.dynamodb_service_context, dynamodb
        )
        iam_actions.extract_resource_arn = _with_tasks(iam_actions.extract_resource_arn, execution_of)
    return authorization


def _is_missing(resource_arn: str, s3: Any) -> bool:
    bucket, _, key = resource_arn.rpartition(":")[2].partition("/")
    held = s3._buckets.get(bucket)
    return bool(held is not None and key and key not in held["objects"])


def _remembering(evaluator: Any, s3: Any, calls: Calls) -> Callable[..., Any]:
    enforce = evaluator.enforce

    def enforced(
        access_key_id: str,
        iam_action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        service_context: Mapping[str, Any] | None = None,
    ) -> Any:
        denied = enforce(access_key_id, iam_action, service, region, resource_arn, service_context)
        principal = evaluator.resolve_caller_identity(access_key_id) or {}
        role = evaluator._role_name_from_assumed_arn(principal.get("userArn", ""))
        if role:
            calls.add(role, Permission(iam_action, resource_arn, service_context or {}), denied is None)
        if denied is None and iam_action in _READS and _is_missing(resource_arn, s3):
            # Who may not list learns nothing of what is missing:
            # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html. The look names no prefix.
            bucket = resource_arn.partition("/")[0]
            denied = enforce(access_key_id, "s3:ListBucket", service, region, bucket, {})
        return denied

    return enforced


def _with_leading_keys(original: Callable[[bytes], dict[str, Any]], dynamodb: Any) -> Callable[..., Any]:
    """Add ``dynamodb:LeadingKeys``: the values of the partition key that a request names."""

    def context(body: bytes) -> dict[str, Any]:
        found = original(body)
        keys = sorted(set(_leading_keys(json.loads(body or b"{}"), dynamodb._tables)))
        if keys:
            found["dynamodb:LeadingKeys"] = keys
        return found

    return context


def _leading_keys(request: Mapping[str, Any], tables: Any) -> Iterable[str]:
    entries = [(request.get("TableName"), request)]
    for item in request.get("TransactItems") or []:
        entries += [(each.get("TableName"), each) for each in item.values()]
    for table, writes in (request.get("RequestItems") or {}).items():
        items = writes if isinstance(writes, list) else [{"Key": key} for key in writes.get("Keys", [])]
        for write in items:
            entries += [(table, each) for each in (write.values() if "Key" not in write else [write])]
    for name, each in entries:
        table = tables.get(str(name).rpartition("/")[2])
        if not table:
            continue
        member = each.get("Key") or each.get("Item") or {}
        value = member.get(table["pk_name"])
        if value is None:
            value = _queried(each, table["pk_name"])
        if value is not None:
            yield str(next(iter(value.values())))


def _queried(request: Mapping[str, Any], key: str) -> Any:
    """The partition key's value in a KeyConditionExpression, which names it by ``=``."""
    expression = str(request.get("KeyConditionExpression", ""))
    names = {
        key,
        *(short for short, full in (request.get("ExpressionAttributeNames") or {}).items() if full == key),
    }
    words = expression.replace("=", " = ").replace("(", " ").replace(")", " ").split()
    for name, sign, value in zip(words, words[1:], words[2:], strict=False):
        if name in names and sign == "=":
            return (request.get("ExpressionAttributeValues") or {}).get(value)
    return None


def _with_tasks(
    original: Callable[..., str], execution_of: Callable[[str], str | None]
) -> Callable[..., str]:
    """An answer to a task token is checked on the machine that waits for it, a deletion of alarms on them."""

    def extracted(service: str, method: str, path: str, headers: Any, body: bytes, *rest: Any) -> str:
        if service == "states" and ".SendTask" in headers.get("x-amz-target", ""):
            execution = execution_of(str(json.loads(body or b"{}").get("taskToken", "")))
            if execution is not None:
                return execution.replace(":execution:", ":stateMachine:").rpartition(":")[0]
        if service == "monitoring" and headers.get("x-amz-target", "").endswith(".DeleteAlarms"):
            # Checked on each alarm; MiniStack knows only operations on a single one.
            names = json.loads(body or b"{}").get("AlarmNames") or ["*"]
            return str(original(service, method, path, headers, json.dumps({"AlarmName": names[0]}), *rest))
        return original(service, method, path, headers, body, *rest)

    return extracted


def sagemaker_check(authorization: Authorization) -> Callable[..., Any]:
    """A check of one request to SageMaker over HTTP: None, or MiniStack's refusal as the answer."""

    def check(path: str, headers: Mapping[str, str], query: Mapping[str, Any], body: bytes) -> Any:
        called = _sagemaker_call(path, headers, body) if authorization.enabled else None
        if called is None:
            return None
        key = router.extract_access_key_id(headers, query)
        for needed in request_permissions(*called, authorization.place):
            service = needed.action.partition(":")[0]
            denied = iam_evaluator.enforce(
                key, needed.action, service, authorization.place.region, needed.resource, needed.context
            )
            if isinstance(denied, iam_evaluator.AuthError):
                return iam_actions.access_denied_response(
                    service, needed.action, "", "", error_code=denied.code, message=denied.message
                )
            if denied is not None:
                principal, explicit = denied.principal_arn, denied.decision == "Deny"
                return iam_actions.access_denied_response(
                    service,
                    needed.action,
                    principal,
                    "",
                    message=iam_actions.identity_denial_message(
                        needed.action, principal, needed.resource, explicit
                    ),
                )
        return None

    return check


def _sagemaker_call(
    path: str, headers: Mapping[str, str], body: bytes
) -> tuple[str, Mapping[str, Any]] | None:
    """(operation, request) of a request that SageMaker is going to understand."""
    target = {name.lower(): value for name, value in headers.items()}.get("x-amz-target", "")
    if target.startswith("SageMaker.dropforge:"):
        return None  # the host's own switches, which AWS's policies know nothing of
    if target.startswith(("SageMaker.", SCALING)):
        try:
            request = json.loads(body or b"{}")
        except ValueError:
            return None
        operation = target.removeprefix("SageMaker.")
        return (operation, request) if isinstance(request, dict) else None
    match = re.match(r"/endpoints/([^/]+)/(async-)?", path)
    operation = "InvokeEndpointAsync" if match and match[2] else "InvokeEndpoint"
    return (operation, {"EndpointName": unquote(match[1])}) if match else None
