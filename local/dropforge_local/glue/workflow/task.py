"""Task states: attempts, retries, time limits, and what an attempt remembers across a restart."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.workflow.attempt import CALLBACK, Attempt
from dropforge_local.glue.workflow.fields import retry_delay, seconds
from dropforge_local.glue.workflow.records import MAX_DATA_BYTES
from dropforge_local.glue.workflow.run import current_scope, sleep_until

if TYPE_CHECKING:
    from dropforge_local.glue.workflow.integrations import Integrations
    from dropforge_local.glue.workflow.records import Records


class Tasks:
    """Runs Task states.

    Args:
        interpreter: MiniStack's stepfunctions module.
        wait_scale: factor on retry delays, and on the limits of callback tasks, which wait for people.
        jitter: draws for ``JitterStrategy``.
    """

    def __init__(
        self,
        interpreter: Any,
        records: Records,
        integrations: Integrations,
        wait_scale: float,
        jitter: random.Random,
    ) -> None:
        self._asl = interpreter
        self._records = records
        self._integrations = integrations
        self._wait_scale = wait_scale
        self._jitter = jitter

    def execute(
        self, state: dict[str, Any], raw_input: Any, execution: dict[str, Any], ctx: dict[str, Any]
    ) -> tuple[Any, str | None]:
        """Run the state; returns its output and the next state's name (None at the end)."""
        progress = self._progress(execution)
        return self.with_retry_and_catch(
            state,
            raw_input,
            execution,
            ctx,
            progress,
            lambda: self._attempt(state, raw_input, execution, ctx, progress),
        )

    def _progress(self, execution: dict[str, Any]) -> dict[str, Any]:
        """Where retries and attempt are noted: in the checkpoint, or in memory inside branches."""
        if not current_scope().is_root or "checkpoint" not in execution:
            return {}
        progress: dict[str, Any] = execution["checkpoint"].setdefault("progress", {})
        return progress

    def with_retry_and_catch(
        self,
        state: dict[str, Any],
        raw_input: Any,
        execution: dict[str, Any],
        ctx: dict[str, Any],
        progress: dict[str, Any],
        attempt: Callable[[], tuple[Any, str | None]],
    ) -> tuple[Any, str | None]:
        """Run attempts until one succeeds, no retrier applies any more, or a catcher takes over."""
        entered = ctx["State"]
        counts: dict[str, int] = progress.setdefault("retries", {})
        if "retry_at" in progress:
            sleep_until(progress["retry_at"])
            progress.pop("retry_at")
        while True:
            ctx["State"] = {**entered, "RetryCount": sum(counts.values())}
            try:
                return attempt()
            except self._asl._ExecutionError as error:
                progress.pop("attempt", None)
                index = self._retrier(state.get("Retry") or [], error.error, counts)
                if index is None:
                    return self._catch(state, raw_input, ctx, error)
                delay = (
                    retry_delay(state["Retry"][index], counts.get(str(index), 0), self._jitter)
                    * self._wait_scale
                )
                counts[str(index)] = counts.get(str(index), 0) + 1
                progress["retry_at"] = time.time() + delay
                self._records.save(execution)
                sleep_until(progress["retry_at"])
                progress.pop("retry_at")

    def _retrier(self, retriers: list[dict[str, Any]], error: str, counts: dict[str, int]) -> int | None:
        """The first matching retrier decides; once it is used up there is no retry."""
        for index, retrier in enumerate(retriers):
            if self._asl._error_matches(retrier.get("ErrorEquals", []), error):
                return index if counts.get(str(index), 0) < retrier.get("MaxAttempts", 3) else None
        return None

    def _catch(
        self, state: dict[str, Any], raw_input: Any, ctx: dict[str, Any], error: Any
    ) -> tuple[Any, str | None]:
        catcher = self._asl._find_matching_catcher(state.get("Catch") or [], error.error)
        if catcher is None:
            raise error
        output = {"Error": error.error, "Cause": error.cause}
        language = self._asl._state_query_language(state, ctx)
        return self._asl._apply_catcher(catcher, raw_input, ctx, language, output), catcher["Next"]

    # --- one attempt ---------------------------------------------------------------------------------

    def _attempt(
        self,
        state: dict[str, Any],
        raw_input: Any,
        execution: dict[str, Any],
        ctx: dict[str, Any],
        progress: dict[str, Any],
    ) -> tuple[Any, str | None]:
        resource = state.get("Resource", "")
        resumed = "attempt" in progress
        notes: dict[str, Any] = progress.setdefault("attempt", {})
        if not resumed:
            notes["began"] = time.time()
            if resource.endswith(CALLBACK):
                notes["token"] = self._integrations.tokens.new(execution["executionArn"])
        if "token" in notes:
            ctx["Task"] = {"Token": notes["token"]}
        try:
            made = self._prepare(state, raw_input, execution, ctx, notes, resumed)
            if not resumed:
                self._records.add_event(execution, "TaskScheduled", _scheduled(made))
                self._records.save(execution)
            try:
                result = self._integrations.run(made)
            except self._asl._ExecutionError as error:
                self._record_failure(made, error)
                raise
            self._limit(result)
            _, resource_type, name = _named(resource)
            output = {"output": json.dumps(result), "resource": name, "resourceType": resource_type}
            self._records.add_event(execution, "TaskSucceeded", {"taskSucceededEventDetails": output})
            return self._finish(state, raw_input, ctx, result)
        finally:
            ctx.pop("Task", None)

    def _prepare(
        self,
        state: dict[str, Any],
        raw_input: Any,
        execution: dict[str, Any],
        ctx: dict[str, Any],
        notes: dict[str, Any],
        resumed: bool,
    ) -> Attempt:
        asl = self._asl
        # An expression may draw a random value, so a resumed attempt keeps what it was submitted with.
        if "arguments" not in notes:
            if asl._state_query_language(state, ctx) == "JSONata":
                notes["arguments"] = asl._apply_jsonata_arguments(state, raw_input, ctx)
            else:
                effective = asl._apply_input_path(state, raw_input, ctx)
                notes["arguments"] = asl._apply_parameters(state, effective, ctx)
        timeout_s = seconds(asl, state, "TimeoutSeconds", raw_input, ctx)
        heartbeat_s = seconds(asl, state, "HeartbeatSeconds", raw_input, ctx)
        resource = state.get("Resource", "")
        scale = self._wait_scale if resource.endswith(CALLBACK) else 1.0
        return Attempt(
            state=ctx["State"]["Name"],
            resource=resource,
            arguments=notes["arguments"],
            execution=execution,
            notes=notes,
            resumed=resumed,
            until=None if timeout_s is None else notes["began"] + timeout_s * scale,
            timeout_s=timeout_s,
            heartbeat_s=None if heartbeat_s is None else heartbeat_s * scale,
            note=lambda: self._records.save(execution),
        )

    def _record_failure(self, attempt: Attempt, error: Any) -> None:
        timed_out = error.error in {"States.Timeout", "States.HeartbeatTimeout"}
        kind = "TaskTimedOut" if timed_out else "TaskFailed"
        _, resource_type, name = _named(attempt.resource)
        details = {
            "error": error.error,
            "cause": error.cause,
            "resource": name,
            "resourceType": resource_type,
        }
        self._records.add_event(attempt.execution, kind, {f"t{kind[1:]}EventDetails": details})

    def _limit(self, value: Any) -> None:
        if len(json.dumps(value).encode()) > MAX_DATA_BYTES:
            raise self._asl._ExecutionError(
                "States.DataLimitExceeded",
                f"The task returned a result that exceeds the maximum of {MAX_DATA_BYTES} bytes.",
            )

    def _finish(
        self, state: dict[str, Any], raw_input: Any, ctx: dict[str, Any], result: Any
    ) -> tuple[Any, str | None]:
        asl = self._asl
        if asl._state_query_language(state, ctx) == "JSONata":
            output = asl._apply_jsonata_output(state, raw_input, ctx, result=result, default=result)
            asl._apply_state_assign(state, raw_input, ctx, result=result)
        else:
            selected = asl._apply_result_selector(state, result)
            output = asl._apply_result_path(state, raw_input, selected)
            output = asl._apply_output_path(state, output, ctx)
        return output, asl._next_or_end(state)


def _named(resource: str) -> tuple[bool, str, str]:
    """Whether a resource is an integration, its service, and its action, as the history shows them."""
    if not resource.startswith("arn:aws:states:::"):
        return False, "lambda" if ":function:" in resource else "activity", resource
    service, _, action = resource.removeprefix("arn:aws:states:::").rpartition(":")
    return True, service, action


def _scheduled(attempt: Attempt) -> dict[str, Any]:
    _, resource_type, name = _named(attempt.resource)
    details: dict[str, Any] = {
        "resourceType": resource_type,
        "resource": name,
        "parameters": json.dumps(attempt.arguments),
    }
    if attempt.timeout_s is not None:
        details["timeoutInSeconds"] = attempt.timeout_s
    if attempt.heartbeat_s is not None:
        details["heartbeatInSeconds"] = int(attempt.heartbeat_s)
    return {"taskScheduledEventDetails": details}
