"""Parallel and Map states: branches and iterations in threads, which end together when one fails."""

from __future__ import annotations

import contextvars
import copy
import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.workflow.distributed import DistributedMap, MapState, RunStates
from dropforge_local.glue.workflow.run import Ended, Scope, Suspended, TimedOut, current_scope

if TYPE_CHECKING:
    from dropforge_local.glue.authorization import Authorization
    from dropforge_local.glue.workflow.records import Records

# https://docs.aws.amazon.com/step-functions/latest/dg/state-map-inline.html: up to 40 iterations at a time.
_INLINE_CONCURRENCY = 40


class Concurrent:
    """Runs the two states that contain other states."""

    def __init__(
        self,
        interpreter: Any,
        records: Records,
        s3: Callable[[], Any],
        authorization: Authorization,
    ) -> None:
        self._asl = interpreter
        self._records = records
        self._distributed = DistributedMap(interpreter, self._together, s3, authorization, records)

    def parallel(
        self,
        state: dict[str, Any],
        raw_input: Any,
        execution: dict[str, Any],
        ctx: dict[str, Any],
        run_states: RunStates,
    ) -> tuple[Any, str | None]:
        """One attempt of a Parallel state; returns its output and the next state's name."""
        asl = self._asl
        if asl._state_query_language(state, ctx) == "JSONata":
            value = asl._apply_jsonata_arguments(state, raw_input, ctx)
        else:
            value = asl._apply_parameters(state, asl._apply_input_path(state, raw_input, ctx), ctx)

        def branch(definition: dict[str, Any]) -> Callable[[], Any]:
            # Variables assigned in a branch stay in it; those of the outer states can be read.
            inner = copy.deepcopy(ctx)
            return lambda: run_states(definition, copy.deepcopy(value), execution, inner)

        results = self._together([branch(definition) for definition in state["Branches"]], 0)
        return self._output(state, raw_input, ctx, results)

    def map(
        self,
        state: dict[str, Any],
        raw_input: Any,
        execution: dict[str, Any],
        ctx: dict[str, Any],
        run_states: RunStates,
    ) -> tuple[Any, str | None]:
        """One attempt of a Map state; returns its output and the next state's name."""
        asl = self._asl
        jsonata = asl._state_query_language(state, ctx) == "JSONata"
        effective = raw_input if jsonata else asl._apply_input_path(state, raw_input, ctx)
        processor = state.get("ItemProcessor") or state.get("Iterator") or {}
        limit = state.get("MaxConcurrency", 0)
        if jsonata and isinstance(limit, str):
            limit = asl._jsonata_state_field(state, "MaxConcurrency", "number", raw_input, ctx)
        if (processor.get("ProcessorConfig") or {}).get("Mode") == "DISTRIBUTED":
            entered = MapState(state, processor, raw_input, effective, execution, ctx, jsonata, run_states)
            result = self._distributed.run(
                entered, lambda: self._items(state, raw_input, effective, ctx, jsonata), int(limit)
            )
            return self._output(state, raw_input, ctx, result)
        items = self._items(state, raw_input, effective, ctx, jsonata)
        self._records.add_event(
            execution, "MapStateStarted", {"mapStateStartedEventDetails": {"length": len(items)}}
        )
        name = ctx["State"]["Name"]

        def iteration(index: int, item: Any) -> Callable[[], Any]:
            inner = copy.deepcopy(ctx)
            inner["Map"] = {"Item": {"Index": index, "Value": item}}
            selector = state.get("ItemSelector") or state.get("Parameters")

            def run() -> Any:
                value = item
                if selector and jsonata:
                    value = asl._apply_jsonata_template(selector, raw_input, inner)
                elif selector:
                    value = asl._resolve_params_obj(selector, effective, inner)
                details = {"name": name, "index": index}
                self._records.add_event(
                    execution, "MapIterationStarted", {"mapIterationStartedEventDetails": details}
                )
                result = run_states(processor, value, execution, inner)
                self._records.add_event(
                    execution, "MapIterationSucceeded", {"mapIterationSucceededEventDetails": details}
                )
                return result

            return run

        results = self._together([iteration(index, item) for index, item in enumerate(items)], int(limit))
        self._records.add_event(execution, "MapStateSucceeded")
        return self._output(state, raw_input, ctx, results)

    def _items(
        self, state: dict[str, Any], raw_input: Any, effective: Any, ctx: dict[str, Any], jsonata: bool
    ) -> list[Any]:
        asl = self._asl
        if jsonata:
            items = (
                asl._apply_jsonata_template(state["Items"], raw_input, ctx) if "Items" in state else raw_input
            )
        else:
            items = asl._resolve_path_or_ctx(state.get("ItemsPath", "$"), effective, ctx)
        if not isinstance(items, list):
            raise asl._ExecutionError(
                "States.QueryEvaluationError" if jsonata else "States.Runtime",
                f"The Map state's items must be an array, but were: {json.dumps(items)[:200]}",
            )
        return items

    def _output(
        self, state: dict[str, Any], raw_input: Any, ctx: dict[str, Any], results: Any
    ) -> tuple[Any, str | None]:
        asl = self._asl
        if asl._state_query_language(state, ctx) == "JSONata":
            output = asl._apply_jsonata_output(state, raw_input, ctx, result=results, default=results)
            asl._apply_state_assign(state, raw_input, ctx, result=results)
        else:
            selected = asl._apply_result_selector(state, results)
            output = asl._apply_result_path(state, raw_input, selected)
            output = asl._apply_output_path(state, output, ctx)
        return output, asl._next_or_end(state)

    def _together(self, calls: list[Callable[[], Any]], limit: int) -> list[Any]:
        """Run at most ``limit`` (0: 40) calls at a time; the first failure ends the others and is raised."""
        scope = current_scope().inner()
        results: list[Any] = [None] * len(calls)
        failures: list[BaseException] = []
        waiting = list(range(len(calls)))
        finished: list[int] = []
        lock = threading.Lock()

        def work() -> None:
            scope.enter()
            while True:
                with lock:
                    if failures or not waiting:
                        return
                    index = waiting.pop(0)
                try:
                    results[index] = calls[index]()
                except BaseException as error:
                    with lock:
                        failures.append(error)
                    scope.end()
                with lock:
                    finished.append(index)
                scope.run.notify()

        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True, name="branch")
            for _ in range(min(len(calls), limit or _INLINE_CONCURRENCY))
        ]
        for thread in threads:
            thread.start()
        self._join(scope, threads)
        # What ended because another failed says nothing; the first real failure is the state's.
        real = [error for error in failures if not isinstance(error, Ended) or isinstance(error, TimedOut)]
        for error in [*real, *failures]:
            raise error
        return results

    @staticmethod
    def _join(scope: Scope, threads: list[threading.Thread]) -> None:
        """Wait for the threads; when the execution ends meanwhile, they end themselves and are waited for."""
        for thread in threads:
            try:
                current_scope().wait(lambda thread=thread: not thread.is_alive(), None)  # type: ignore[misc]
            except (Ended, Suspended):
                scope.end()
                raise
