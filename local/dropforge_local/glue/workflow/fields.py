"""A state's fields that may be expressions: time limits, and the retriers' delays."""

from __future__ import annotations

import json
import random
from typing import Any

# https://states-language.net/#timeouts: the default and the largest value.
_LONGEST_S = 99_999_999


def seconds(
    interpreter: Any, state: dict[str, Any], field: str, raw_input: Any, ctx: dict[str, Any]
) -> int | None:
    """A state's time limit in seconds: the literal, the JSONata expression or the ``…Path``; None for none.

    Raises:
        _ExecutionError: the value is no positive integer.
    """
    if interpreter._state_query_language(state, ctx) == "JSONata":
        if field not in state:
            return None
        value = interpreter._jsonata_state_field(state, field, "number", raw_input, ctx)
        error = "States.QueryEvaluationError"
    elif f"{field}Path" in state:
        effective = interpreter._apply_input_path(state, raw_input, ctx)
        value = interpreter._resolve_path_or_ctx(state[f"{field}Path"], effective, ctx)
        error = "States.Runtime"
    elif field in state:
        value, error = state[field], "States.Runtime"
    else:
        return None
    whole = isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    if not whole or not 0 < value <= _LONGEST_S:
        raise interpreter._ExecutionError(
            error,
            f"The {field} field must be a positive integer up to {_LONGEST_S}, but was: {json.dumps(value)}",
        )
    return int(value)


def retry_delay(retrier: dict[str, Any], attempts: int, jitter: random.Random) -> float:
    """Seconds before the next attempt after ``attempts`` retries.

    https://states-language.net/#retrying-after-error: ``IntervalSeconds`` × ``BackoffRate`` ^ retries,
    at most ``MaxDelaySeconds``; FULL jitter draws between 0 and that.
    """
    delay = float(retrier.get("IntervalSeconds", 1)) * float(retrier.get("BackoffRate", 2.0)) ** attempts
    if "MaxDelaySeconds" in retrier:
        delay = min(delay, float(retrier["MaxDelaySeconds"]))
    return jitter.uniform(0, delay) if retrier.get("JitterStrategy") == "FULL" else delay


# No wildcard matches these:
# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
_NOT_BY_ALL = frozenset({"States.DataLimitExceeded", "States.Runtime"})


def error_matches(names: list[str], error: str) -> bool:
    """Whether a retrier's or catcher's ``ErrorEquals`` matches ``error``."""
    if error in names:
        return True
    if error == "States.HeartbeatTimeout" and "States.Timeout" in names:
        return True
    if "States.ALL" in names:
        return error not in _NOT_BY_ALL
    timeouts = {"States.Timeout", "States.HeartbeatTimeout"}
    return "States.TaskFailed" in names and error not in timeouts and error not in _NOT_BY_ALL
