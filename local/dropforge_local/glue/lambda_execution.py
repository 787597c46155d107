"""Runs Python functions in our execution environments instead of MiniStack's workers.

MiniStack's worker sees the host's packages and environment, reports every error as ``Runtime.HandlerError``,
ends after an error, and extracts every layer at every start.
"""

from __future__ import annotations

import contextvars
import json
import logging
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakSet

from dropforge_local.glue import lambda_preparation
from dropforge_local.glue.lambda_environments import ExecutionEnvironments
from dropforge_local.glue.lambda_worker import Environment, Outcome
from dropforge_local.glue.seams import cloudwatch, lambda_runtime, lambda_svc

if TYPE_CHECKING:
    from dropforge_local.glue import Installed
    from dropforge_local.settings import HostSettings

_log = logging.getLogger("dropforge.lambda")
# Lambda ends environments that nobody calls, after a time of its own; MiniStack keeps one of each function.
_IDLE_S: Final = 120.0
_peak_memory_mb: contextvars.ContextVar[int] = contextvars.ContextVar("peak_memory_mb", default=0)


class Idle(Protocol):
    """What may have an environment that nobody calls."""

    last_used: float

    def rest(self) -> None:
        """End the environment, unless it is at work; the next invocation starts another."""


def end_idle(workers: Iterable[Idle], now: float, idle_s: float = _IDLE_S) -> None:
    """End the environments that have had nothing to do for so long."""
    for worker in list(workers):
        if now - worker.last_used >= idle_s:
            worker.rest()


def install(settings: HostSettings, installed: Installed) -> None:
    """Replace MiniStack's warm-worker executor for Python runtimes."""

    shared = ExecutionEnvironments(settings)
    reserved = frozenset(lambda_svc._RESERVED_RUNTIME_ENV_VARS)
    emit_metrics = lambda_svc._emit_lambda_metrics
    reap_surplus = lambda_svc.reap_idle_workers
    workers: WeakSet[Idle] = WeakSet()
    their_class, their_executor = lambda_runtime._worker_class_for, lambda_svc._execute_function_warm

    class PythonWorker:
        """The pool entry of one environment; the pool leases it to one invocation at a time."""

        def __init__(self, func_name: str, config: dict[str, Any], code_zip: bytes) -> None:
            self.func_name, self.config, self.code_zip = func_name, config, code_zip
            self.in_use = False
            self.last_used = time.time()
            self._lock = threading.Lock()
            self._environment: Environment | None = None
            workers.add(self)

        @property
        def _proc(self) -> Any:
            """What the pool's ``kill_workers`` signals; ours ends in ``_discard_tmpdir``."""
            return None

        @_proc.setter
        def _proc(self, value: Any) -> None:
            del value

        def invoke(self, invocation: dict[str, Any]) -> Outcome:
            """Run one invocation, with a cold start where the environment is new or has ended."""
            timeout_s = float(self.config.get("Timeout", 3))
            with self._lock:
                environment = self._environment
                if environment is None or not environment.alive:
                    self._discard_tmpdir()
                    environment = self._environment = self._start()
                    failed = environment.wait_ready(timeout_s)
                    if failed is not None:
                        self._discard_tmpdir()
                        return failed
                return environment.invoke(invocation, timeout_s)

        def _start(self) -> Environment:
            return Environment(
                shared,
                self.config,
                shared.unpack(self.code_zip),
                [shared.unpack(layer) for layer in lambda_preparation.attached_layers(self.config)],
                lambda_runtime.execution_credentials(self.config),
                reserved,
            )

        def rest(self) -> None:
            # Whoever holds the lock is at work, or ends the environment already.
            if self._lock.acquire(blocking=False):
                try:
                    self._discard_tmpdir()
                finally:
                    self._lock.release()

        def _discard_tmpdir(self) -> None:
            environment, self._environment = self._environment, None
            if environment is not None:
                environment.close()

    def worker_class_for(config: dict[str, Any]) -> Any:
        if str(config.get("Runtime", "")).startswith("python"):
            return PythonWorker
        return their_class(config)

    def execute(func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        config = func.get("config") or func
        if not str(config.get("Runtime", "")).startswith("python"):
            result: dict[str, Any] = their_executor(func, event, request_id)
            return result
        started = time.monotonic()
        lambda_svc._ensure_reaper_thread()
        worker, _reason = lambda_runtime.acquire_worker(
            config.get("FunctionName", ""),
            config,
            func["code_zip"],
            qualifier=config.get("Version", "$LATEST"),
        )
        try:
            outcome = worker.invoke(
                {
                    "event": event,
                    "request_id": request_id,
                    "invoked_function_arn": config.get("FunctionArn", ""),
                    "trace_id": lambda_svc._xray_trace_id_for_invocation(config),
                }
            )
        finally:
            lambda_runtime.release_worker(worker)
        _peak_memory_mb.set(outcome.peak_memory_mb)
        duration_ms = (time.monotonic() - started) * 1000
        emit_metrics(config.get("FunctionName", ""), duration_ms, outcome.error is not None, False)
        _count_errors_of_aliases(config, outcome.error is not None)
        if outcome.error is not None:
            return {"body": outcome.error, "error": True, "function_error": "Unhandled", "log": outcome.log}
        return {"body": json.loads(outcome.payload or "null"), "log": outcome.log}

    def reap_idle_workers() -> None:
        reap_surplus()
        end_idle(workers, time.time())

    def emit_throttles_only(function_name: str, duration_ms: float, error: bool, throttle: bool) -> None:
        """MiniStack counts invocations over HTTP only; ``execute`` counts each, whoever invoked."""
        if throttle and not duration_ms:  # it reports a throttled HTTP call twice, once with a duration
            emit_metrics(function_name, duration_ms, error, throttle)

    def probe_peak_memory_mb(func: dict[str, Any]) -> int:
        del func
        return _peak_memory_mb.get()

    lambda_runtime._worker_class_for = worker_class_for
    lambda_svc._execute_function_warm = execute
    lambda_svc._emit_lambda_metrics = emit_throttles_only
    lambda_svc.reap_idle_workers = reap_idle_workers
    lambda_svc._probe_peak_memory_mb = probe_peak_memory_mb
    installed.closing.append(shared.close)
    lambda_preparation.install(shared, installed)
    installed.closing.append(lambda_runtime.reset)


def _count_errors_of_aliases(config: dict[str, Any], is_error: bool) -> None:
    """As on AWS, under the alias that was called as well; here under each that names the version.

    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-view.html
    """

    name, version = config.get("FunctionName", ""), config.get("Version", "$LATEST")
    for alias, each in lambda_svc._functions.get(name, {}).get("aliases", {}).items():
        weights = (each.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        if version in (each.get("FunctionVersion"), *weights):
            dimensions = {"FunctionName": name, "Resource": f"{name}:{alias}"}
            cloudwatch.record_metric("AWS/Lambda", "Errors", int(is_error), "Count", dimensions)
