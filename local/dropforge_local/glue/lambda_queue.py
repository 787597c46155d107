"""Lambda's asynchronous invocations: retried as on AWS, and repeated after a crash of the host.

MiniStack keeps an accepted event in a thread only, and EventBridge's targets get a single attempt.
"""

from __future__ import annotations

import contextvars
import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.seams import eventbridge, lambda_svc

if TYPE_CHECKING:
    from dropforge_local.glue import Installed
    from dropforge_local.glue.journal import Journal
    from dropforge_local.settings import HostSettings

_log = logging.getLogger("dropforge.lambda")

# Two more attempts, after one and two minutes, for at most six hours:
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
_ATTEMPTS = 3
_WAITS_S = (60.0, 120.0)
_MAX_AGE_S = 6 * 3600.0
# What is throttled stays in the queue and counts as no attempt: tried again after a second, then ever later,
# up to five minutes. https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
_FIRST_THROTTLE_S, _LAST_THROTTLE_S = 1.0, 300.0


def install(settings: HostSettings, journal: Journal, installed: Installed) -> None:  # noqa: PLR0915 - closures
    """Note every accepted event until its last attempt ended; repeat what an earlier process left."""

    def attempt_all(func: dict[str, Any], event: Any, number: int) -> None:
        config = func.get("config") or func
        policy = (
            func.get("event_invoke_config") or (func.get("event_invoke_configs") or {}).get("$LATEST") or {}
        )
        retries = policy.get("MaximumRetryAttempts")
        attempts = _ATTEMPTS if retries is None else int(retries) + 1
        give_up_at = time.monotonic() + float(policy.get("MaximumEventAgeInSeconds") or _MAX_AGE_S)
        result: dict[str, Any] = {}
        for attempt in range(attempts):
            if attempt:
                wait_s = _WAITS_S[min(attempt, len(_WAITS_S)) - 1] * settings.wait_scale
                if time.monotonic() + wait_s > give_up_at:
                    break
                time.sleep(wait_s)
            result = lambda_svc._execute_function_with_config_scope(func, event)
            pause_s = _FIRST_THROTTLE_S
            while result.get("throttle") and time.monotonic() + pause_s * settings.wait_scale < give_up_at:
                time.sleep(pause_s * settings.wait_scale)
                pause_s = min(2 * pause_s, _LAST_THROTTLE_S)
                result = lambda_svc._execute_function_with_config_scope(func, event)
            if not (result.get("error") or result.get("throttle")):
                journal.end_invocation(number)
                return
        on_failure = (policy.get("DestinationConfig") or {}).get("OnFailure") or {}
        target = on_failure.get("Destination") or (config.get("DeadLetterConfig") or {}).get("TargetArn")
        _log.warning(
            "%s failed for good: %s", config.get("FunctionName"), json.dumps(result.get("body"))[:500]
        )
        if target:
            lambda_svc._route_async_failure(target, config.get("FunctionName", ""), event, result)
        journal.end_invocation(number)

    def deliver(func: dict[str, Any], event: Any, number: int) -> None:
        run = contextvars.copy_context().run
        threading.Thread(
            target=run, args=(attempt_all, func, event, number), daemon=True, name="dropforge-async-invoke"
        ).start()

    def invoke_async(func: dict[str, Any], event: Any) -> None:
        config = func.get("config") or func
        deliver(func, event, journal.begin_invocation(config.get("FunctionArn", ""), event))

    def dispatch_to_lambda(arn: str, payload: Any) -> None:
        try:
            event = json.loads(payload)
        except (ValueError, TypeError):
            event = payload
        func, config, name = lambda_svc._get_func_record_for_ref(arn)
        if func and config:
            invoke_async(lambda_svc._execution_record_for_config(func, config), event)
        else:
            _log.warning("EventBridge's target %s does not exist", name)

    def repeat() -> None:
        for number, function, event in journal.invocations():
            func, config, _ = lambda_svc._get_func_record_for_ref(function)
            if func and config:
                deliver(lambda_svc._execution_record_for_config(func, config), event, number)
            else:  # the function is gone, and with it whoever wanted the event
                journal.end_invocation(number)

    lambda_svc.invoke_async_with_retry = invoke_async
    eventbridge._dispatch_to_lambda = dispatch_to_lambda
    installed.starting.append(repeat)
