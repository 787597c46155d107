"""Puts our run of executions in the place of MiniStack's."""

from __future__ import annotations

import copy
import json
import random
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.own_clients import own_client
from dropforge_local.glue.seams import lambda_svc, responses
from dropforge_local.glue.seams import stepfunctions as asl
from dropforge_local.glue.workflow import faults
from dropforge_local.glue.workflow import run as runs
from dropforge_local.glue.workflow.api import Api
from dropforge_local.glue.workflow.concurrent import Concurrent
from dropforge_local.glue.workflow.expressions import engine
from dropforge_local.glue.workflow.fields import error_matches
from dropforge_local.glue.workflow.integrations import Integrations
from dropforge_local.glue.workflow.machine import Machine
from dropforge_local.glue.workflow.records import Records
from dropforge_local.glue.workflow.sagemaker_tasks import SageMakerTasks
from dropforge_local.glue.workflow.sns_publish import SnsPublish
from dropforge_local.glue.workflow.task import Tasks
from dropforge_local.glue.workflow.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from dropforge_local.glue import Installed
    from dropforge_local.glue.authorization import Authorization
    from dropforge_local.glue.journal import Journal
    from dropforge_local.sagemaker.service import SageMaker
    from dropforge_local.settings import HostSettings

# MiniStack's get_state without "executions".
_SAVED = (
    "_state_machines",
    "_tags",
    "_activities",
    "_state_machine_versions",
    "_state_machine_aliases",
    "_map_runs",
)


class _SageMakerCodes(dict[str, str]):
    """SageMaker models three errors; every other code is the SDK's base exception."""

    def get(self, code: str, default: Any = None) -> Any:
        del default
        return dict.get(self, code, "SageMakerException")


def install(
    settings: HostSettings,
    journal: Journal,
    sagemaker: SageMaker,
    authorization: Authorization,
    installed: Installed,
) -> None:
    """Replace MiniStack's run of executions; they are resumed once the services' state is restored."""

    clients = own_client(settings)
    records = Records(asl._executions, journal)
    tokens = Tokens(records)
    tasks_of_sagemaker = SageMakerTasks(sagemaker, asl._ExecutionError)
    task_faults = faults.TaskFaults(asl._ExecutionError)
    faults.mount(task_faults, authorization.calls)
    integrations = Integrations(
        asl,
        lambda_svc,
        records,
        tokens,
        tasks_of_sagemaker,
        SnsPublish(clients("sns"), asl._ExecutionError),
        # The API is made below; both are called once executions run.
        lambda data: api.start_execution(data),  # noqa: PLW0108
        lambda data: api.stop_execution(data),  # noqa: PLW0108
        task_faults,
        authorization,
    )
    tasks = Tasks(asl, records, integrations, settings.wait_scale, random.Random())  # noqa: S311 - spreads retries
    concurrent = Concurrent(asl, records, lambda: clients("s3"), authorization)
    machine = Machine(asl, records, tasks, concurrent, settings.wait_scale)
    api = Api(asl, responses, records, tokens, machine, journal, authorization)

    asl._run_execution = machine.run
    asl._add_event = records.add_event
    asl._emit_execution_status_event = records.emit_status
    asl._error_matches = error_matches
    asl.jsonata = engine.MODULE
    asl._execute_choice = _choose_by_booleans(asl, asl._execute_choice)
    asl._apply_state_assign = _assign_together(asl)
    asl._call_lambda = integrations.call_lambda
    asl._run_sub_machine = lambda states, start_at, value, execution, ctx: machine.run_inner(
        {"States": states, "StartAt": start_at}, value, execution, ctx
    )
    asl._start_execution = api.start_execution
    asl._stop_execution = api.stop_execution
    _install_descriptions(asl, api)
    asl._list_executions = api.list_executions(asl._list_executions)
    asl._start_sync_execution = api.start_sync_execution(asl._start_sync_execution)
    asl._send_task_success = api.send_task_success
    asl._send_task_failure = api.send_task_failure
    asl._send_task_heartbeat = api.send_task_heartbeat
    asl._create_state_machine = api.validated(asl._create_state_machine)
    asl._update_state_machine = api.validated(asl._update_state_machine)
    asl._validate_state_machine_definition = api.validate
    asl._delete_state_machine = api.delete_state_machine(asl._delete_state_machine)
    asl._AWS_SDK_SERVICE_MAP["sagemaker"] = {"target_prefix": "SageMaker", "protocol": "json"}
    asl._AWS_SDK_ERROR_PREFIX["sagemaker"] = "SageMaker"
    asl._AWS_SDK_ERROR_CODE_OVERRIDES["sagemaker"] = _SageMakerCodes(
        ResourceInUse="ResourceInUseException",
        ResourceLimitExceeded="ResourceLimitExceededException",
        ResourceNotFound="ResourceNotFoundException",
        ConflictException="ConflictException",
    )

    def state_without_executions() -> dict[str, Any]:
        """The journal holds the executions; in a snapshot they would be taken for crashed ones."""
        return {name[1:]: copy.deepcopy(getattr(asl, name)) for name in _SAVED}

    asl.get_state = state_without_executions
    installed.starting.append(
        lambda: api.resume(responses.set_request_account_id, responses.set_request_region)
    )
    installed.suspending.append(lambda: runs.suspend_all(records.runs()))


