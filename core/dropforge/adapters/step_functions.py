"""Executions and task tokens on Step Functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from dropforge.adapters.aws_errors import code_of, translated
from dropforge.domain.caught_errors import readable_error
from dropforge.domain.run_endings import STOPPED_BY_HAND
from dropforge.domain.services import ExecutionEnd

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient
    from mypy_boto3_stepfunctions.literals import IncludedDataType
    from mypy_boto3_stepfunctions.type_defs import DescribeExecutionOutputTypeDef

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
        # Nobody needs the key of an encrypted history to know how the execution stands.
        described = self._described(execution_arn, "METADATA_ONLY")
        if described is None:
            return "unknown"
        return "running" if described["status"] == "RUNNING" else "ended"

    def end_of(self, execution_arn: str) -> ExecutionEnd | None:
        described = self._described(execution_arn, "ALL_DATA")
        if described is None or described["status"] in ("RUNNING", "PENDING_REDRIVE"):
            return None
        if described["status"] == "SUCCEEDED":
            output = json.loads(described.get("output") or "{}")
            return ExecutionEnd("SUCCEEDED", output if isinstance(output, dict) else {}, None)
        # Whoever stops an execution need not say why, and one that ran out of time says nothing.
        unnamed = {"ABORTED": STOPPED_BY_HAND, "TIMED_OUT": "States.Timeout"}
        error = {"Error": unnamed.get(described["status"], "ExecutionEnded")}
        given = {"Error": described.get("error"), "Cause": described.get("cause")}
        found = readable_error(error | {name: text for name, text in given.items() if text})
        return ExecutionEnd(described["status"], {}, found)

    def input_of(self, execution_arn: str) -> str | None:
        described = self._described(execution_arn, "ALL_DATA")
        return None if described is None else described.get("input")

    def resolve(self, task_token: str, result: Mapping[str, Any]) -> bool:
        with translated("resolving a waiting task"):
            try:
                self._client.send_task_success(taskToken=task_token, output=json.dumps(result))
            except ClientError as error:
                if code_of(error) not in _DEAD_TOKEN_CODES:
                    raise
                return False
        return True

    def _described(
        self, execution_arn: str, included_data: IncludedDataType
    ) -> DescribeExecutionOutputTypeDef | None:
        with translated(f"describing {execution_arn}"):
            try:
                return self._client.describe_execution(executionArn=execution_arn, includedData=included_data)
            except ClientError as error:
                if code_of(error) != "ExecutionDoesNotExist":
                    raise
                return None
