"""The API actions that MiniStack answers otherwise than AWS: starting, stopping, callbacks, validation."""

from __future__ import annotations

import contextvars
import copy
import json
import re
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.authorization import Denied
from dropforge_local.glue.workflow.definition import problems
from dropforge_local.glue.workflow.records import MAX_DATA_BYTES, customer_key, now_iso
from dropforge_local.glue.workflow.tokens import Callback, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dropforge_local.glue.authorization import Authorization
    from dropforge_local.glue.journal import Journal
    from dropforge_local.glue.workflow.machine import Machine
    from dropforge_local.glue.workflow.records import Records
    from dropforge_local.glue.workflow.tokens import Tokens

# https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
_NAME = re.compile(r'[^\s<>{}\[\]?*"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}')

# How the ARN of an express machine's execution begins after the account.
_EXPRESS = ":express:"

# https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
_KEY_DENIED = "KmsAccessDeniedException"

Answer = tuple[int, dict[str, str], bytes]


class Api:
    """Request handlers with MiniStack's signature: a dictionary in, (status, headers, body) out."""

    def __init__(
        self,
        interpreter: Any,
        responses: Any,
        records: Records,
        tokens: Tokens,
        machine: Machine,
        journal: Journal,
        authorization: Authorization,
    ) -> None:
        self._asl = interpreter
        self._responses = responses
        self._records = records
        self._tokens = tokens
        self._machine = machine
        self._journal = journal
        self._authorization = authorization

    def _refuse(self, code: str, message: str) -> Answer:
        answer: Answer = self._responses.error_response_json(code, message, 400)
        return answer

    def _answer(self, document: dict[str, Any]) -> Answer:
        answer: Answer = self._responses.json_response(document)
        return answer

    # --- executions ----------------------------------------------------------------------------------

    def start_execution(self, data: dict[str, Any]) -> Answer:
        """StartExecution: idempotent for the same name and input while the execution runs.

        An express machine starts one execution more with each call, whatever its name:
        https://docs.aws.amazon.com/step-functions/latest/dg/choosing-workflow-type.html
        """
        requested = data.get("stateMachineArn", "")
        base = self._asl._resolve_state_machine_arn(requested)
        if base is None:
            return self._refuse("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{requested}'")
        machine = self._asl._state_machines[base]
        name, text = data.get("name") or self._responses.new_uuid(), data.get("input", "{}")
        if not _NAME.fullmatch(name):
            return self._refuse("InvalidName", f"Invalid Name: '{name}'")
        try:
            json.loads(text)
        except (TypeError, ValueError) as error:
            return self._refuse("InvalidExecutionInput", f"Invalid State Machine Execution Input: '{error}'")
        if len(text.encode()) > MAX_DATA_BYTES:
            return self._refuse("InvalidExecutionInput", f"The input has more than {MAX_DATA_BYTES} bytes.")
        try:
            self._authorization.execution(machine["roleArn"], customer_key(machine), base)
        except Denied as denied:
            return self._refuse(_KEY_DENIED, str(denied))
        _, _, _, region, account, *_ = base.split(":")
        arn = f"arn:aws:states:{region}:{account}:execution:{machine['name']}:{name}"
        if machine.get("type") == "EXPRESS":
            arn = f"{arn.replace(':execution:', _EXPRESS)}:{uuid.uuid4()}"
        with self._records.lock:
            known = self._asl._executions.get(arn)
            if known is not None:
                if known["status"] == "RUNNING" and known["input"] == text:
                    return self._answer({"executionArn": arn, "startDate": known["startDate"]})
                return self._refuse("ExecutionAlreadyExists", f"Execution Already Exists: '{arn}'")
            execution = self._new(arn, base, requested, machine, name, text)
            self._asl._executions[arn] = execution
        self._records.add_event(
            execution,
            "ExecutionStarted",
            {"executionStartedEventDetails": {"input": text, "roleArn": machine["roleArn"]}},
        )
        self._records.save(execution)
        self._records.emit_status(execution)
        self.launch(arn)
        return self._answer({"executionArn": arn, "startDate": execution["startDate"]})

    def _new(
        self, arn: str, base: str, requested: str, machine: dict[str, Any], name: str, text: str
    ) -> dict[str, Any]:
        version = self._asl._state_machine_versions.get(self._asl._execution_version_arn(requested))
        return {
            "executionArn": arn,
            "stateMachineArn": base,
            "name": name,
            "status": "RUNNING",
            "startDate": now_iso(),
            "started": time.time(),
            "stopDate": None,
            "input": text,
            "inputDetails": {"included": True},
            "output": None,
            "outputDetails": {"included": True},
            # An execution keeps the definition that it started with.
            "definition": (version or machine).get("definition") or machine["definition"],
            "testCase": "",
            "mockAttempts": {},
            "encryptionConfiguration": copy.deepcopy(machine.get("encryptionConfiguration")),
            "events": [],
        }

    def launch(self, arn: str) -> None:
        """Run the execution in a thread that keeps the caller's account and region."""
        run = contextvars.copy_context().run
        threading.Thread(
            target=run, args=(self._machine.run, arn), daemon=True, name=f"execution {arn}"
        ).start()

    def stop_execution(self, data: dict[str, Any]) -> Answer:
        """StopExecution: the execution is ABORTED, and what it waits for is stopped where AWS stops it."""
        arn = data.get("executionArn", "")
        if _EXPRESS in arn:
            return self._refuse(*_not_for_express(arn))
        if arn not in self._asl._executions:
            return self._refuse("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'")
        stopped = self._stop(arn, data.get("error"), data.get("cause"))
        return self._answer({"stopDate": stopped["stopDate"]})

    def _stop(self, arn: str, error: str | None = None, cause: str | None = None) -> dict[str, Any]:
        execution: dict[str, Any] = self._asl._executions[arn]
        run = self._records.run_of(arn)
        self._records.finish(execution, "ABORTED", error=error, cause=cause)
        if run is not None:
            run.root.end()
        return execution

    def readable(
        self, original: Callable[[dict[str, Any]], Answer], encrypted: Mapping[str, Any]
    ) -> Callable[..., Answer]:
        """A description, for whoever may use the customer's key; for all with METADATA_ONLY, without data.

        Args:
            original: MiniStack's handler.
            encrypted: what it leaves out with METADATA_ONLY, and what stands for it; None is nothing.
        """

        def call(data: dict[str, Any]) -> Answer:
            if data.get("includedData") == "METADATA_ONLY":
                status, headers, body = original(data)
                if status != 200:
                    return status, headers, body
                document = {**json.loads(body), **encrypted}
                return self._answer({name: each for name, each in document.items() if each is not None})
            record, machine_arn = self._encrypted(data)
            try:
                self._authorization.reading(customer_key(record), machine_arn)
            except Denied as denied:
                return self._refuse(_KEY_DENIED, str(denied))
            return original(data)

        return call

    def _encrypted(self, data: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The execution or machine that a request names, if there is one, and the machine's ARN."""
        execution = self._asl._executions.get(data.get("executionArn"))
        if execution is not None:
            return execution, execution["stateMachineArn"].partition("/")[0]
        machine_arn = data.get("stateMachineArn", "")
        return self._asl._state_machines.get(machine_arn) or {}, machine_arn

    def of_standard_execution(self, original: Callable[[dict[str, Any]], Answer]) -> Callable[..., Answer]:
        """DescribeExecution and GetExecutionHistory, which know standard executions only."""

        def call(data: dict[str, Any]) -> Answer:
            arn = str(data.get("executionArn", ""))
            return self._refuse(*_not_for_express(arn)) if _EXPRESS in arn else original(data)

        return call

    def list_executions(self, original: Callable[[dict[str, Any]], Answer]) -> Callable[..., Answer]:
        """ListExecutions is for standard machines only."""

        def call(data: dict[str, Any]) -> Answer:
            machine = self._asl._state_machines.get(data.get("stateMachineArn"))
            if machine is not None and machine.get("type") == "EXPRESS":
                return self._unsupported_type()
            return original(data)

        return call

    def _unsupported_type(self) -> Answer:
        return self._refuse(
            "StateMachineTypeNotSupported", "This operation is not supported by this type of state machine"
        )

    def start_sync_execution(self, original: Callable[[dict[str, Any]], Answer]) -> Callable[..., Answer]:
        """StartSyncExecution is for express machines only."""

        def call(data: dict[str, Any]) -> Answer:
            machine = self._asl._state_machines.get(data.get("stateMachineArn"))
            if machine is not None and machine.get("type") != "EXPRESS":
                return self._unsupported_type()
            return original(data)

        return call

    def resume(self, set_account: Callable[[str], None], set_region: Callable[[str], None]) -> None:
        """Load every execution from the journal and go on with those that were running."""

        def go_on(account: str, region: str, arn: str) -> None:
            set_account(account)
            set_region(region)
            self.launch(arn)

        for arn, account, region, record in self._journal.executions():
            self._asl._executions.set_scoped(account, region, arn, record)
        for (account, region, arn), record in list(self._asl._executions.all_items()):
            if record["status"] != "RUNNING" or "mapRunArn" in record:
                continue
            notes = ((record.get("checkpoint") or {}).get("progress") or {}).get("attempt") or {}
            if "token" in notes:
                self._tokens.open(notes["token"], Callback(record, notes))
            contextvars.Context().run(go_on, account, region, arn)

    # --- callbacks -----------------------------------------------------------------------------------

    def send_task_success(self, data: dict[str, Any]) -> Answer:
        """SendTaskSuccess."""
        return self._send(lambda: self._tokens.succeed(data.get("taskToken", ""), data.get("output", "")))

    def send_task_failure(self, data: dict[str, Any]) -> Answer:
        """SendTaskFailure."""
        error, cause = data.get("error") or "States.TaskFailed", data.get("cause") or ""
        return self._send(lambda: self._tokens.fail(data.get("taskToken", ""), error, cause))

    def send_task_heartbeat(self, data: dict[str, Any]) -> Answer:
        """SendTaskHeartbeat."""
        return self._send(lambda: self._tokens.beat(data.get("taskToken", "")))

    def _send(self, call: Callable[[], None]) -> Answer:
        try:
            call()
        except Refused as refused:
            return self._refuse(refused.code, refused.message)
        return self._answer({})

    # --- definitions ---------------------------------------------------------------------------------

    def validated(self, original: Callable[[dict[str, Any]], Answer]) -> Callable[[dict[str, Any]], Answer]:
        """CreateStateMachine and UpdateStateMachine, refusing a definition that can't run."""

        def call(data: dict[str, Any]) -> Answer:
            found = problems(data["definition"]) if "definition" in data else []
            if found:
                return self._refuse(
                    "InvalidDefinition", f"Invalid State Machine Definition: '{', '.join(found)}'"
                )
            known = self._asl._state_machines.get(data.get("stateMachineArn")) or {}
            role = data.get("roleArn") or known.get("roleArn", "")
            try:
                self._authorization.creation(role, data.get("definition") or known.get("definition", "{}"))
            except Denied as denied:
                return self._refuse("AccessDeniedException", str(denied))
            return original(data)

        return call

    def validate(self, data: dict[str, Any]) -> Answer:
        """ValidateStateMachineDefinition."""
        found = problems(data.get("definition", ""))
        expression = self._asl._validate_definition_jsonata(data.get("definition", ""))
        found += [expression] if expression else []
        diagnostics = []
        for text in found:
            code, _, message = text.partition(": ")
            diagnostics.append({"severity": "ERROR", "code": code, "message": message})
        return self._answer(
            {"result": "FAIL" if found else "OK", "diagnostics": diagnostics, "truncated": False}
        )

    def delete_state_machine(self, original: Callable[[dict[str, Any]], Answer]) -> Callable[..., Answer]:
        """DeleteStateMachine, which also ends and forgets the machine's executions, as the journal must."""

        def call(data: dict[str, Any]) -> Answer:
            gone = [
                arn
                for arn, record in list(self._asl._executions.items())
                if record.get("stateMachineArn") == data.get("stateMachineArn")
            ]
            for arn in gone:
                self._stop(arn, cause="The state machine was deleted.")
            answer = original(data)
            for arn in gone:
                self._journal.forget_execution(arn)
            return answer

        return call


def _not_for_express(arn: str) -> tuple[str, str]:
    return "InvalidArn", f"Invalid Arn: 'Resource type not valid in this context: express': '{arn}'"