def _install_descriptions(asl: Any, api: Api) -> None:
    """What tells of definitions and executions asks for the customer's key that encrypts them."""
    data = dict.fromkeys(("input", "inputDetails", "output", "outputDetails", "error", "cause"))
    asl._describe_execution = api.readable(api.of_standard_execution(asl._describe_execution), data)
    asl._get_execution_history = api.readable(api.of_standard_execution(asl._get_execution_history), {})
    definition = {"definition": "{}"}
    asl._describe_state_machine = api.readable(asl._describe_state_machine, definition)
    asl._describe_state_machine_for_execution = api.readable(
        asl._describe_state_machine_for_execution, definition
    )


def _choose_by_booleans(asl: Any, original: Callable[..., tuple[Any, str]]) -> Callable[..., tuple[Any, str]]:
    """A JSONata condition is a boolean or an error, and without a match the state's own ``Output`` counts.

    https://states-language.net/#choice-state
    """

    def choose(state: dict[str, Any], raw_input: Any, ctx: dict[str, Any]) -> tuple[Any, str]:
        if asl._state_query_language(state, ctx) != "JSONata":
            return original(state, raw_input, ctx)
        for choice in state.get("Choices", []):
            chosen = asl._apply_jsonata_template(choice.get("Condition"), raw_input, ctx)
            if not isinstance(chosen, bool):
                raise asl._ExecutionError(
                    "States.QueryEvaluationError",
                    f"The Condition {choice.get('Condition')} must be a boolean, but is {json.dumps(chosen)}",
                )
            if chosen:
                return _left(asl, choice, raw_input, ctx), choice["Next"]
        if "Default" not in state:
            raise asl._ExecutionError("States.NoChoiceMatched", "No choice rule matched and no Default")
        return _left(asl, state, raw_input, ctx), state["Default"]

    return choose


def _left(asl: Any, part: dict[str, Any], raw_input: Any, ctx: dict[str, Any]) -> Any:
    output = asl._apply_jsonata_output(part, raw_input, ctx, default=raw_input)
    asl._apply_state_assign(part, raw_input, ctx)
    return output


def _assign_together(asl: Any) -> Any:
    """A state's ``Assign`` reads the variables as they were when the state was entered.

    https://docs.aws.amazon.com/step-functions/latest/dg/workflow-variables.html
    """

    def assign(
        state: dict[str, Any],
        raw_input: Any,
        ctx: dict[str, Any] | None,
        result: Any = None,
        error_output: Any = None,
    ) -> None:
        wanted = state.get("Assign")
        if ctx is None or not isinstance(wanted, dict) or asl._state_query_language(state, ctx) != "JSONata":
            return
        values = asl._apply_jsonata_template(wanted, raw_input, ctx, result=result, error_output=error_output)
        ctx.setdefault("variables", {}).update(values)

    return assign
