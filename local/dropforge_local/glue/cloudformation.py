"""CloudFormation's SageMaker types, made by our SageMaker service; what it refuses and converts itself."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.seams import changesets, cloudformation, engine, handlers, provisioners
from dropforge_local.glue.workflow.definition import problems
from dropforge_local.sagemaker.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dropforge_local.glue import Installed
    from dropforge_local.sagemaker.service import SageMaker


_log = logging.getLogger("dropforge.cloudformation")

# A stack whose deployment a crash cut off -> where it can go on from: created anew, or updated once more.
_AFTER_A_CRASH = {
    "CREATE_IN_PROGRESS": "ROLLBACK_FAILED",
    "ROLLBACK_IN_PROGRESS": "ROLLBACK_FAILED",
    "DELETE_IN_PROGRESS": "DELETE_FAILED",
    "UPDATE_IN_PROGRESS": "UPDATE_ROLLBACK_COMPLETE",
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS": "UPDATE_COMPLETE",
    "UPDATE_ROLLBACK_IN_PROGRESS": "UPDATE_ROLLBACK_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS": "UPDATE_ROLLBACK_COMPLETE",
}


def _refuse_unknown_parameters() -> None:
    """Refuse what a template doesn't declare, also values of a template before."""
    resolve = engine._resolve_parameters

    def resolve_known(
        template: dict[str, Any], provided: list[dict[str, Any]], previous: Any = None
    ) -> dict[str, Any]:
        declared = template.get("Parameters", {})
        unknown = [each["Key"] for each in provided if "Key" in each and each["Key"] not in declared]
        if unknown:
            raise ValueError(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
        found: dict[str, Any] = resolve(template, provided, previous)
        return found

    for module in (changesets, engine, handlers):
        module._resolve_parameters = resolve_known


def _give_functions_text() -> None:
    """Make numbers and booleans of a function's environment the text that its template has for them."""

    def as_text(props: dict[str, Any]) -> dict[str, Any]:
        variables = (props.get("Environment") or {}).get("Variables")
        if not variables:
            return props
        texts = {
            name: each if isinstance(each, str) else json.dumps(each) for name, each in variables.items()
        }
        return {**props, "Environment": {**props["Environment"], "Variables": texts}}

    made = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    create, update = made["create"], made["update"]
    made["create"] = lambda logical_id, props, stack_name: create(logical_id, as_text(props), stack_name)
    made["update"] = lambda physical_id, old, new, stack_name, logical_id=None: update(
        physical_id, as_text(old), as_text(new), stack_name, logical_id
    )


def install(sagemaker: SageMaker, installed: Installed) -> None:  # noqa: PLR0915 - one closure per type
    """Register the types of the registry and of hosting; other SageMaker types stay refused."""
    _refuse_unknown_parameters()
    _give_functions_text()
    read_definition = provisioners._sfn_definition

    def checked_definition(props: dict[str, Any]) -> str:
        """CloudFormation calls CreateStateMachine, which refuses a definition that can't run."""
        text: str = read_definition(props)
        if found := problems(text):
            raise ValueError(f"Invalid State Machine Definition: '{', '.join(found)}'")
        return text

    provisioners._sfn_definition = checked_definition

    def name_of(props: dict[str, Any], key: str, stack_name: str, logical_id: str) -> str:
        given = props.get(key)
        if given:
            return str(given)
        made: str = provisioners._physical_name(stack_name, logical_id, max_len=63)
        return re.sub(r"[^a-zA-Z0-9-]", "-", made)

    def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return sagemaker.handle(operation, request)
        except ServiceError as error:
            raise ValueError(f"{error.message} (Service: SageMaker, Error Code: {error.code})") from error

    def delete(operation: str, key: str, name: Callable[[str], str]) -> Callable[..., None]:
        def remove(physical_id: str, props: dict[str, Any]) -> None:
            del props
            try:
                sagemaker.handle(operation, {key: name(physical_id)})
            except ServiceError as error:
                # Deleting what is gone already is CloudFormation's success.
                if not re.search(r"(?i)does not exist|could not find|not found", error.message):
                    raise ValueError(error.message) from error

        return remove

    interrupted: set[str] = set()

    def note_interrupted() -> None:
        for stack in list(cloudformation._stacks._data.values()):
            status = _AFTER_A_CRASH.get(stack.get("StackStatus"))
            if status is not None:
                stack["StackStatus"] = status
                stack["StackStatusReason"] = "The local host ended during the deployment."
            if status is not None or stack.get("StackStatus") == "REVIEW_IN_PROGRESS":
                interrupted.add(stack["StackName"])

    def group(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
        name = name_of(props, "ModelPackageGroupName", stack_name, logical_id)
        request = {key: value for key, value in props.items() if key != "ModelPackageGroupPolicy"}
        if "ModelPackageGroupPolicy" in props:
            _log.warning(
                "%s of %s: its policy lets other accounts read it on AWS; the local host has one account.",
                logical_id,
                stack_name,
            )
        try:
            made = call("CreateModelPackageGroup", {**request, "ModelPackageGroupName": name})
        except ValueError:
            # The deployment that a crash cut off had made the group, which its stack no longer knows.
            if stack_name not in interrupted:
                raise
            made = call("DescribeModelPackageGroup", {"ModelPackageGroupName": name})
        arn = made["ModelPackageGroupArn"]
        return arn, {"ModelPackageGroupArn": arn, "ModelPackageGroupStatus": "Completed"}

    def model(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
        name = name_of(props, "ModelName", stack_name, logical_id)
        arn = call("CreateModel", {**props, "ModelName": name})["ModelArn"]
        return arn, {"ModelName": name}

    def endpoint_config(
        logical_id: str, props: dict[str, Any], stack_name: str
    ) -> tuple[str, dict[str, str]]:
        name = name_of(props, "EndpointConfigName", stack_name, logical_id)
        arn = call("CreateEndpointConfig", {**props, "EndpointConfigName": name})["EndpointConfigArn"]
        return arn, {"EndpointConfigName": name}

    def endpoint(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
        name = name_of(props, "EndpointName", stack_name, logical_id)
        arn = call("CreateEndpoint", {**props, "EndpointName": name})["EndpointArn"]
        return arn, {"EndpointName": name}

    def last(arn: str) -> str:
        return arn.rpartition("/")[2]

    installed.starting.append(note_interrupted)
    types = provisioners._RESOURCE_HANDLERS
    types["AWS::SageMaker::ModelPackageGroup"] = {
        "create": group,
        "delete": delete("DeleteModelPackageGroup", "ModelPackageGroupName", last),
    }
    types["AWS::SageMaker::Model"] = {"create": model, "delete": delete("DeleteModel", "ModelName", last)}
    types["AWS::SageMaker::EndpointConfig"] = {
        "create": endpoint_config,
        "delete": delete("DeleteEndpointConfig", "EndpointConfigName", last),
    }
    types["AWS::SageMaker::Endpoint"] = {
        "create": endpoint,
        "delete": delete("DeleteEndpoint", "EndpointName", last),
    }
