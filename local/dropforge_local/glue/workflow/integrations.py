"""What a Task state's resource does: Lambda, SageMaker jobs, nested executions, and other services.

Each call runs beside the execution's thread, so that a time limit, a stop or the host's end is noticed.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.authorization import Denied, refusal_name
from dropforge_local.glue.workflow import sns_publish
from dropforge_local.glue.workflow.records import customer_key, epoch_ms
from dropforge_local.glue.workflow.run import Background, Ended, current_scope
from dropforge_local.glue.workflow.tokens import Callback

if TYPE_CHECKING:
    from dropforge_local.glue.authorization import Authorization
    from dropforge_local.glue.workflow.attempt import Attempt
    from dropforge_local.glue.workflow.faults import TaskFaults
    from dropforge_local.glue.workflow.records import Records
    from dropforge_local.glue.workflow.sagemaker_tasks import SageMakerTasks
    from dropforge_local.glue.workflow.tokens import Tokens

_SAGEMAKER = "arn:aws:states:::sagemaker:"
_START_EXECUTION = "arn:aws:states:::states:startExecution"
_LAMBDA_INVOKE = "arn:aws:states:::lambda:invoke"


class Integrations:
    """Runs one attempt's resource.

    Args:
        interpreter: MiniStack's stepfunctions module, which knows the other services' integrations.
        lambda_svc: MiniStack's Lambda module.
        publish: sends a message to SNS.
        start_execution, stop_execution: StartExecution and StopExecution of this host.
        faults: what goes wrong on purpose.
        authorization: what the machine's role may do.
    """

    def __init__(
        self,
        interpreter: Any,
        lambda_svc: Any,
        records: Records,
        tokens: Tokens,
        sagemaker: SageMakerTasks,
        publish: Callable[[dict[str, Any]], dict[str, Any]],
        start_execution: Callable[[dict[str, Any]], Any],
        stop_execution: Callable[[dict[str, Any]], Any],
        faults: TaskFaults,
        authorization: Authorization,
    ) -> None:
        self._asl = interpreter
        self._lambda = lambda_svc
        self._records = records
        self.tokens = tokens
        self._sagemaker = sagemaker
        self._publish = publish
        self._start = start_execution
        self._stop = stop_execution
        self._faults = faults
        self._authorization = authorization

    def run(self, attempt: Attempt) -> Any:
        """The task's result.

        Raises:
            _ExecutionError: with the error's name and cause as Step Functions reports them.
        """
        self._authorize(attempt)
        if attempt.is_callback:
            return self._callback(attempt)
        resource = attempt.resource
        if resource.startswith(_SAGEMAKER) and resource.endswith(".sync"):
            return self._sagemaker_job(attempt)
        if resource.startswith((f"{_START_EXECUTION}.sync",)):
            return self._child_execution(attempt)
        return self._within(attempt, lambda: self._effect(attempt, resource))

    def _authorize(self, attempt: Attempt) -> None:
        machine = self._asl._state_machines.get(attempt.execution["stateMachineArn"].partition("/")[0]) or {}
        resource = attempt.resource.removesuffix(".waitForTaskToken")
        try:
            self._authorization.task(machine.get("roleArn", ""), resource, attempt.arguments, self._key_of)
        except Denied as denied:
            raise self._asl._ExecutionError(refusal_name(resource), str(denied)) from denied

    def _key_of(self, machine_arn: str) -> str | None:
        return customer_key(self._asl._state_machines.get(machine_arn) or {})

    # --- waiting -------------------------------------------------------------------------------------

    def _within(self, attempt: Attempt, call: Callable[[], Any]) -> Any:
        """The call's result, or States.Timeout at the attempt's limit; the call isn't taken back."""
        background = Background(call, f"task-{attempt.resource.rpartition(':')[2]}")
        if not current_scope().wait(lambda: background.done, attempt.until):
            raise self._timeout(attempt)
        return background.result()

    def _timeout(self, attempt: Attempt) -> Exception:
        error: Exception = self._asl._ExecutionError(
            "States.Timeout", f"Task timed out after {attempt.timeout_s} seconds"
        )
        return error

    def _effect(self, attempt: Attempt, resource: str) -> Any:
        return self._faults.around(attempt, lambda: self._call(resource, attempt.arguments))

    # --- calls that end with their answer ------------------------------------------------------------

    def _call(self, resource: str, arguments: Any) -> Any:
        asl = self._asl
        if resource.startswith(_LAMBDA_INVOKE):
            payload = arguments.get("Payload", {})
            result = self.call_lambda(
                asl._resolve_lambda_function_ref(arguments.get("FunctionName"), True), payload
            )
            return {"ExecutedVersion": "$LATEST", "Payload": result, "StatusCode": 200}
        if function := asl._extract_lambda_ref(resource):
            return self.call_lambda(function, arguments)
        if resource.startswith(_SAGEMAKER):
            return self._sagemaker.call(resource.removeprefix(_SAGEMAKER), arguments)
        if resource == sns_publish.RESOURCE:
            return self._publish(arguments)
        if resource.startswith(_START_EXECUTION):
            started = self._started(arguments)
            return {"ExecutionArn": started["executionArn"], "StartDate": epoch_ms(started["startDate"])}
        return asl._invoke_resource(resource, arguments)

    def call_lambda(self, function: str, event: Any) -> Any:
        """Invoke a function synchronously.

        Raises:
            _ExecutionError: named by the function's ``errorType``, its error document as the cause;
                throttling is ``Lambda.TooManyRequestsException``.
        """
        record, config, name = self._lambda._get_func_record_for_ref(function)
        if not record or not config:
            raise self._asl._ExecutionError(
                "Lambda.ResourceNotFoundException",
                f"Function not found: {name} (Service: Lambda, Status Code: 404)",
            )
        # The handler gets what JSON carries, never this process's objects.
        sent = json.loads(json.dumps(event))
        result = self._lambda._execute_function_with_config_scope(
            self._lambda._execution_record_for_config(record, config), sent
        )
        if result.get("throttle"):
            raise self._asl._ExecutionError("Lambda.TooManyRequestsException", json.dumps(result.get("body")))
        body = result.get("body")
        if result.get("error"):
            name = body.get("errorType", "Lambda.Unknown") if isinstance(body, dict) else "Lambda.Unknown"
            raise self._asl._ExecutionError(name, json.dumps(body))
        return body

    # --- callbacks -----------------------------------------------------------------------------------

    def _callback(self, attempt: Attempt) -> Any:
        notes, token = attempt.notes, attempt.notes["token"]
        run = current_scope().run
        callback = self.tokens.open(token, Callback(attempt.execution, notes, run))
        try:
            if "submitted" not in notes and not callback.answered:
                self._submit(attempt, callback)
            callback.last_beat = time.time()
            while not callback.answered:
                limit = attempt.until
                if attempt.heartbeat_s is not None:
                    beat = callback.last_beat + attempt.heartbeat_s
                    limit = beat if limit is None else min(limit, beat)
                seen = callback.last_beat

                def news(seen: float = seen) -> bool:
                    return callback.answered or callback.last_beat != seen

                if not current_scope().wait(news, limit):
                    if attempt.until is not None and time.time() >= attempt.until:
                        raise self._timeout(attempt)
                    raise self._asl._ExecutionError(
                        "States.HeartbeatTimeout", f"No heartbeat within {attempt.heartbeat_s:g} seconds"
                    )
        finally:
            self.tokens.close(token)
        answer = notes["answer"]
        if "error" in answer:
            raise self._asl._ExecutionError(answer["error"], answer["cause"])
        return answer["output"]

    def _submit(self, attempt: Attempt, callback: Callback) -> None:
        """Hand the token out; the task may be answered before the call that carries it has returned."""
        resource = attempt.resource.removesuffix(".waitForTaskToken")
        background = Background(lambda: self._effect(attempt, resource), "task-submission")
        if not current_scope().wait(lambda: background.done or callback.answered, attempt.until):
            raise self._timeout(attempt)
        if background.done and not callback.answered:
            background.result()
        attempt.notes["submitted"] = True
        self._records.add_event(attempt.execution, "TaskSubmitted", {"taskSubmittedEventDetails": {}})
        attempt.note()

    # --- jobs and children ---------------------------------------------------------------------------

    def _sagemaker_job(self, attempt: Attempt) -> Any:
        job = self._sagemaker.job(
            attempt.resource.removeprefix(_SAGEMAKER).removesuffix(".sync"), attempt.arguments
        )

        def create() -> Any:
            return self._faults.around(attempt, job.create)

        try:
            if "submitted" not in attempt.notes:
                begun_before = attempt.resumed and job.exists_since(attempt.notes["began"])
                submitted = None if begun_before else self._within(attempt, create)
                attempt.notes["submitted"] = True
                details = {"output": json.dumps(submitted)} if submitted else {}
                self._records.add_event(
                    attempt.execution, "TaskSubmitted", {"taskSubmittedEventDetails": details}
                )
                attempt.note()
            return self._within(attempt, job.wait)
        except Ended:
            job.stop()
            raise

    def _child_execution(self, attempt: Attempt) -> Any:
        notes, scope = attempt.notes, current_scope()
        if "child" not in notes:
            notes["child"] = self._start_child(attempt)
            details = {"output": json.dumps({"ExecutionArn": notes["child"]})}
            self._records.add_event(
                attempt.execution, "TaskSubmitted", {"taskSubmittedEventDetails": details}
            )
            attempt.note()
        child = self._asl._executions.get(notes["child"])
        self._records.wake_at_end(notes["child"], scope.run)
        try:
            if not scope.wait(lambda: child["status"] != "RUNNING", attempt.until):
                raise self._timeout(attempt)
        except Ended:
            self._stop({"executionArn": notes["child"], "cause": "The parent execution was stopped."})
            raise
        described = describe_child(child, parse_output=attempt.resource.endswith(":2"))
        if child["status"] != "SUCCEEDED":
            raise self._asl._ExecutionError("States.TaskFailed", json.dumps(described))
        return described

    def _start_child(self, attempt: Attempt) -> str:
        """Start the child once: its name is noted before, so a child that is there is this attempt's."""
        arguments = dict(attempt.arguments)
        begun_before = "child_name" in attempt.notes
        name = attempt.notes.setdefault("child_name", arguments.get("Name") or str(uuid.uuid4()))
        attempt.note()
        if begun_before:
            machine = arguments["StateMachineArn"].split(":")
            arn = ":".join([*machine[:5], "execution", machine[6], str(name)])
            child = self._asl._executions.get(arn)
            if child is not None and child["started"] >= attempt.notes["began"]:
                return arn
        request = {**arguments, "Name": name}
        started: str = self._faults.around(attempt, lambda: self._started(request))["executionArn"]
        return started

    def _started(self, arguments: Any) -> dict[str, Any]:
        request = self._asl._nested_start_execution_request(arguments)
        status, _, body = self._start(request)
        answer: dict[str, Any] = json.loads(body)
        if status >= 400:
            code = answer.get("__type", "AWSStepFunctionsException").rpartition("#")[2]
            name = code if code.endswith("Exception") else f"{code}Exception"
            raise self._asl._ExecutionError(f"StepFunctions.{name}", answer.get("message", ""))
        return answer


def describe_child(child: dict[str, Any], *, parse_output: bool) -> dict[str, Any]:
    """DescribeExecution as ``startExecution.sync`` returns it: PascalCase, times in epoch milliseconds.

    With ``.sync:2`` input and output are JSON, not text.
    """

    def data(text: str | None) -> Any:
        return json.loads(text) if parse_output and text is not None else text

    described = {
        "ExecutionArn": child["executionArn"],
        "Input": data(child["input"]),
        "InputDetails": {"Included": True},
        "Name": child["name"],
        "StartDate": epoch_ms(child["startDate"]),
        "StateMachineArn": child["stateMachineArn"],
        "Status": child["status"],
        "StopDate": epoch_ms(child["stopDate"]),
    }
    if child["status"] == "SUCCEEDED":
        described |= {"Output": data(child["output"]), "OutputDetails": {"Included": True}}
    described |= {key.capitalize(): child[key] for key in ("error", "cause") if child.get(key)}
    return described
