"""Executions and task tokens on Step Functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from dropforge.adapters.aws_errors import code_of, translated

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

    from dropforge.domain.services import ExecutionState

_NAME_CHARACTERS = 80
# A token whose task timed out, was resolved before, or belongs to an execution that ended.
_DEAD_TOKEN_CODES = frozenset({"TaskTimedOut", "TaskDoesNotExist", "InvalidToken"})


class StepFunctionsWorkflows:
    """See ``dropforge.domain.services.Workflows``."""

    def __init__(self, client: SFNClient) -> None:
        self._client = client

    def start(self, state_machine_arn: str, *, name: str, payload: Mapping[str, Any]) -> str:
        name = name[:_NAME_CHARACTERS]
        with translated(f"starting {name}"):
            try:
                started = self._client.start_execution(
                    stateMachineArn=state_machine_arn, name=name, input=json.dumps(payload)
                )
            except ClientError as error:
                if code_of(error) != "ExecutionAlreadyExists":
                    raise
                return f"{state_machine_arn.replace(':stateMachine:', ':execution:')}:{name}"
        return started["executionArn"]

    def state(self, execution_arn: str) -> ExecutionState:
        with translated(f"describing {execution_arn}"):
            try:
                described = self._client.describe_execution(executionArn=execution_arn)
            except ClientError as error:
                if code_of(error) != "ExecutionDoesNotExist":
                    raise
                return "unknown"
        return "running" if described["status"] == "RUNNING" else "ended"

    def resolve(self, task_token: str, result: Mapping[str, Any]) -> bool:
        with translated("resolving a waiting task"):
            try:
                self._client.send_task_success(taskToken=task_token, output=json.dumps(result))
            except ClientError as error:
                if code_of(error) not in _DEAD_TOKEN_CODES:
                    raise
                return False
        return True
