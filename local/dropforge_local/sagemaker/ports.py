"""What the service needs from the machine it is mounted in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class HostPorts:
    """The host's side of the service; tests give fakes or moto.

    Args:
        s3: makes a boto3 S3 client.
        emit_event: (detail type, detail, resources): puts an event with source ``aws.sagemaker``. May be
            called again with an event that was delivered just before the host was killed.
        put_log: (log group, log stream, [(epoch milliseconds, line)]): appends to CloudWatch Logs.
        alarm_state: a CloudWatch alarm's name to ``OK``, ``ALARM`` or ``INSUFFICIENT_DATA``; None when there
            is no such alarm.
        put_metric: (name, value, unit, dimensions): adds a value of a metric of ``AWS/SageMaker``.
        breach_of: an action's ARN to how far over its threshold an alarm is that has this action and is in
            ALARM; None where none is.
        environment: a role's ARN to what a container finds in its environment to reach AWS as that role.
    """

    s3: Callable[[], Any]
    emit_event: Callable[[str, dict[str, Any], list[str]], None]
    put_log: Callable[[str, str, list[tuple[int, str]]], None]
    alarm_state: Callable[[str], str | None]
    environment: Callable[[str], dict[str, str]]
    put_metric: Callable[[str, float, str, dict[str, str]], None] = lambda *_: None
    breach_of: Callable[[str], float | None] = lambda _action: None


@dataclass(frozen=True)
class Limits:
    """How long the service waits and how much it takes. The defaults are SageMaker's, where it has one.

    Seconds unless the name says otherwise.
    """

    stop_grace_s: float = 120.0  # StopTrainingJob: SIGTERM, then SIGKILL
    health_check_s: float = 240.0  # real-time: 4 minutes to answer /ping
    serverless_health_check_s: float = 180.0
    ping_timeout_s: float = 2.0
    ping_interval_s: float = 0.05
    invocation_timeout_s: float = 60.0
    real_time_payload_bytes: int = 25 * 1024 * 1024
    serverless_payload_bytes: int = 4 * 1024 * 1024
    asynchronous_payload_bytes: int = 1024**3
    asynchronous_concurrency: int = 4  # MaxConcurrentInvocationsPerInstance; SageMaker chooses one by itself
    scaling_period_s: float = 60.0  # a datapoint of target tracking; of high resolution a sixth
    scaling_look_s: float = 1.0
    model_unpacked_bytes: int = 30 * 1024**3
    drain_s: float = 65.0  # a little more than an invocation may take
    alarm_poll_s: float = 1.0
    crash_restarts: int = 5  # of a model server, within crash_window_s
    crash_window_s: float = 60.0
    boot_attempts: int = 3  # of a model server that ends before it was healthy
    restart_backoff_s: float = 0.2
    checkpoint_interval_s: float = 5.0
    storage_retry_s: float = 60.0  # how long S3 may be away, at the host's own restart for example
    log_flush_s: float = 0.2
