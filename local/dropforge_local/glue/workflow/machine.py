"""Runs a state machine's states one after the other, from its start or from where a crash left it."""

from __future__ import annotations

import json
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.workflow.records import MAX_DATA_BYTES, MAX_EVENTS, now_iso
from dropforge_local.glue.workflow.run import (
    Ended,
    Run,
    Suspended,
    TimedOut,
    current_scope,
    sleep_until,
)

if TYPE_CHECKING:
    from dropforge_local.glue.workflow.concurrent import Concurrent
    from dropforge_local.glue.workflow.records import Records
    from dropforge_local.glue.workflow.task import Tasks

_log = logging.getLogger("dropforge.workflow")


class Machine:
    """The interpreter's loop.

    Args:
        interpreter: MiniStack's stepfunctions module.
        wait_scale: factor on Wait states.
    """

    def __init__(
        self, interpreter: Any, records: Records, tasks: Tasks, concurrent: Concurrent, wait_scale: float
    ) -> None:
        self._asl = interpreter
        self._records = records
        self._tasks = tasks
        self._wait_scale = wait_scale
        self._concurrent = concurrent

    # --- a whole execution ---------------------------------------------------------------------------

    def run(self, execution_arn: str) -> None:
        """Run the execution to its end, or until the host stops. Never raises."""
        execution = self._asl._executions.get(execution_arn)
        if execution is None or execution["status"] != "RUNNING":
            return
        definition = json.loads(self._definition(execution))
        started = execution.setdefault("started", time.time())
        limit = definition.get("TimeoutSeconds")
        run = Run(None if limit is None else started + float(limit))
        run.root.enter()
        self._records.begin(execution_arn, run)
        try:
            output = self._states(definition, execution)
        except Suspended:
            return
        except TimedOut:
            self._records.finish(execution, "TIMED_OUT", error="States.Timeout")
        except Ended:
            return  # StopExecution recorded the end
        except self._asl._ExecutionError as error:
            self._records.finish(execution, "FAILED", error=error.error, cause=error.cause)
        except Exception as error:
            _log.exception("execution %s broke", execution_arn)
            self._records.finish(execution, "FAILED", error="States.Runtime", cause=str(error))
        else:
            self._records.finish(execution, "SUCCEEDED", output=output)
        finally:
            self._records.leave(execution_arn)

    def _definition(self, execution: dict[str, Any]) -> str:
        """The definition that the execution started with; express executions carry none of their own."""
        if "definition" not in execution:
            execution["definition"] = self._asl._state_machines[execution["stateMachineArn"]]["definition"]
        text: str = execution["definition"]
        return text

    def _states(self, definition: dict[str, Any], execution: dict[str, Any]) -> Any:
        checkpoint = execution.get("checkpoint")
        if checkpoint is None:
            checkpoint = {
                "state": definition["StartAt"],
                "input": json.loads(execution["input"]),
                "variables": {},
            }
            execution["checkpoint"] = checkpoint
        elif "entered" in checkpoint:
            _log.info("execution %s goes on in state %s", execution["executionArn"], checkpoint["state"])
        ctx = self._context(definition, execution, checkpoint["variables"])
        while True:
            name, value = checkpoint["state"], checkpoint["input"]
            output, following = self._enter(definition["States"], name, value, execution, ctx, checkpoint)
            if following is None:
                return output
            checkpoint = {"state": following, "input": output, "variables": ctx["variables"]}
            execution["checkpoint"] = checkpoint

    def _context(
        self, definition: dict[str, Any], execution: dict[str, Any], variables: dict[str, Any]
    ) -> dict[str, Any]:
        """The context object, with two members by which MiniStack finds the language and the variables."""
        machine = self._asl._state_machines.get(execution["stateMachineArn"]) or {}
        return {
            "QueryLanguage": definition.get("QueryLanguage", "JSONPath"),
            "Execution": {
                "Id": execution["executionArn"],
                "Input": json.loads(execution["input"]),
                "Name": execution["name"],
                "RoleArn": machine.get("roleArn", ""),
                "StartTime": execution["startDate"],
                "RedriveCount": 0,
            },
            "StateMachine": {
                "Id": execution["stateMachineArn"],
                "Name": execution["stateMachineArn"].split(":")[6],
            },
            "variables": variables,
        }

    # --- one state -----------------------------------------------------------------------------------

    def _enter(
        self,
        states: dict[str, Any],
        name: str,
        value: Any,
        execution: dict[str, Any],
        ctx: dict[str, Any],
        checkpoint: dict[str, Any] | None,
    ) -> tuple[Any, str | None]:
        """Run one state; returns output and next state's name. ``checkpoint`` is None inside branches."""
        current_scope().check()
        state = states.get(name)
        if state is None:
            raise self._asl._ExecutionError(
                "States.Runtime", f"There is no state '{name}' in the definition."
            )
        if len(execution["events"]) >= MAX_EVENTS:
            raise self._asl._ExecutionError(
                "States.Runtime",
                f"The execution reached the maximum number of history events ({MAX_EVENTS}).",
            )
        kind = state["Type"]
        resumed = checkpoint is not None and "entered" in checkpoint
        entered = checkpoint["entered"] if checkpoint is not None and resumed else now_iso()
        ctx["State"] = {"Name": name, "EnteredTime": entered, "RetryCount": 0}
        if not resumed:
            self._within_limit(value)
            details = {"name": name, "input": json.dumps(value)}
            self._records.add_event(execution, f"{kind}StateEntered", {"stateEnteredEventDetails": details})
            if checkpoint is not None:
                checkpoint["entered"] = entered
                self._records.save(execution)
        output, following = self._execute(kind, state, value, execution, ctx, checkpoint)
        self._within_limit(output)
        details = {"name": name, "output": json.dumps(output)}
        self._records.add_event(execution, f"{kind}StateExited", {"stateExitedEventDetails": details})
        return output, following

    def _execute(
        self,
        kind: str,
        state: dict[str, Any],
        value: Any,
        execution: dict[str, Any],
        ctx: dict[str, Any],
        checkpoint: dict[str, Any] | None,
    ) -> tuple[Any, str | None]:
        asl = self._asl
        match kind:
            case "Succeed":
                if asl._state_query_language(state, ctx) == "JSONata":
                    return asl._apply_jsonata_output(state, value, ctx, default=value), None
                return asl._apply_output_path(state, asl._apply_input_path(state, value, ctx), ctx), None
            case "Fail":
                raise asl._ExecutionError(*asl._fail_state_error(state, value, ctx))
            case "Pass":
                return asl._execute_pass(state, value, ctx)
            case "Choice":
                return asl._execute_choice(state, value, ctx)
            case "Wait":
                return self._wait(state, value, execution, ctx, checkpoint)
            case "Task":
                return self._tasks.execute(state, value, execution, ctx)
            case "Parallel" | "Map":
                enter = self._concurrent.parallel if kind == "Parallel" else self._concurrent.map
                run = partial(enter, state, value, execution, ctx, self.run_inner)
                return self._tasks.with_retry_and_catch(state, value, execution, ctx, {}, run)
        raise asl._ExecutionError("States.Runtime", f"Unknown state type: {kind}")

    def _wait(
        self,
        state: dict[str, Any],
        value: Any,
        execution: dict[str, Any],
        ctx: dict[str, Any],
        checkpoint: dict[str, Any] | None,
    ) -> tuple[Any, str | None]:
        """Wait once: after a restart, what is left. The interpreter then gives output and next state."""
        notes = checkpoint if checkpoint is not None else {}
        if "wait_until" not in notes:
            notes["wait_until"] = time.time() + self._wait_seconds(state, value, ctx) * self._wait_scale
            if checkpoint is not None:
                self._records.save(execution)
        sleep_until(notes["wait_until"])
        without_wait = {
            key: part
            for key, part in state.items()
            if key not in {"Seconds", "Timestamp", "SecondsPath", "TimestampPath"}
        }
        return self._asl._execute_wait(without_wait, value, ctx)

    def _wait_seconds(self, state: dict[str, Any], value: Any, ctx: dict[str, Any]) -> float:
        asl = self._asl
        if asl._state_query_language(state, ctx) == "JSONata":
            if "Seconds" in state:
                return float(asl._jsonata_wait_seconds(state, value, ctx))
            return self._until(asl._jsonata_wait_timestamp(state, value, ctx))
        effective = asl._apply_input_path(state, value, ctx)
        if "Seconds" in state:
            return float(state["Seconds"])
        if "SecondsPath" in state:
            return float(asl._resolve_path_or_ctx(state["SecondsPath"], effective, ctx))
        if "TimestampPath" in state:
            return self._until(asl._resolve_path_or_ctx(state["TimestampPath"], effective, ctx))
        return self._until(state["Timestamp"])

    def _until(self, timestamp: str) -> float:
        moment = self._asl._parse_ts(timestamp)
        if moment is None:
            raise self._asl._ExecutionError(
                "States.Runtime", f"The Timestamp {timestamp!r} is no ISO 8601 time."
            )
        return max(0.0, float(moment.timestamp()) - time.time())

    def _within_limit(self, value: Any) -> None:
        if len(json.dumps(value).encode()) > MAX_DATA_BYTES:
            raise self._asl._ExecutionError(
                "States.DataLimitExceeded",
                f"A state's input or output exceeds the maximum of {MAX_DATA_BYTES} bytes.",
            )

    # --- a branch or an iteration --------------------------------------------------------------------

    def run_inner(
        self, processor: dict[str, Any], value: Any, execution: dict[str, Any], ctx: dict[str, Any]
    ) -> Any:
        """Run the states of a branch or an iteration in the calling thread's scope; returns the output."""
        name: str | None = processor["StartAt"]
        while name is not None:
            value, name = self._enter(processor["States"], name, value, execution, ctx, None)
        return value
